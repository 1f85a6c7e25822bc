"""Every stage's edge: what is wrong in conf/ or in the data is one line and exit code 1."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.data import preprocess, segment, split
from pipelines.eval import synthesize
from pipelines.pretrain.codec import __main__ as codec
from pipelines.train import adapter, finetune
from serving import package
from voice.stage import CONF


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a stage in an empty folder and return the line that it exits with."""

    def run(main: Callable[[], None], *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert isinstance(exit_.value.code, str)  # printed to stderr, and the exit status is 1
        assert "\n" not in exit_.value.code
        assert capsys.readouterr().err == ""
        assert not [p for p in tmp_path.rglob("*") if p.is_file()]
        return exit_.value.code

    return run


@pytest.mark.parametrize(
    ("main", "argument", "says"),
    [
        (preprocess.main, "data.target_luffs=-20", "target_luffs"),
        (preprocess.main, "data.target_lufs=loud", "data.target_lufs"),
        (finetune.main, "train=lorra", "lorra"),
        (finetune.main, "train.lr=fast", "train.lr"),
        (finetune.main, "model=qwen4", "qwen4"),
        (finetune.main, "speed=2", "speed"),
    ],
)
def test_a_wrong_key_type_or_choice_is_named(
    run: Callable[..., str], main: Callable[[], None], argument: str, says: str
):
    line = run(main, argument)
    assert says in line
    assert "conf/" in line


@pytest.mark.parametrize(
    ("main", "arguments", "says"),
    [
        (segment.main, ["voice=nobody"], "data/raw/nobody/wavs is missing"),
        (preprocess.main, ["voice=nobody"], "Run `dvc repro segment`"),
        (split.main, ["voice=nobody"], "Run `dvc repro curate`"),
        (finetune.main, ["voice=nobody"], "Run `dvc repro split`"),
        (finetune.main, ["voice='no body'"], "cannot be a speaker's name"),
        (finetune.main, ["voice=nobody", "preflight=true"], "data/codes/nobody is missing. Run `dvc repro encode`"),
        (adapter.main, ["adapter=nothing", "out=here"], "nothing: is not an adapter"),
        (synthesize.main, ["voice=nobody", "system=magic"], "magic"),
        (package.main, ["voice=nobody"], "Run `dvc repro compare`"),
    ],
)
def test_missing_input_is_named_with_the_remedy(
    run: Callable[..., str], main: Callable[[], None], arguments: list[str], says: str
):
    assert says in run(main, *arguments)


@pytest.mark.parametrize(
    ("main", "argument", "says"),
    [
        (finetune.main, "train.lr=-1", "train.lr=-1.0 must be above 0"),
        (finetune.main, "train.lr=nan", "train.lr=nan must be above 0"),
        (preprocess.main, "data.noise_reduction=2", "data.noise_reduction=2.0 must be at most 1"),
        (split.main, "data.eval_share=0", "data.eval_share=0.0 must be above 0"),
        (synthesize.main, "eval.takes=0", "eval.takes=0 must be at least 1"),
        (codec.main, "schedule.sound.crops.3.count=0", "schedule.sound.crops.3.count=0 must be at least 1"),
    ],
)
def test_a_value_out_of_its_bounds_is_named(
    run: Callable[..., str], main: Callable[[], None], argument: str, says: str
):
    assert says in run(main, argument)


def test_every_value_that_is_worth_changing_stands_beside_its_reason():
    for path in [*(CONF / "train").glob("*.yaml"), *(CONF / "data").glob("*.yaml")]:
        values = [line for line in path.read_text().splitlines() if line.strip() and not line.endswith(":")]
        assert [line for line in values if "#" not in line] == [], path
