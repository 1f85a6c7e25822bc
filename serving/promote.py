"""Put the champion on air in the running service, or the voice before it.

    python -m serving.promote promote demo
    python -m serving.promote rollback demo

The service loads the pack beside the one that speaks, has it say something, and only then lets it speak; who is being
spoken to hears the old one to the end. If it cannot speak, nothing changes.
"""

import argparse
import sys
import time
from pathlib import Path

from serving.state import ACTIVE, ANSWER, RUNNING, WANTED, State, folder_of, is_running
from voice.errors import InputError

LONGEST_SECONDS = 600.0  # to load 1.7B from a slow disk


def champion(voice: str) -> str:
    """The pack of the last `dvc repro`: the winner of the evaluation."""
    path = Path("models") / voice / "bento/pack_tag.txt"
    if not path.is_file():
        raise InputError(f"{path} is missing: no packaged voice {voice!r}. Run `make repro`.")
    return path.read_text(encoding="utf-8").strip()


def before(state: State) -> str:
    """The pack that was on air before this one."""
    pack = state.read(ACTIVE).get("before")
    if not isinstance(pack, str):
        raise InputError("no other voice was on air before this one. There is nothing to go back to.")
    return pack


def wish(state: State, pack: str, *, seconds: float = LONGEST_SECONDS) -> str:
    """Ask the service for a pack and wait for its answer. Raises InputError if it does not come on air."""
    wanted = {"pack": pack, "at": time.time()}
    state.write(WANTED, **wanted)
    pid = state.read(RUNNING).get("pid")
    if not isinstance(pid, int) or not is_running(pid):
        return f"no service runs; {pack} comes on air when it is started (`make serve`)"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = state.read(ANSWER)
        if answer.get("wish") == wanted:
            if not answer.get("ok"):
                raise InputError(f"{pack} did not come on air, the voice before it goes on: {answer.get('message')}")
            return str(answer["message"])
        time.sleep(0.2)
    raise InputError(f"the service did not answer in {seconds:g} s. Its log says why.")


def main() -> None:
    """Read the verb and the voice."""
    parser = argparse.ArgumentParser(prog="python -m serving.promote", description=__doc__.partition("\n")[0])
    parser.add_argument("verb", choices=("promote", "rollback"))
    parser.add_argument("voice", help="a folder under models/")
    arguments = parser.parse_args()
    try:
        state = State(folder_of(f"voice-{arguments.voice.lower()}"))
        pack = champion(arguments.voice) if arguments.verb == "promote" else before(state)
        print(wish(state, pack))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
