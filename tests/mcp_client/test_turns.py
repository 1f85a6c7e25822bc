"""One voice at a time, whoever dies."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from mcp_client.turns import Ticket, Turns

pytestmark = pytest.mark.anyio

HOLD = """
import sys, anyio
from pathlib import Path
from mcp_client.turns import Turns
async def main():
    turns = Turns(Path(sys.argv[1]))
    await turns.reached(turns.draw())
    print("held", flush=True)
    await anyio.sleep(600)
anyio.run(main)
"""


async def test_turns_are_taken_in_the_order_in_which_they_were_asked_for(tmp_path: Path):
    order: list[int] = []

    async def take(number: int, ticket: Ticket) -> None:
        await Turns(tmp_path).reached(ticket)
        order.append(number)
        await anyio.sleep(0.02)
        assert order[-1] == number  # nobody came in between
        ticket.leave()

    async with anyio.create_task_group() as group:
        tickets = [Turns(tmp_path).draw() for _ in range(4)]
        for number in (2, 3, 0, 1):  # in whatever order they come to the line
            group.start_soon(take, number, tickets[number])
    assert order == [0, 1, 2, 3]
    assert list(tmp_path.glob("*.ticket")) == []


async def test_a_holder_that_was_killed_blocks_nobody(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    turns, entered = Turns(tmp_path), anyio.Event()

    async def take() -> None:
        ticket = turns.draw()
        await turns.reached(ticket)
        entered.set()
        ticket.leave()

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.sleep(0.2)
        assert not entered.is_set()
        assert turns.before() == 2
        holder.kill()
        holder.wait()
        with anyio.fail_after(20):
            await entered.wait()


async def test_who_leaves_the_line_is_waited_for_by_nobody(tmp_path: Path):
    first, second, third = (Turns(tmp_path).draw() for _ in range(3))
    assert Turns(tmp_path).before(third.number) == 2
    second.leave()
    second.leave()
    assert Turns(tmp_path).before(third.number) == 1
    first.leave()
    with anyio.fail_after(20):
        await Turns(tmp_path).reached(third)
    third.leave()
    assert Turns(tmp_path).before() == 0


def test_every_stop_is_seen_however_soon_it_follows_another(tmp_path: Path):
    seen = []
    for _ in range(50):
        Turns(tmp_path).stop_all()
        seen.append(Turns(tmp_path).stops())
    assert seen == list(range(1, 51))
