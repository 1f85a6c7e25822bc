"""`voice-mcp` as an editor and a person start it: a process, its pipes, its exit."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@pytest.fixture
def environment(service: Any, tmp_path: Path) -> dict[str, str]:
    home = {"HOME": str(tmp_path), "TTS_SERVER_URL": service.url, "TTS_STATE_DIR": str(tmp_path / "state")}
    return {**os.environ, **home, "PYTHONPATH": str(Path(__file__).parents[2])}


def run(environment: dict[str, str], *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mcp_client", *arguments]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60)


def test_every_line_on_stdout_is_json_also_when_a_tool_fails(environment: dict[str, str]):
    lines: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": CLIENT},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "speak", "arguments": {"text": ""}}},
        {"id": 4, "method": "tools/call", "params": {"name": "status", "arguments": {}}},
    ]
    command = [sys.executable, "-m", "mcp_client"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    replies = []
    for line in lines:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **line}) + "\n")
        process.stdin.flush()
        if "id" in line:
            replies.append(json.loads(process.stdout.readline()))
    rest, _ = process.communicate(timeout=60)  # closes stdin: the server ends
    assert [json.loads(line) for line in rest.splitlines()] == []
    assert process.returncode == 0
    tools = {tool["name"]: tool for tool in replies[1]["result"]["tools"]}
    assert set(tools) == {"speak", "stop", "pause", "resume", "list_voices", "status", "save"}
    assert tools["speak"]["inputSchema"]["required"] == ["text"]
    assert all(tool["title"] and "readOnlyHint" in tool["annotations"] for tool in tools.values())
    assert replies[2]["result"]["isError"]
    assert replies[3]["result"]["structuredContent"]["service"] == "ok"


def test_starting_imports_neither_torch_nor_sound():
    heavy = ("torch", "bentoml", "voice", "sounddevice", "numpy")
    code = f"import sys, mcp_client.server, mcp_client.cli; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_cursor_config_is_json_that_starts_this_program(environment: dict[str, str], service: Any):
    out = run(environment, "config", "--client", "cursor").stdout
    first = json.loads(out[out.index("{") : out.index("~/.cursor/permissions.json")])["mcpServers"]["voice"]
    assert Path(first["command"]).is_absolute()
    assert first["env"] == {"TTS_SERVER_URL": service.url}
    link = next(line for line in out.splitlines() if line.startswith("cursor://"))
    assert json.loads(base64.b64decode(parse_qs(urlsplit(link).query)["config"][0])) == first


def test_the_key_is_never_printed(environment: dict[str, str]):
    environment["TTS_API_KEY"] = "sesame-open"
    for arguments in (("config",), ("config", "--client", "claude"), ("config", "--client", "vscode"), ("doctor",)):
        result = run(environment, *arguments)
        assert "sesame-open" not in result.stdout + result.stderr


def test_doctor_has_a_line_for_each_thing_with_the_remedy(environment: dict[str, str]):
    environment["TTS_SERVER_URL"] = "http://127.0.0.1:9"
    result = run(environment, "doctor")
    lines = result.stdout.splitlines()
    assert [line.split(":")[0].split()[1] for line in lines] == ["address", "service", "key", "latency", "device"]
    assert "make serve" in lines[1]
    assert result.returncode == 1


def test_a_prompt_silences_and_lets_the_editor_go_on(environment: dict[str, str], tmp_path: Path):
    result = run(environment, "hook", stdin='{"hook_event_name": "beforeSubmitPrompt", "prompt": "hi"}')
    assert json.loads(result.stdout) == {"continue": True}
    assert (tmp_path / "state/stop").exists()


def test_an_answer_is_read_aloud_by_a_process_of_its_own(environment: dict[str, str], service: Any):
    result = run(environment, "hook", stdin='{"hook_event_name": "afterAgentResponse", "text": "**Done.**"}')
    assert result.returncode == 0
    assert json.loads(result.stdout) == {}


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"hook_event_name": 3}'])
def test_a_hook_never_holds_the_editor_up(environment: dict[str, str], content: str):
    result = run(environment, "hook", stdin=content)
    assert (result.returncode, json.loads(result.stdout)) == (0, {})


def test_a_failure_is_one_line(environment: dict[str, str]):
    for arguments in (("say", ""), ("say", "x" * 60_000)):
        result = run(environment, *arguments)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
    environment["TTS_LEAD_MS"] = "soon"
    result = run(environment, "stop")
    assert "TTS_LEAD_MS" in result.stderr
    assert len(result.stderr.splitlines()) == 1
