"""A training in MLflow while it runs."""

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines.train.curve import EVAL, TRAIN, Step, write_curve
from pipelines.train.listening import Heard, Judges, Take
from pipelines.train.live import Live
from tests.pipelines.train.voices import FULL, Voice
from voice.tracking import MlflowException, Run, Store


def step(number: int, *, side: str = TRAIN) -> Step:
    measured = {"lr": 1e-3, "gradient_norm": 1.0} if side == TRAIN else {}
    return Step(side, 1, number, 3.0 - number / 10, 2.0, 1.0, (0.5, 1.5), **measured)


class SilentJudge:
    name = "sphinx"


TAKE = Take(1, "en_1", "en", 0, "a", "a", 0.25, 0.75, 1.5, False, 2.0, "step-000001/en_1_0.flac")
JUDGES = Judges(SilentJudge(), SilentJudge(), "en", [], 1.0)  # type: ignore[arg-type]


def test_curves_and_what_was_heard_can_be_followed(tmp_path: Path):
    audio = tmp_path / "audio"
    (audio / "step-000001").mkdir(parents=True)
    (audio / "step-000001" / "en_1_0.flac").write_bytes(b"fLaC")
    with Live(tmp_path, tags={"voice": "me"}) as live:
        run_id = live.open("")
        live.step(step(0, side=EVAL))
        live.step(step(1))
        live.heard(Heard(1, (TAKE,)), JUDGES, audio)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    expected = {"train_loss": 2.9, "train_codebook_02_loss": 1.5, "train_lr": 1e-3, "eval_talker_loss": 2.0}
    expected |= {"heard_wer_sphinx": 0.25, "heard_sim_sphinx": 0.75, "heard_pace_ratio": 1.5, "heard_runaway_share": 0}
    assert {k: run.data.metrics[k] for k in expected} == pytest.approx(expected)
    assert "eval_lr" not in run.data.metrics
    [found] = client.list_artifacts(run_id, "heard/step-000001")
    assert found.path.endswith("en_1_0.flac")


def test_a_resumed_training_goes_on_in_its_run_and_a_failed_one_is_marked(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), Live(tmp_path, tags={}) as live:
        first = live.open("")
        raise KeyboardInterrupt
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_run(first).info.status == "KILLED"
    with Live(tmp_path, tags={}) as live:
        assert live.open(first) == first
    assert client.get_run(first).info.status == "FINISHED"
    with Live(tmp_path, tags={}) as live:
        assert live.open("of another store") not in ("of another store", first)


def test_a_store_that_fails_costs_curves_and_not_the_training(
    voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def locked(*_: object) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(Store, "log_metrics", locked)
    with Live(tmp_path, tags={}) as live:
        voice.train(FULL, tmp_path / "out", recorder=live)
    assert (tmp_path / "out" / "voice.json").is_file()
    assert "database is locked" in caplog.text


@pytest.mark.parametrize("method", ["start", "finish", "log_artifact"])
def test_no_call_of_a_failing_store_stops_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
):
    def locked(*_: object) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(Store, method, locked)
    with pytest.raises(KeyError, match="the reason"), Live(tmp_path, tags={}) as live:
        live.open("")
        live.step(step(1))
        live.heard(Heard(1, (TAKE,)), JUDGES, tmp_path) if method == "log_artifact" else None
        raise KeyError("the reason")
    assert "database is locked" in caplog.text


def test_track_completes_the_run_that_was_recorded_live(tmp_path: Path):
    store = Store(tmp_path)
    run_id = store.start("finetune", {"voice": "me"})
    store.log_metrics(run_id, [(1, {"train_loss": 3.0})])
    curves = [(1, {"train_loss": 3.0})]
    run = Run("finetune", "k1", {"stage": "finetune"}, {"lr": 1}, {"eval_loss": 2.0}, curves, live=run_id)
    assert store.log(run) == run_id
    assert store.log(run) == run_id  # once
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert len(client.get_metric_history(run_id, "train_loss")) == 1
    assert client.get_run(run_id).data.params == {"lr": "1"}
    # restored by DVC under another key, the same training.json belongs to a run of its own, curves included
    restored = store.log(Run("finetune", "k2", {}, curves=curves, live=run_id))
    assert restored != run_id
    assert client.get_run(restored).data.metrics == {"train_loss": 3.0}


def test_the_curve_is_a_table_with_a_column_for_each_codebook(tmp_path: Path):
    write_curve(tmp_path / "training.csv", [step(0, side=EVAL), step(1)])
    head, evaluated, trained = (tmp_path / "training.csv").read_text().splitlines()
    assert head.split(",")[-2:] == ["codebook_01_loss", "codebook_02_loss"]
    assert dict(zip(head.split(","), trained.split(","), strict=True))["lr"] == "0.001"
    assert dict(zip(head.split(","), evaluated.split(","), strict=True))["update_ratio"] == ""
    assert np.isnan(step(1).update_ratio)
