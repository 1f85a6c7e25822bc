"""The gate is fair among callers, and a place is given once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.gate import Gate, Permit
from serving.problems import Problem


def run(scenario: Callable[[Gate], Awaitable[None]], *, active: int = 1, queue: int = 4, wait: float = 60.0) -> None:
    async def go() -> None:
        await scenario(Gate(active=active, queue=queue, wait_seconds=wait))

    asyncio.run(go())


async def ask(gate: Gate, *callers: str) -> list[asyncio.Task[Permit]]:
    """Requests in this order."""
    tasks = []
    for caller in callers:
        tasks.append(asyncio.create_task(gate.enter(caller)))
        await asyncio.sleep(0)
    return tasks


def test_who_has_fewest_places_comes_first():
    async def scenario(gate: Gate) -> None:
        first = await gate.enter("many")
        second, third, other = await ask(gate, "many", "many", "one")
        first.leave()
        permit = await second  # nobody has a place: who came first
        permit.leave()
        (await third).leave()
        (await other).leave()

    run(scenario)

    async def with_two_places(gate: Gate) -> None:
        first, second = await gate.enter("many"), await gate.enter("many")
        third, other = await ask(gate, "many", "one")
        first.leave()
        await other
        assert not third.done(), "it came before, but its caller speaks already"
        second.leave()
        await third

    run(with_two_places, active=2)


def test_in_a_full_queue_a_caller_takes_the_place_of_who_has_most_there():
    async def scenario(gate: Gate) -> None:
        speaking = await gate.enter("many")
        many = await ask(gate, *["many"] * 4)
        [other] = await ask(gate, "one")
        with pytest.raises(Problem, match="much of it for you"):
            await many[-1]
        assert gate.waiting == 4
        speaking.leave()
        (await many[0]).leave()
        await many[1]
        assert not other.done(), "its turn comes when there is one: nobody else has fewer places"

    run(scenario)


def test_nobody_is_sent_away_for_who_would_have_as_many():
    async def scenario(gate: Gate) -> None:
        await gate.enter("a")
        waiting = await ask(gate, "a", "a", "b", "b")
        with pytest.raises(Problem, match="more to say than it can"):
            await gate.enter("b")
        with pytest.raises(Problem, match="more to say than it can"):
            await gate.enter("a")
        await ask(gate, "c")
        sent_away, stay = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert (len(sent_away), len(stay)) == (1, 3)
        assert isinstance(sent_away.pop().exception(), Problem)
        with pytest.raises(Problem, match="more to say than it can"):
            await gate.enter("c")

    run(scenario)


def test_who_lets_others_in_and_stays_is_counted_still():
    async def scenario(gate: Gate) -> None:
        for _ in range(3):  # slow to listen
            (await gate.enter("many")).step_aside()
        speaking = await gate.enter("other")
        many, one = await ask(gate, "many", "one")
        speaking.leave()
        (await one).leave()
        (await many).leave()

    run(scenario, queue=10)


def test_a_caller_who_is_slow_many_times_leaves_room_for_others():
    async def scenario(gate: Gate) -> None:
        slow = list[Permit]()
        with pytest.raises(Problem, match="most of them slow"):
            for _ in range(20):
                slow.append(await gate.enter("many"))
                slow[-1].step_aside()
        assert len(slow) == 6, "a half of the queue and one"
        (await gate.enter("one")).leave()
        for permit in slow:
            permit.leave()
        assert gate.open == 0
        (await gate.enter("many")).leave()

    run(scenario, queue=10)


def test_a_burst_of_slow_requests_keeps_nobody_else_out():
    async def scenario(gate: Gate) -> None:
        many = await ask(gate, *["many"] * 11)
        for task in many:
            (await task).step_aside()
        assert gate.open == 11, "as many as there may be"
        with pytest.raises(Problem, match="most of them slow"):
            await gate.enter("many")
        (await gate.enter("one")).leave()

    run(scenario, queue=10)


def test_a_place_that_comes_as_its_client_leaves_goes_to_the_next():
    async def scenario(gate: Gate) -> None:
        speaking = await gate.enter("a")
        gone, stays = await ask(gate, "b", "c")
        speaking.leave()
        gone.cancel()
        await asyncio.wait([gone])
        if not gone.cancelled():  # the place was quicker
            gone.result().leave()
        (await stays).leave()
        (await gate.enter("d")).leave()

    run(scenario)


def test_who_waits_too_long_is_told_to_come_back_and_keeps_nobody_s_place():
    async def scenario(gate: Gate) -> None:
        speaking = await gate.enter("a")
        with pytest.raises(Problem, match=r"busy for 0\.01 s"):
            await gate.enter("b")
        speaking.leave()
        speaking.leave()
        await gate.enter("c")
        assert (gate.waiting, gate.open) == (0, 1)

    run(scenario, wait=0.01)
