"""One voice at a time, whoever dies."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from mcp_client.turns import Turns

pytestmark = pytest.mark.anyio

HOLD = """
import sys, anyio
from pathlib import Path
from mcp_client.turns import Turns
async def main():
    async with Turns(Path(sys.argv[1])).turn():
        print("held", flush=True)
        await anyio.sleep(600)
anyio.run(main)
"""


async def test_turns_are_taken_in_the_order_in_which_they_were_asked_for(tmp_path: Path):
    order: list[int] = []

    async def take(number: int) -> None:
        async with Turns(tmp_path).turn():
            order.append(number)
            await anyio.sleep(0.02)
            assert order[-1] == number  # nobody came in between

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(take, number)
            await anyio.sleep(0.005)
    assert order == [0, 1, 2, 3]
    assert list(tmp_path.glob("*.ticket")) == []


async def test_a_holder_that_was_killed_blocks_nobody(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    turns, entered = Turns(tmp_path), anyio.Event()

    async def take() -> None:
        async with turns.turn():
            entered.set()

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.sleep(0.2)
        assert not entered.is_set()
        assert turns.before() == 2
        holder.kill()
        holder.wait()
        with anyio.fail_after(20):
            await entered.wait()


async def test_who_gives_up_waiting_leaves_no_ticket(tmp_path: Path):
    async with Turns(tmp_path).turn():
        with anyio.move_on_after(0.1):
            async with Turns(tmp_path).turn():
                raise AssertionError("two at once")
        assert Turns(tmp_path).before() == 1
