"""Cursor's hooks: JSON on stdin, JSON on stdout. Whatever goes wrong, the editor is never held up."""

import json
import subprocess
import sys

from mcp_client.config import command
from mcp_client.turns import Turns

ALLOWED = {"beforeSubmitPrompt": {"continue": True}}


def answer(content: str, turns: Turns) -> dict[str, object]:
    """Act on an event and return what the editor expects: a new prompt silences, an answer is read aloud."""
    try:
        event = json.loads(content)
    except ValueError:
        print("voice-mcp hook: what came on stdin is no JSON; it is for an editor to call.", file=sys.stderr)
        return {}
    match event:
        case {"hook_event_name": "beforeSubmitPrompt"}:
            turns.stop_all()
        case {"hook_event_name": "afterAgentResponse", "text": str(text)} if text.strip():
            _say_apart(text)
    name = event.get("hook_event_name") if isinstance(event, dict) else None
    return dict(ALLOWED.get(str(name), {}))


def _say_apart(text: str) -> None:
    """In a process of its own, which the hook does not wait for."""
    process = subprocess.Popen(
        [*command(), "say", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin
    process.stdin.write(text.encode("utf-8", "replace"))
    process.stdin.close()
