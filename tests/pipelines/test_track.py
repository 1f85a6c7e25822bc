import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipelines import track
from pipelines.track import Lock, numbers
from voice.errors import InputError

SYSTEMS = ("zero_shot", "zero_shot_embedding", "finetuned", "finetuned_in_context")
BOUNDS = ("real", "codec", "other_speaker")
DATA_STAGES = ("segment", "preprocess", "transcribe", "curate", "split", "describe", "encode")


def lock(tmp_path: Path, *, lr: float = 1e-5) -> None:
    choices = "voice=me language=en model=tiny train=full eval=quick"
    names = [
        *DATA_STAGES,
        "finetune",
        "plan",
        "roundtrip",
        *[f"synthesize@{s}" for s in SYSTEMS],
        "score",
        "compare",
        "package",
    ]
    stages: dict[str, Any] = {name: {"cmd": f"python -m stage {choices}"} for name in names}
    for system in ("finetuned", "finetuned_in_context"):
        stages[f"synthesize@{system}"]["deps"] = [{"path": "models/me/finetuned", "md5": "1234.dir"}]
    stages["score"]["deps"] = [{"path": "data/processed/me/wavs", "md5": "5678.dir"}]
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
    files |= {f"reports/me/scores/{s}.csv": "id\n" for s in (*SYSTEMS, *BOUNDS)}
    files |= {f"reports/me/audio/{s}/en_001_0.flac": "audio" for s in SYSTEMS}
    files["reports/me/figures.csv"] = "system\n"
    metrics = {
        "systems": {s: {"wer_pocketsphinx": 0.1 * i} for i, s in enumerate(SYSTEMS)},
        "bounds": {s: {"wer_pocketsphinx": 0.1} for s in BOUNDS},
        "texts": {"language": "en", "sentences": 30, "version": "0123456789abcdef"},
        "votes": {"won": 3, "lost": 1, "tied": 0},
        "difference_to_zero_shot": {"finetuned": {"sim_resemblyzer": {"mean": 0.1}}},
        "decision": {"winner": winner, "outcome": "no difference shown"},
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
    expected = {*DATA_STAGES, "finetune", "plan", "compare", "package"}
    assert set(names) == expected | {f"me/{name}" for name in (*SYSTEMS, *BOUNDS)}
    assert len(names) == len(set(names))
    by_name = logged(client)
    assert by_name["me/finetuned"].data.metrics["wer_pocketsphinx"] == pytest.approx(0.2)
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


def test_a_system_s_run_holds_what_was_heard_and_says_which_data_and_weights_it_is_about(
    client: MlflowClient, tmp_path: Path
):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    track.main()
    run = logged(client)["me/finetuned"]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"finetuned", "finetuned.csv", "report.html"}
    inputs = {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs}
    assert inputs == {"me-held-out": "5678", "texts-en": "0123456789abcdef"}
    models = client.search_logged_models([run.info.experiment_id])
    tuned = next(m for m in models if m.name == "me-finetuned")
    assert tuned.tags["dvc_md5"] == "1234"
    assert {m.key: m.value for m in tuned.metrics} == run.data.metrics
    assert (run.data.tags["voice"], run.data.tags["role"]) == ("me", "system")


def test_a_tracking_that_was_interrupted_leaves_no_open_run(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    with monkeypatch.context() as patch:
        patch.setattr("voice.tracking.Store.finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            track.main()
    track.main()
    experiment = client.get_experiment_by_name("voices")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.info.run_name for run in runs}) == len(runs)


def test_an_older_version_says_that_its_folder_holds_a_newer_one(client: MlflowClient, tmp_path: Path):
    results(tmp_path, winner="finetuned")
    for lr in (1e-5, 2e-5):
        lock(tmp_path, lr=lr)
        track.main()
    tuned = [v for v in client.search_model_versions("name = 'voice-me'") if v.tags["kind"] == "finetuned"]
    newest, oldest = sorted(tuned, key=lambda v: -int(v.version))
    assert oldest.tags["replaced_by"] == str(newest.version)
    assert "replaced_by" not in newest.tags
    lock(tmp_path, lr=1e-5)  # DVC restores the first one
    track.main()
    again = client.get_model_version("voice-me", oldest.version)
    assert "replaced_by" not in again.tags


@pytest.mark.parametrize("winner", ["finetuned", "zero_shot"])
def test_the_winner_is_the_champion_by_pointer_and_the_other_the_challenger(
    client: MlflowClient, tmp_path: Path, winner: str
):
    lock(tmp_path)
    results(tmp_path, winner=winner)
    track.main()
    champion = client.get_model_version_by_alias("voice-me", "champion")
    assert {winner, client.get_model_version_by_alias("voice-me", "challenger").tags["kind"]} == {
        "finetuned",
        "zero_shot",
    }
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


def test_votes_log_the_comparison_anew_and_no_system(client: MlflowClient, tmp_path: Path):
    lock(tmp_path)
    results(tmp_path, winner="finetuned")
    track.main()
    content = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    content["stages"]["compare"]["deps"] = [{"path": "data/listening.csv", "md5": "9abc"}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(content))
    track.main()
    experiment = client.get_experiment_by_name("voices")
    names = [run.info.run_name for run in client.search_runs([experiment.experiment_id])]
    assert names.count("compare") == 2
    assert names.count("me/finetuned") == names.count("me/real") == 1
