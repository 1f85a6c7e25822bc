"""What judging costs, in utterances a minute against one at a time, and the bounds that two judges set for a voice.

python -m benchmarks.evaluate kathleen --judges offline --floor ../shared/recordings/other_speaker

Needs a voice that `split` has divided. One at a time: recognise, embed, next, in one process, as evaluation scripts do.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

import pipelines  # noqa: F401  sets how OpenMP waits, before torch is imported
from pipelines.eval.figures import Resampling, summarise
from pipelines.eval.metrics import word_error_rate
from pipelines.eval.panel import Panel, Recording, floor_clips, held_out_clips, load_panel, metric_names
from pipelines.eval.score import Row, pace, read_rows, recorded, score
from pipelines.eval.settings import REAL, Judges
from voice import checkpoint
from voice.asr import load_asr
from voice.audio import read_waveform
from voice.naturalness import load_mos
from voice.speaker import load_speaker_encoder
from voice.stage import CONF
from voice.table import write_records

FASTEST = 2.0  # times the owner's pace, as in conf/eval/


def one_at_a_time(judges: Judges, clips: Sequence[Recording]) -> float:
    """Seconds to judge the clips naively, without loading."""
    device = checkpoint.default_device()
    asr = load_asr(judges.asr, model=judges.asr_model, language="en", device=device, url=judges.asr_url)
    encoder = load_speaker_encoder(judges.speaker, model=judges.speaker_model, device=device)
    mos = load_mos(judges.mos) if judges.mos else None
    started = time.perf_counter()
    for clip in clips:
        word_error_rate(clip.text, asr.transcribe(read_waveform(clip.path)))
        encoder.embed(read_waveform(clip.path))
        if mos:
            mos.predict(read_waveform(clip.path))
    return time.perf_counter() - started


def scored(panel: Panel, clips: Sequence[Recording], origin: str, fastest: float) -> tuple[float, list[Row]]:
    """Seconds for the same by `score`, measures of delivery included, and its rows."""
    started = time.perf_counter()
    rows = list(score(recorded(clips, origin), panel, language="en", early_stop_pace=fastest, name=origin))
    return time.perf_counter() - started, rows


def main() -> None:
    """Print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("voice")
    arguments.add_argument("--judges", default="offline")
    arguments.add_argument("--floor", type=Path, action="append", default=[])
    chosen = arguments.parse_args()
    judges = Judges(**OmegaConf.to_container(OmegaConf.load(CONF / f"judges/{chosen.judges}.yaml")))  # type: ignore[arg-type]
    held_out = held_out_clips(Path("data/processed") / chosen.voice)
    voices = {REAL: held_out, **{folder.as_posix(): floor_clips(folder.name, folder) for folder in chosen.floor}}
    fastest = FASTEST * pace(held_out)
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "judged"
        panel = load_panel(judges, held_out, language="en", memory=memory)
        first, rows = scored(panel, held_out, REAL, fastest)
        again, _ = scored(panel, held_out, REAL, fastest)
        naive = one_at_a_time(judges, held_out)
        print(f"{len(held_out)} clips, {', '.join(panel.names)}\n| way | utterances a minute |\n|---|---|", flush=True)
        for way, seconds in (("one at a time", naive), ("score", first), ("score, heard before", again)):
            print(f"| {way} | {60 * len(held_out) / seconds:.0f} |")
        names = metric_names(judges)
        print("\n| who | clips | " + " | ".join(names.values()) + " |\n|---|---|" + "---|" * len(names))
        for name, clips in voices.items():
            judged = rows if name == REAL else scored(panel, clips, name, fastest)[1]
            write_records(Path(folder) / "rows.csv", Row, judged)
            figures = summarise(read_rows(Path(folder) / "rows.csv"), names, Resampling(10_000, 0))
            cells = (
                f"{figures[m]:.3f} [{figures[f'{m}_low']:.3f}, {figures[f'{m}_high']:.3f}]" for m in names.values()
            )
            print(f"| {name} | {len(clips)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
