"""What a training measured, update by update."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from voice.table import write_table

TRAIN, EVAL = "train", "eval"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of training.csv. Losses are means in nats; a validation has nothing but losses."""

    side: str  # `train` or `eval`
    epoch: int
    step: int
    loss: float
    talker_loss: float  # codebook 0 and the end
    predictor_loss: float  # the other codebooks
    codebooks: tuple[float, ...]  # the predictor's loss by codebook, from 1
    lr: float = math.nan
    gradient_norm: float = math.nan  # before clipping
    update_ratio: float = math.nan  # length of the update over length of the weights, on a sample
    tokens_per_second: float = math.nan  # talker positions without padding
    padding_share: float = math.nan
    memory_gb: float = math.nan  # peak on a CUDA device; of the process elsewhere

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Step":
        """Read what `asdict` gave and JSON kept."""
        return cls(**{**content, "codebooks": tuple(content["codebooks"])})

    def metrics(self) -> dict[str, float]:
        """The finite numbers, by the names they have in MLflow."""
        numbers = {k: v for k, v in _row(self).items() if k not in ("side", "epoch", "step")}
        return {f"{self.side}_{k}": v for k, v in numbers.items() if math.isfinite(v)}


def _row(step: Step) -> dict[str, Any]:
    row = asdict(step)
    for number, loss in enumerate(row.pop("codebooks"), start=1):
        row[f"codebook_{number:02}_loss"] = loss
    return row


def write_curve(path: Path, curve: Sequence[Step]) -> None:
    """Write training.csv, one line for each update and validation."""
    rows = [{k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in _row(s).items()} for s in curve]
    plain = [f.name for f in fields(Step) if f.name != "codebooks"]
    books = sorted({name for row in rows for name in row if name.startswith("codebook_")})
    write_table(path, [*plain, *books], rows)
