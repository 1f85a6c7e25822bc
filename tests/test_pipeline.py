"""The whole way once, by the stages' own entry points, on a few clips: recordings in, a speaking service out."""

import base64
import csv
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import soundfile

from pipelines.eval.settings import System
from tests.stages import PROJECT, run_all, share

RECORDINGS = PROJECT.parent / "shared/recordings"
CLIPS = 12
QUICK = ["eval.text_limit=2", "eval.held_out_limit=1", "eval.resamples=200", "eval.players=2", "eval.first_audio=1"]


def take(source: Path, folder: Path) -> None:
    """Copy the last clips of a voice, audio and lines, and one of them a second time: another take of its sentence."""
    (folder / "wavs").mkdir(parents=True)
    lines = (source / "metadata.csv").read_text().splitlines()[-CLIPS - 1 : -1]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    for line in lines:
        [audio] = (source / "wavs").glob(line.split("|")[0] + ".*")
        shutil.copy(audio, folder / "wavs")
    samples, rate = soundfile.read(audio)
    soundfile.write(folder / "wavs/again.wav", samples[: -rate // 20], rate)
    with (folder / "metadata.csv").open("a") as file:
        file.write(f"again|{line.split('|')[1]}\n")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("demo", marks=pytest.mark.slow),
        pytest.param(
            "kathleen",
            marks=[
                pytest.mark.recordings,
                pytest.mark.skipif(not RECORDINGS.is_dir(), reason="needs ../shared/recordings"),
            ],
        ),
    ],
)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A project folder in which every stage up to `compare` has run on a slice of a voice."""
    voice = request.param
    folder = tmp_path_factory.mktemp("project")
    take(RECORDINGS / voice if voice == "kathleen" else PROJECT / "data/raw" / voice, folder / "data/raw" / voice)
    share(folder, "data/other_speaker", "pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_all(voice, split_so="data.eval_share=0.3", train=["train=lora", "train.epochs=1"], evaluate=QUICK)
        yield folder, voice


def test_the_stages_lead_from_recordings_to_a_verdict(project: tuple[Path, str]):
    folder, voice = project
    with (folder / f"data/processed/{voice}/quality.csv").open() as file:
        verdicts = {row["id"]: row["verdict"] for row in csv.DictReader(file)}
    assert [name for name, verdict in verdicts.items() if verdict == "dropped"] in (["again"], [list(verdicts)[-2]])
    assert len(verdicts) == CLIPS + 1
    metrics = json.loads((folder / f"reports/{voice}/metrics.json").read_text())
    assert set(metrics["systems"]) == set(System)
    assert set(metrics["bounds"]) == {"real", "codec", "other_speaker"}
    real, other = (metrics["bounds"][name]["sim_resemblyzer"] for name in ("real", "other_speaker"))
    assert real > other
    assert metrics["bounds"]["real"]["wer_pocketsphinx"] < metrics["systems"]["zero_shot"]["wer_pocketsphinx"]
    assert metrics["texts"]["sentences"] == 3
    assert "<audio" in (folder / f"reports/{voice}/report.html").read_text()


def test_the_winner_answers_over_http(project: tuple[Path, str]):
    folder, voice = project
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "BENTOML_HOME": str(folder / ".bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    for _ in range(2):  # what is in the store already is reused
        subprocess.run(
            [sys.executable, "-m", "serving.package", f"voice={voice}"], cwd=folder, env=environment, check=True
        )
    bento = folder / f"models/{voice}/bento"
    tag = (bento / "tag.txt").read_text().strip()
    assert [p.suffix for p in bento.glob("*.bento")] == [".bento"]
    assert len(list((folder / f".bentoml/bentos/voice-{voice}").glob("*/bento.yaml"))) == 1

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=120, transport=httpx2.HTTPTransport(retries=9)
        ) as http:
            while (health := http.get("/health").json())["status"] == "loading":
                time.sleep(0.2)
            answer = http.post("/synthesize", json={"text": "Good morning.", "language": "en"}).json()
            refused = http.post("/synthesize", json={"text": ""})
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert health["voice"] == voice
    assert health["status"] == "ok"
    info = soundfile.info(io.BytesIO(base64.b64decode(answer["audio"])))
    assert (info.samplerate, info.channels, info.frames > 0) == (24_000, 1, True)
    assert (refused.status_code, "text" in refused.json()["error"]["message"]) == (422, True)
