"""The recogniser of a training run, frozen."""

from pathlib import Path

from pipelines.pretrain.aligner.model import Recogniser, Shape
from pipelines.pretrain.run import read_state


def load_recogniser(folder: Path) -> Recogniser:
    """What `python -m pipelines.pretrain.aligner` has learnt so far."""
    state = read_state(folder, command="python -m pipelines.pretrain.aligner")
    recogniser = Recogniser(Shape(**state["shape"]))
    recogniser.load_state_dict(state["recogniser"])
    return recogniser.eval().requires_grad_(False)
