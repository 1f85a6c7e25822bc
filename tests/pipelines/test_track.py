import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipelines import track
from pipelines.track import Lock, numbers
from voice.errors import InputError

SYSTEMS = ("zero_shot", "zero_shot_embedding", "finetuned")
DATA_STAGES = ("segment", "preprocess", "transcribe", "curate", "split", "describe", "encode")


def lock(tmp_path: Path, *, lr: float = 1e-5) -> None:
    choices = "voice=me language=en model=tiny train=full eval=quick"
    names = [
        *DATA_STAGES,
        "finetune",
        *[f"synthesize@{s}" for s in SYSTEMS],
        "score",
        "compare",
        "package",
    ]
    stages: dict[str, Any] = {name: {"cmd": f"python -m stage {choices}"} for name in names}
    stages["finetune"]["params"] = {
        "conf/train/full.yaml": {"lr": lr, "lora": None},
        "conf/model/tiny.yaml": {"source": "tiny"},
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def results(tmp_path: Path, *, winner: str) -> None:
    files = {
        "data/processed/me/measurements.csv": "id\n",
        "data/processed/me/transcripts.csv": "id\n",
        "data/processed/me/quality.csv": "id\n",
        "reports/me/data.json": json.dumps({"tier": "good", "clips": {"kept": 59, "dropped": 1}}),
        "reports/me/data.html": "<html>",
        "data/processed/me/summary.json": json.dumps({"clips": 60, "tier": "minimum", "reference_clips": ["a"]}),
        "data/processed/me/reference.wav": "",
        "reports/me/training.json": json.dumps({"eval_loss": 2.5, "run": ""}),
        "reports/me/training.csv": (
            "side,epoch,step,loss,talker_loss,predictor_loss,lr,gradient_norm\n"
            "train,1,1,3.0,2.0,3.3,0.1,1.0\neval,1,1,2.5,1.9,2.0,,\n"
        ),
        "reports/me/listening/listening.csv": "step\n",
        "reports/me/report.html": "<html>",
        "models/me/bento/tag.txt": "voice-me:1\n",
        "models/me/bento/pack_tag.txt": "voice-me:2\n",
    }
    scored = (*SYSTEMS, "real", "other_speaker")
    files |= {f"reports/me/scores/{s}.csv": "id\n" for s in scored}
    metrics = {
        "systems": {s: {"wer_pocketsphinx": 0.1 * i} for i, s in enumerate(scored)},
        "difference_to_zero_shot": {"finetuned": {"sim_resemblyzer": {"mean": 0.1}}},
        "decision": {"winner": winner},
    }
    files["reports/me/metrics.json"] = json.dumps(metrics)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    return MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def logged(client: MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("voices")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_every_stage_and_system_becomes_one_run_however_often_it_is_tracked(client: MlflowClient, tmp_path: Path):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    track.main()
    track.main()
    experiment = client.get_experiment_by_name("voices")
    runs = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in runs]
    expected = {*DATA_STAGES, "finetune", "compare", "package"}
    assert set(names) == expected | {f"synthesize@{s}" for s in SYSTEMS} | {"score@real", "score@other_speaker"}
    assert len(names) == len(set(names))
    by_name = logged(client)
    assert by_name["synthesize@finetuned"].data.metrics["wer_pocketsphinx"] == pytest.approx(0.2)
    assert by_name["finetune"].data.params["train.lr"] == "1e-05"
    assert by_name["finetune"].data.params["voice"] == "me"
    assert by_name["finetune"].data.metrics["train_loss"] == 3.0
    assert by_name["describe"].data.metrics == {"clips.kept": 59, "clips.dropped": 1}
    assert by_name["compare"].data.metrics["finetuned.sim_resemblyzer.mean"] == 0.1
    assert [a.path for a in client.list_artifacts(by_name["split"].info.run_id)] == ["reference.wav"]


def test_the_final_loss_is_no_second_point_at_the_first_step(client: MlflowClient, tmp_path: Path):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    curve = tmp_path / "reports/me/training.csv"
    header, *points = curve.read_text().splitlines(keepends=True)
    curve.write_text("".join([header, "eval,0,0,9.0,8.0,7.0,,\n", *points]))
    track.main()
    run = logged(client)["finetune"].info.run_id
    assert [(m.step, m.value) for m in client.get_metric_history(run, "eval_loss")] == [(0, 9.0), (1, 2.5)]


def test_a_changed_stage_is_logged_beside_the_old_one(client: MlflowClient, tmp_path: Path):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    track.main()
    lock(tmp_path, lr=2e-5)
    track.main()
    experiment = client.get_experiment_by_name("voices")
    runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'finetune'")
    assert {run.data.params["train.lr"] for run in runs} == {"1e-05", "2e-05"}


@pytest.mark.parametrize("winner", ["finetuned", "zero_shot"])
def test_the_winner_is_the_champion_by_pointer(client: MlflowClient, tmp_path: Path, winner: str):
    lock(tmp_path)
    results(tmp_path, winner=winner)
    track.main()
    champion = client.get_model_version_by_alias("voice-me", "champion")
    folder = "models/me/finetuned" if winner == "finetuned" else ".bentoml/models/voice-me/2"
    assert champion.source == (tmp_path / folder).resolve().as_uri()
    assert champion.tags["kind"] == winner


def test_numbers_are_flattened_and_what_is_no_number_is_left_out():
    content = {"a": 1, "b": {"c": 0.5, "d": "text", "e": {"f": True}}, "g": float("nan"), "h": [1]}
    assert numbers(content) == {"a": 1.0, "b.c": 0.5}


def test_nothing_to_track_says_what_to_run(tmp_path: Path):
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    with pytest.raises(InputError, match="make repro"):
        Lock.read(tmp_path / "dvc.lock")
