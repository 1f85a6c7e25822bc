"""Processes that work for a stage."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
STAGE = """
import os, signal, time
from pipelines.workers import workers
{imports}
if __name__ == "__main__":
    with workers(2) as pool:
        {first}
        print(pool.submit(os.getpid).result(), flush=True)
        {then}
"""


def start(
    folder: Path, *, imports: str = "", first: str = "pass", then: str
) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A stage with a pool, in a session of its own, and one of its workers."""
    (folder / "stage.py").write_text(STAGE.format(imports=imports, first=first, then=then))
    stage = subprocess.Popen(
        [sys.executable, "stage.py"], cwd=folder, env={**os.environ, "PYTHONPATH": str(PROJECT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert stage.stdout is not None
    return stage, psutil.Process(int(stage.stdout.readline()))


def test_workers_do_not_outlive_a_stage_that_is_killed(tmp_path: Path):
    stage, worker = start(tmp_path, then="time.sleep(600)")
    stage.kill()
    stage.wait()
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_what_a_stage_imports_is_imported_once_for_all_its_processes(tmp_path: Path):
    stage, worker = start(tmp_path, imports="import voice.audio", then="import sys; sys.stdin.read()")
    server = worker.parent()
    assert server is not None and server.pid != stage.pid
    assert any("sndfile" in Path(mapped.path).name for mapped in server.memory_maps())
    stage.communicate()


def test_ctrl_c_leaves_the_work_to_the_stage(tmp_path: Path):
    handler = "asked = []; signal.signal(signal.SIGINT, lambda *_: asked.append(True))"
    then = "while not asked: time.sleep(0.01)\n        print(pool.submit(abs, -7).result())"
    stage, _ = start(tmp_path, first=handler, then=then)
    assert stage.stdout is not None
    os.killpg(stage.pid, signal.SIGINT)
    assert stage.stdout.readline() == "7\n"
    assert stage.wait() == 0


def test_no_package_is_run_with_work_that_processes_cannot_import():
    # `python -m package` runs package/__main__.py, which a process does not import again: its functions are missing
    for path in (PROJECT / "pipelines").rglob("__main__.py"):
        text = path.read_text(encoding="utf-8")
        own = set(re.findall(r"^def (\w+)", text, re.MULTILINE))
        assert not own & set(re.findall(r"(?:partial|pool\.map|pool\.submit)\((\w+)", text)), path
