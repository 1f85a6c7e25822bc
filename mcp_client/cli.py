"""The command line: `voice-mcp` alone is the MCP server on stdio; `voice-mcp say "Hello."` speaks without an editor."""

import argparse
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

from mcp_client import settings as settings_file
from mcp_client.config import CLIENTS
from mcp_client.errors import VoiceError
from mcp_client.settings import Settings

if TYPE_CHECKING:
    from mcp_client.client import Speech
    from mcp_client.narrator import Narrator


def main(arguments: list[str] | None = None) -> None:
    """Do what is asked; a failure is one line on stderr and status 1."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(settings_file.load(), options))
    except VoiceError as error:
        sys.exit(f"voice-mcp: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="voice-mcp", description="Speak through the voice service. Alone: MCP on stdio."
    )
    parser.set_defaults(run=_serve)
    verbs = parser.add_subparsers(title="commands")
    say = verbs.add_parser("say", help="say a text; `-` reads it from stdin; Ctrl-C stops")
    say.add_argument("text")
    say.add_argument("--voice")
    say.add_argument("--language")
    say.add_argument("--instructions")
    say.add_argument("--speed", type=float, default=1.0)
    say.add_argument("--interrupt", action="store_true", help="stop everything else first")
    say.set_defaults(run=_say)
    verbs.add_parser("stop", help="stop what is being said, in every window").set_defaults(run=_stop)
    verbs.add_parser("doctor", help="what works, and the remedy for what does not").set_defaults(run=_doctor)
    config = verbs.add_parser("config", help="print what goes into an editor's files")
    config.add_argument("--client", choices=CLIENTS, default="cursor")
    config.set_defaults(run=_config)
    verbs.add_parser("hook", help="for Cursor's hooks: reads an event on stdin").set_defaults(run=_hook)
    return parser


def make_narrator(settings: Settings) -> "Narrator":
    """The parts, put together."""
    from mcp_client.client import VoiceService
    from mcp_client.narrator import Narrator
    from mcp_client.player import Speaker

    service = VoiceService(settings.url, api_key=settings.api_key)
    return Narrator(settings, service, Speaker(settings.device))


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from mcp_client.server import build_server  # late: `stop` and `hook` answer without the protocol's imports
    from mcp_client.turns import Turns

    Turns(settings.state_folder)  # a folder that cannot be written is told now, in one line
    build_server(settings, lambda: make_narrator(settings)).run()  # stdout belongs to the protocol
    return 0


def _say(settings: Settings, options: argparse.Namespace) -> int:
    import anyio

    from mcp_client.client import Speech

    text = sys.stdin.buffer.read().decode("utf-8", "replace") if options.text == "-" else options.text
    speech = Speech(text, options.voice, options.language, options.instructions, options.speed)
    return anyio.run(_say_it, settings, speech, options.interrupt)


async def _say_it(settings: Settings, speech: "Speech", interrupt: bool) -> int:
    import anyio

    narrator = make_narrator(settings)
    job = narrator.say(speech, interrupt=interrupt)
    async with anyio.create_task_group() as group:
        group.start_soon(narrator.run)
        group.start_soon(_stop_on_signal, narrator)
        await job.over.wait()
        group.cancel_scope.cancel()
    if job.error:
        print(f"voice-mcp: {job.error}", file=sys.stderr)
    return 1 if job.error else 0


async def _stop_on_signal(narrator: "Narrator") -> None:
    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            narrator.stop()


def _stop(settings: Settings, options: argparse.Namespace) -> int:
    from mcp_client.turns import Turns

    Turns(settings.state_folder).stop_all()
    return 0


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    import anyio

    from mcp_client.doctor import examine

    return min(1, anyio.run(examine, settings))


def _config(settings: Settings, options: argparse.Namespace) -> int:
    from mcp_client.config import render

    print(render(options.client, settings))
    return 0


def _hook(settings: Settings, options: argparse.Namespace) -> int:
    from mcp_client.hooks import answer
    from mcp_client.turns import Turns

    print(json.dumps(answer(sys.stdin.buffer.read().decode("utf-8", "replace"), Turns(settings.state_folder))))
    return 0
