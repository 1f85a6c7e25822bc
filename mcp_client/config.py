"""What an editor's files must hold: the server, leave to use it unasked, and hooks. Printed, never written."""

import base64
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from mcp_client.settings import Settings

CLIENTS = ("cursor", "claude", "vscode")


def command() -> list[str]:
    """How to start this program: absolute, for editors have neither the shell's PATH nor its folder."""
    beside = Path(sys.executable).with_name("voice-mcp")
    if beside.exists():
        return [str(beside.absolute())]
    found = shutil.which("voice-mcp")
    return [str(Path(found).absolute())] if found else [str(Path(sys.executable).absolute()), "-m", "mcp_client"]


def _server(settings: Settings) -> dict[str, object]:
    program, *arguments = command()
    # the key stays out: it is read from the environment or from ~/.config/voice-mcp/env
    return {"command": program, "args": arguments, "env": {"TTS_SERVER_URL": settings.url}}


def render(client: str, settings: Settings) -> str:
    """What to paste, and where."""
    server = _server(settings)
    key = "The key, if the service asks for one: TTS_API_KEY=... in ~/.config/voice-mcp/env (chmod 600)."
    match client:
        case "cursor":
            parts = [
                "~/.cursor/mcp.json:", _json({"mcpServers": {"voice": server}}),
                "~/.cursor/permissions.json, so that it is not asked about each time:",
                _json({"mcpAllowlist": ["voice:*"]}),
                "or install by link:", install_link(server),
                "~/.cursor/hooks.json, to hear every answer and to silence it by typing (optional):", _json(hooks()),
            ]  # fmt: skip
        case "claude":
            program, *arguments = command()
            line = " ".join(_quoted(word) for word in [program, *arguments])
            parts = [
                "In a terminal:",
                f"claude mcp add --scope user voice -e TTS_SERVER_URL={settings.url} -- {line}",
                "~/.claude/settings.json, so that it is not asked about each time:",
                _json({"permissions": {"allow": ["mcp__voice"]}}),
            ]
        case _:
            parts = [".vscode/mcp.json, or the user's by `MCP: Open User Configuration`:",
                     _json({"servers": {"voice": {"type": "stdio", **server}}})]  # fmt: skip
    return "\n\n".join([*parts, key])


def hooks() -> dict[str, object]:
    """Cursor's hooks: each answer is read aloud, and a new prompt stops it."""
    line = " ".join(_quoted(word) for word in [*command(), "hook"])
    return {"version": 1, "hooks": {name: [{"command": line}] for name in ("afterAgentResponse", "beforeSubmitPrompt")}}


def install_link(server: dict[str, object]) -> str:
    """Cursor's link: base64 of the server's own object, percent-encoded."""
    config = base64.b64encode(json.dumps(server).encode()).decode()
    return f"cursor://anysphere.cursor-deeplink/mcp/install?name=voice&config={quote(config, safe='')}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2)


def _quoted(word: str) -> str:
    return word if all(c.isalnum() or c in "/._-" for c in word) else "'" + word.replace("'", "'\\''") + "'"
