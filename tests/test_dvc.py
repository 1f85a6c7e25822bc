"""dvc.yaml reruns what reads a change and nothing else. The stages' commands are replaced by ones that write a line."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent
EVALUATION = {"compare", "package"}


def outs(stage: dict[str, Any]) -> list[str]:
    entries = [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]
    return [next(iter(e)) if isinstance(e, dict) else e for e in entries]


def stub(stage: dict[str, Any]) -> dict[str, Any]:
    """Keep what a stage reads and makes; make it by writing its own command line into each output, file or folder."""
    files = [out if Path(out).suffix else f"{out}/clips.csv" for out in outs(stage)]
    writes = [f"mkdir -p $(dirname {file}) && echo '{stage['cmd']}' > {file}" for file in files]
    return {**stage, "cmd": writes}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in ("conf", "params.yaml", ".gitignore", "requirements.lock", ".dvcignore"):
        source = PROJECT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    pipeline = yaml.safe_load((PROJECT / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        pipeline["stages"][name] = {**stage, "do": stub(stage["do"])} if "foreach" in stage else stub(stage)
        for dep in (stage.get("do") or stage)["deps"]:
            if "${" not in dep:
                (folder / dep).parent.mkdir(parents=True, exist_ok=True)
                (folder / dep).write_text("source") if "." in Path(dep).name else (folder / dep).mkdir(exist_ok=True)
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    (folder / "data/raw/demo").mkdir(parents=True)
    (folder / "data/raw/demo/metadata.csv").write_text("a|One.\n")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", *identity, "commit", "-qm", "start"], cwd=folder, check=True)
    assert len(ran(folder)) == 17
    return folder


def ran(folder: Path) -> set[str]:
    """Run `dvc repro` and return the stages that were executed."""
    result = subprocess.run(["dvc", "repro"], cwd=folder, capture_output=True, text=True, check=True)
    return {line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_every_stage_depends_on_files_that_are_there():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"].values()
    deps = {dep for stage in stages for dep in (stage.get("do") or stage)["deps"] if "${" not in dep}
    assert [dep for dep in sorted(deps) if not (PROJECT / dep).exists()] == []


def test_a_second_run_does_nothing(project: Path):
    assert ran(project) == set()


def test_an_evaluation_margin_reruns_only_the_comparison_and_what_hangs_on_it(project: Path):
    edit(project / "conf/eval/quick.yaml", "wer_margin: 0.05", "wer_margin: 0.04")
    assert ran(project) == {"compare"}  # the stub's metrics come out the same, so nothing is packaged anew


def test_another_judge_scores_again_but_synthesizes_nothing(project: Path):
    edit(project / "conf/judges/offline.yaml", "speaker: resemblyzer", "speaker: ecapa")
    assert ran(project) == {"plan", "score", "compare"}


def test_another_set_of_texts_is_spoken_and_nothing_trained(project: Path):
    (project / "pipelines/eval/texts/en.txt").write_text("Another sentence.|short\n")
    assert ran(project) == {"plan"}  # the stub's list comes out the same
    (project / "reports/demo/sentences.csv").write_text("other")
    edit(project / "conf/eval/quick.yaml", "takes: 1", "takes: 2")
    spoken = {"zero_shot", "zero_shot_embedding", "finetuned", "finetuned_in_context"}
    assert ran(project) - {"plan"} == {f"synthesize@{name}" for name in spoken}
    edit(project / "conf/eval/quick.yaml", "takes: 2", "takes: 1")
    ran(project)


def test_votes_are_counted_without_judging_again(project: Path):
    with (project / "data/listening.csv").open("a") as file:
        file.write("a vote\n")
    assert ran(project) == {"compare"}


def test_a_further_system_is_spoken_and_all_are_compared(project: Path):
    (project / "models/mine").mkdir(parents=True)
    (project / "models/mine/voice.json").write_text("{}")
    edit(project / "conf/systems.yaml", "systems: {}", "systems: {mine: {checkpoint: models/mine}}")
    assert ran(project) == {"plan", "synthesize_more@mine", "score", "compare"}
    edit(project / "conf/systems.yaml", "systems: {mine: {checkpoint: models/mine}}", "systems: {}")
    ran(project)


def test_a_file_that_is_not_selected_reruns_nothing(project: Path):
    edit(project / "conf/train/lora.yaml", "rank: 32", "rank: 16")
    edit(project / "conf/eval/full.yaml", "takes: 4", "takes: 2")
    assert ran(project) == set()


def test_a_selected_training_value_leaves_zero_shot_alone(project: Path):
    edit(project / "conf/train/full.yaml", "lr: 2.0e-6", "lr: 3.0e-6")
    assert ran(project) == {"finetune"}  # the stub's checkpoint comes out the same


def test_selecting_another_method_reruns_what_reads_it(project: Path):
    edit(project / "params.yaml", "train: full", "train: lora")
    assert ran(project) == {"finetune", "synthesize@finetuned", "synthesize@finetuned_in_context", "package"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("pipelines/train/loss.py", {"finetune"}),
        ("pipelines/eval/metrics.py", {"score", "compare"}),
        ("voice/numerals.py", {"score", "package"}),
        ("pipelines/eval/gate.py", {"compare"}),
        ("pipelines/eval/bootstrap.py", {"compare"}),
    ],
)
def test_code_that_decides_a_stage_s_result_reruns_it(project: Path, module: str, stages: set[str]):
    (project / module).write_text("changed")
    assert ran(project) == stages


def test_an_edited_review_is_read_again(project: Path):
    edit(project / "data/review/demo.csv", "python", "corrected: python")
    assert "transcribe" in ran(project)
    assert ran(project) == set()


def test_an_experiment_sets_a_choice_and_a_value_of_what_it_chooses(project: Path):
    edit(project / "params.yaml", "train: lora", "train: full")
    ran(project)
    command = ["dvc", "exp", "run", "-S", "train=lora", "-S", "conf/train/lora.yaml:lr=3e-5"]
    subprocess.run(command, cwd=project, check=True, capture_output=True, text=True)
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["finetune"]
    assert "train=lora" in str(lock["cmd"])
    assert float(lock["params"]["conf/train/lora.yaml"]["lr"]) == 3e-5
