"""Continuous batching: who enters and leaves when changes nobody's codes, and nobody holds up the others."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from queue import Empty
from typing import Any

import numpy as np
import pytest
import torch

from tests.voice.engine.checkpoints import core_of, speak_all
from voice.engine.core import Core, Utterance
from voice.engine.listener import Listener
from voice.engine.prompts import Prompts
from voice.engine.scheduler import REGROW_SECONDS, STRETCH, Ending, Scheduler, Stream
from voice.engine.voices import Voice
from voice.errors import InputError
from voice.request import Layout, Request, Sampling

SLOTS = 3
WAIT = 60  # seconds after which a thread that should have ended is taken for stuck


@pytest.fixture(scope="module")
def core(tiny: Any) -> Core:
    return core_of(tiny, slots=SLOTS)


@pytest.fixture(scope="module")
def voice(tiny: Any) -> Voice:
    width = tiny.model.config.talker_config.hidden_size
    return Voice("me", embedding=torch.randn(width, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def scheduler(core: Core) -> Iterator[Scheduler]:
    """One at a time drives the shared core: the next waits until this one's thread has ended."""
    scheduler = Scheduler(core)
    yield scheduler
    if thread := scheduler._thread:
        thread.join(WAIT)


def join(scheduler: Scheduler) -> None:
    if thread := scheduler._thread:
        thread.join(WAIT)


def utterance(core: Core, voice: Voice, number: int, *, budget: int = 12) -> Utterance:
    """Unlike its neighbours in text, seed, layout, length and sampling."""
    sampling = [Sampling(), Sampling(do_sample=False), Sampling(top_k=0, top_p=0.8)][number % 3]
    request = Request("word " * (1 + number % 4), "me", seed=number, layout=list(Layout)[number % 2], sampling=sampling)
    return core.lay_out(request, voice, budget=budget + 3 * number)


def codes(said: Utterance) -> Any:
    return torch.stack(said.codes).numpy()


def in_context(tiny: Any, *, frames: int = 120) -> Voice:
    """A voice with a reference."""
    reference = torch.randint(0, 64, (frames, tiny.model.talker.config.num_code_groups))
    width = tiny.model.config.talker_config.hidden_size
    return Voice("me", embedding=torch.zeros(width), words=(1, 2), codes=reference)


def alone(core: Core, voice: Voice, number: int, **options: Any) -> Any:
    scheduler = Scheduler(core)
    said = utterance(core, voice, number, **options)
    audio = np.concatenate(list(scheduler.submit(said)))
    return codes(said), audio


def test_the_seed_alone_decides_codes_and_samples_whatever_shares_the_batch(
    core: Core, scheduler: Scheduler, voice: Voice
):
    expected = [alone(core, voice, number) for number in range(8)]
    said = [utterance(core, voice, number) for number in range(8)]  # more than slots: they enter as others leave
    streams = [scheduler.submit(u, ahead=None) for u in said]
    for stream, u, (same_codes, same_audio) in zip(streams, said, expected, strict=True):
        audio = np.concatenate(list(stream))
        np.testing.assert_array_equal(codes(u), same_codes)
        np.testing.assert_array_equal(audio, same_audio)


def test_a_stream_that_comes_later_enters_while_the_others_speak(core: Core, scheduler: Scheduler, voice: Voice):
    first = iter(scheduler.submit(utterance(core, voice, 1, budget=200), ahead=1))
    next(first)
    second = scheduler.submit(utterance(core, voice, 2, budget=4))
    assert len(np.concatenate(list(second))) > 0  # to its end, while the first is kept waiting by its listener
    first.close()


def test_listeners_that_do_not_listen_keep_no_slot_from_those_who_do(core: Core, scheduler: Scheduler, voice: Voice):
    held = [scheduler.submit(utterance(core, voice, n, budget=60), ahead=1) for n in range(SLOTS)]
    heard = list(scheduler.submit(utterance(core, voice, 5)))
    assert heard
    for number, stream in enumerate(held):  # and theirs goes on where it was
        np.concatenate(list(stream))
        expected, _ = alone(core, voice, number, budget=60)
        np.testing.assert_array_equal(codes(stream.utterance), expected)


class Hearing(Listener):
    """A listener who has so much in hand and has missed so much."""

    def __init__(self, *, unheard: float = 0.0, missed: Sequence[float] = (0.0,)) -> None:
        super().__init__()
        self._in_hand, self._lost = unheard, list(missed)

    def unheard(self) -> float:
        return self._in_hand

    def missed(self) -> float:
        return self._lost.pop(0) if len(self._lost) > 1 else self._lost[0]  # as it is asked


@pytest.mark.parametrize(
    ("listening", "is_spared"),
    [
        (lambda: Hearing(unheard=20.0), True),
        (lambda: Hearing(unheard=5.0, missed=[20.0]), False),
        (lambda: Hearing(missed=[20.0, 20.0, 20.0, 40.0]), True),
    ],
    ids=["far ahead", "in time, but for long ago", "far behind"],
)
def test_a_slot_is_asked_back_from_who_does_not_just_keep_up(
    core: Core, voice: Voice, listening: Callable[[], Listener], is_spared: bool, monkeypatch: pytest.MonkeyPatch
):
    numbers, listener = (1, 2, 4), listening()  # none of which ends by itself
    expected = [alone(core, voice, number, budget=150)[0] for number in numbers]
    scheduler, long = Scheduler(core), list[Stream]()
    begun, begin, all_there = list[list[int]](), core.begin, threading.Event()

    def note(slot: int, said: Utterance) -> None:
        assert all_there.wait(WAIT)
        begun.append([len(stream.utterance.codes) for stream in long])
        begin(slot, said)

    monkeypatch.setattr(core, "begin", note)
    for number in numbers:
        long.append(scheduler.submit(utterance(core, voice, number, budget=150), ahead=1_000, listener=listener))
    late = scheduler.submit(utterance(core, voice, 5, budget=4))
    all_there.set()
    assert list(late)
    spoken = STRETCH if is_spared else min(len(same) for same in expected)  # of the one that gives up its slot
    assert spoken <= max(begun[SLOTS]) < spoken + 16  # a chunk or so
    for stream, same in zip(long, expected, strict=True):  # whoever was sent away goes on where they were
        list(stream)
        np.testing.assert_array_equal(codes(stream.utterance), same)


def order_of(core: Core, voice: Voice, asked: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In which order utterances of such callers, groups and budgets begin; the first before the others are known."""
    scheduler, begun, begin, all_there = Scheduler(core), list[int](), core.begin, threading.Event()

    def note(slot: int, said: Utterance) -> None:
        assert all_there.wait(WAIT)
        begun.append(said.request.seed)
        begin(slot, said)

    monkeypatch.setattr(core, "begin", note)
    streams = [
        scheduler.submit(utterance(core, voice, number, budget=budget), ahead=None, caller=caller, group=group)
        for number, (caller, group, budget) in enumerate(asked)
    ]
    all_there.set()
    for stream in streams:
        list(stream)
    join(scheduler)
    return begun


def test_of_one_caller_s_a_text_that_has_not_begun_comes_before_the_next_piece_of_another(
    core: Core, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    # c is over first, while a and b speak
    asked = [("me", "c", 1), ("me", "a", 100), ("me", "b", 100), ("me", "a", 1), ("me", "b", 1), ("me", "new", 1)]
    assert order_of(core, voice, asked, monkeypatch)[:4] == [0, 1, 2, 5]


def test_who_has_begun_nothing_comes_before_a_caller_who_speaks(
    core: Core, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    asked = [("many", "a", 9), ("many", "b", 9), ("many", "c", 9), ("one", "d", 9)]
    assert order_of(core, voice, asked, monkeypatch) == [0, 3, 1, 2]


def order_behind(
    core: Core, voice: Voice, asked: list[tuple[str, str, int | None]], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The groups of `asked` (caller, group, ahead) as they begin: the first have all slots when the rest come."""
    scheduler, streams, begun, begin = Scheduler(core), list[Stream](), list[str](), core.begin
    first_are_there, all_there = threading.Event(), threading.Event()
    numbers = (1, 2, 4, 5, 7)  # none of which ends by itself, nor before a slot can be asked back
    groups = dict(zip(numbers, (group for _, group, _ in asked), strict=True))

    def submit(number: int, caller: str, group: str, ahead: int | None) -> None:
        said = utterance(core, voice, number, budget=30)
        streams.append(scheduler.submit(said, ahead=ahead, caller=caller, group=group))

    def note(slot: int, said: Utterance) -> None:
        assert first_are_there.wait(WAIT)
        begun.append(groups[said.request.seed])
        if len(begun) == SLOTS:
            for number, what in zip(numbers[SLOTS:], asked[SLOTS:], strict=True):
                submit(number, *what)
            all_there.set()
        begin(slot, said)

    monkeypatch.setattr("voice.engine.scheduler.STRETCH", 12)
    monkeypatch.setattr(core, "begin", note)
    for number, what in zip(numbers[:SLOTS], asked[:SLOTS], strict=True):
        submit(number, *what)
    first_are_there.set()
    assert all_there.wait(WAIT)
    for stream in streams:
        assert list(stream)
    join(scheduler)
    return begun


def test_who_listens_does_not_wait_behind_those_before_them_who_do_not(
    core: Core, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is spared for who only wants the whole: behind them a listener was not seen."""
    batch = [("many", "batch", None)] * SLOTS
    asked = [*batch, ("other", "another batch", None), ("one", "live", 8)]
    assert order_behind(core, voice, asked, monkeypatch)[SLOTS:] == ["live", "another batch"]


def test_who_listens_does_not_wait_behind_a_listener_for_whom_nobody_can_be_sent_away(
    core: Core, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    # a speaks as much as b: only for another text of b's own can b's batch be spared
    speaking = [("a", "a1", 1_000), ("b", "batch", None), ("c", "c1", 1_000)]
    asked = [*speaking, ("a", "a2", 1_000), ("b", "live", 1_000)]
    assert order_behind(core, voice, asked, monkeypatch)[SLOTS:] == ["live", "a2"]


def test_no_memory_to_send_somebody_away_costs_nobody_anything(
    tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    small = core_of(tiny, slots=2)
    calls, park = [0], small.park

    def fail_once(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise torch.OutOfMemoryError("no memory left")
        return park(*arguments, **options)

    monkeypatch.setattr(small, "park", fail_once)
    ticks = count(0, 10)
    scheduler = Scheduler(small, clock=lambda: float(next(ticks)))
    held = [scheduler.submit(utterance(small, voice, n, budget=60), ahead=1) for n in range(2)]
    assert list(scheduler.submit(utterance(small, voice, 5)))
    for stream in held:
        assert list(stream)
    assert calls[0] > 1
    assert small.slots == 2


def test_cancelling_ends_within_a_frame_and_frees_the_slot(core: Core, scheduler: Scheduler, voice: Voice):
    stream = scheduler.submit(utterance(core, voice, 0, budget=300), ramp=(1,), ahead=2)
    chunks = iter(stream)
    next(chunks)
    chunks.close()
    drained = threading.Event()

    def wait_for_end() -> None:
        list(stream)
        drained.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    assert drained.wait(WAIT)
    assert stream.ending is Ending.CANCELLED
    assert len(stream.utterance.codes) <= 1 + 2 + 1  # heard, ahead, and the frame in which it was cancelled
    assert list(scheduler.submit(utterance(core, voice, 1)))


def test_chunks_grow_from_one_frame(core: Core, scheduler: Scheduler, voice: Voice):
    sizes = [len(chunk) // 1_920 for chunk in scheduler.submit(utterance(core, voice, 0, budget=31))]
    assert sizes == [1, 2, 4, 8, 12, 4]


def test_how_an_utterance_ended_is_told(core: Core, scheduler: Scheduler, voice: Voice):
    stream = scheduler.submit(utterance(core, voice, 0))
    list(stream)
    assert stream.ending is Ending.BUDGET


def test_a_failure_in_one_prompt_is_raised_to_its_listener_alone(
    core: Core, scheduler: Scheduler, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    begin = core.begin
    bad = utterance(core, voice, 1)

    def fail(slot: int, said: Utterance) -> None:
        if said is bad:
            raise RuntimeError("broken")
        begin(slot, said)

    monkeypatch.setattr(core, "begin", fail)
    good_stream, bad_stream = scheduler.submit(utterance(core, voice, 0)), scheduler.submit(bad)
    with pytest.raises(RuntimeError, match="broken"):
        list(bad_stream)
    assert list(good_stream)


@pytest.fixture
def long_voice(tiny: Any) -> Voice:
    """A voice whose reference takes many stretches to read."""
    config = tiny.model.config.talker_config
    codes_ = torch.randint(0, 64, (90, config.num_code_groups), generator=torch.Generator().manual_seed(1))
    return Voice("me", embedding=torch.zeros(config.hidden_size), words=tuple(range(1, 40)), codes=codes_)


class Watched:
    """A core whose prompts are read 16 positions at a time, and what it does; it can be held up."""

    def __init__(self, core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Any]] = []
        self.may_read, self.may_go_on = threading.Event(), threading.Event()  # prompts; beyond the first frame
        self.may_read.set()
        self.may_go_on.set()
        monkeypatch.setattr(core, "_prompts", Prompts(core.frames.talker))
        monkeypatch.setattr(core._prompts, "_stretch", 16)
        read_prompt, draw = core.read_prompt, core.draw

        def note_prompt(slot: int) -> bool:
            assert self.may_read.wait(WAIT)
            self.events.append(("prompt", core._moving(slot)))
            return read_prompt(slot)

        def note_frame(moving: Any) -> None:
            if any(kind == "frame" for kind, _ in self.events):
                assert self.may_go_on.wait(WAIT)
            self.events.append(("frame", [core._moving(slot) for slot in moving]))
            draw(moving)

        monkeypatch.setattr(core, "read_prompt", note_prompt)
        monkeypatch.setattr(core, "draw", note_frame)


@pytest.fixture
def watched(core: Core, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(core, monkeypatch)


def test_a_long_prompt_is_read_between_the_frames_of_those_who_speak(
    core: Core, scheduler: Scheduler, voice: Voice, long_voice: Voice, watched: Watched
):
    watched.may_go_on.clear()
    speaks = iter(scheduler.submit(utterance(core, voice, 1, budget=60), ramp=(1,), ahead=None))
    next(speaks)
    stream = scheduler.submit(reads := utterance(core, long_voice, 0))
    watched.may_go_on.set()
    list(stream)
    kinds = [kind for kind, _ in watched.events]
    stretches = [at for at, (kind, whom) in enumerate(watched.events) if kind == "prompt" and whom is reads]
    assert len(stretches) > 6
    assert all("frame" in kinds[one:other] for one, other in pairwise(stretches))
    list(speaks)


def test_a_short_prompt_does_not_wait_for_a_long_one(
    core: Core, scheduler: Scheduler, voice: Voice, long_voice: Voice, watched: Watched
):
    watched.may_read.clear()
    long, short = utterance(core, long_voice, 0), utterance(core, voice, 1)
    streams = [scheduler.submit(said, ahead=None) for said in (long, short)]
    watched.may_read.set()
    for stream in streams:
        list(stream)
    spoke = next(at for at, (kind, whom) in enumerate(watched.events) if kind == "frame" and short in whom)
    assert any(kind == "prompt" and whom is long for kind, whom in watched.events[spoke:])


def test_who_shares_the_engine_while_a_prompt_is_read_changes_no_code(
    core: Core, scheduler: Scheduler, voice: Voice, long_voice: Voice, watched: Watched
):
    expected = [alone(core, whose, number)[0] for number, whose in enumerate([voice, long_voice, voice])]
    watched.may_read.clear()
    said = [utterance(core, whose, number) for number, whose in enumerate([voice, long_voice, voice])]
    streams = [scheduler.submit(u, ahead=None) for u in said]
    watched.may_read.set()
    for stream, same in zip(streams, expected, strict=True):
        list(stream)
        np.testing.assert_array_equal(codes(stream.utterance), same)


def test_what_prompts_share_is_read_once_though_they_begin_together(
    core: Core, scheduler: Scheduler, long_voice: Voice, watched: Watched
):
    list(scheduler.submit(utterance(core, long_voice, 0)))
    one = sum(kind == "prompt" for kind, _ in watched.events)
    watched.events.clear()
    core._prompts.clear()
    watched.may_read.clear()
    streams = [scheduler.submit(utterance(core, long_voice, 0), ahead=None) for _ in range(SLOTS)]
    watched.may_read.set()
    for stream in streams:
        list(stream)
    assert sum(kind == "prompt" for kind, _ in watched.events) < SLOTS * one


def test_a_prompt_is_read_no_further_when_nobody_wants_it(
    core: Core, scheduler: Scheduler, long_voice: Voice, watched: Watched
):
    watched.may_read.clear()
    stream = scheduler.submit(utterance(core, long_voice, 0))
    stream.cancel()
    watched.may_read.set()
    assert list(stream) == []
    assert stream.ending is Ending.CANCELLED
    join(scheduler)
    assert len(watched.events) <= 1
    assert not core._prompts._readings


def test_a_failure_of_the_device_reaches_every_listener_and_the_engine_lives(
    core: Core, scheduler: Scheduler, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as broken:

        def fail(moving: Any) -> None:
            raise RuntimeError("device lost")

        broken.setattr(core, "draw", fail)
        for number in range(2):
            with pytest.raises(RuntimeError, match="device lost"):
                list(scheduler.submit(utterance(core, voice, number)))
    assert list(scheduler.submit(utterance(core, voice, 0)))


@pytest.mark.parametrize("stage", ["begin", "read_prompt", "draw", "read", "samples"])
def test_out_of_memory_costs_slots_but_no_request(
    tiny: Any, voice: Voice, stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    small = core_of(tiny, slots=4)
    expected = [alone(small, voice, number) for number in range(5)]
    calls, work = [0], getattr(small, stage)

    submitted = threading.Event()

    def fail_once(*arguments: Any, **options: Any) -> Any:
        assert submitted.wait(WAIT)
        calls[0] += 1
        if calls[0] == 3:
            raise torch.OutOfMemoryError("no memory left")
        return work(*arguments, **options)

    monkeypatch.setattr(small, stage, fail_once)
    scheduler = Scheduler(small)
    said = [utterance(small, voice, number) for number in range(5)]
    streams = [scheduler.submit(u) for u in said]
    submitted.set()
    for stream, u, (same_codes, same_audio) in zip(streams, said, expected, strict=True):
        audio = np.concatenate(list(stream))
        np.testing.assert_array_equal(codes(u), same_codes)
        np.testing.assert_allclose(audio, same_audio, atol=1e-6)  # chunks may fall differently
    assert small.slots == 2
    assert "2 slots instead of 4" in caplog.text


def test_out_of_memory_with_one_slot_is_said_and_survived(tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch):
    single = core_of(tiny)
    with monkeypatch.context() as broken:

        def fail(*arguments: Any) -> None:
            raise torch.OutOfMemoryError("no memory left")

        broken.setattr(single, "begin", fail)
        with pytest.raises(InputError, match="too little memory"):
            list(Scheduler(single).submit(utterance(single, voice, 0)))
    assert list(Scheduler(single).submit(utterance(single, voice, 0)))


@pytest.mark.parametrize("lost", [0, 1])
def test_memory_that_is_short_while_slots_are_given_up_loses_nobody_but_who_cannot_be_kept(
    tiny: Any, voice: Voice, lost: int, monkeypatch: pytest.MonkeyPatch
):
    small = core_of(tiny, slots=4)
    expected = [alone(small, voice, number) for number in range(5)]
    failing = {"draw": [4], "park": [2] if lost else [], "allocate": [1]}  # calls, of each

    def short_of_memory(name: str, work: Any) -> Any:
        calls = [0]

        def run(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] in failing[name]:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")  # as the CPU says it
            return work(*arguments, **options)

        return run

    monkeypatch.setattr(small, "draw", short_of_memory("draw", small.draw))
    monkeypatch.setattr(small, "park", short_of_memory("park", small.park))
    monkeypatch.setattr(small.frames, "allocate", short_of_memory("allocate", small.frames.allocate))
    scheduler, said = Scheduler(small), [utterance(small, voice, number) for number in range(5)]
    refused = 0
    for stream, u, (same, _) in zip([scheduler.submit(u) for u in said], said, expected, strict=True):
        try:
            list(stream)
        except InputError as error:
            refused += "too little memory" in str(error)
        else:
            np.testing.assert_array_equal(codes(u), same)
    assert refused == lost
    assert small.slots == 1


def test_slots_come_back_when_there_is_memory_again(tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch):
    small = core_of(tiny, slots=4)
    scheduler = Scheduler(small)
    with monkeypatch.context() as short:
        calls, draw = [0], small.draw

        def fail_once(moving: Any) -> None:
            calls[0] += 1
            if calls[0] == 1:
                raise torch.OutOfMemoryError("no memory left")
            draw(moving)

        short.setattr(small, "draw", fail_once)
        list(scheduler.submit(utterance(small, voice, 0)))
    assert small.slots == 2
    join(scheduler)
    list(scheduler.submit(utterance(small, voice, 0)))
    assert small.slots == 4


def test_slots_come_back_while_somebody_speaks(tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch):
    small = core_of(tiny, slots=4)
    expected = [alone(small, voice, number) for number in range(3)]
    calls, draw, now = [0], small.draw, [0.0]
    slots = list[int]()

    def fail_once(moving: Any) -> None:
        calls[0] += 1
        slots.append(small.slots)
        if calls[0] == 2:
            raise torch.OutOfMemoryError("no memory left")
        if calls[0] == 5:
            now[0] = REGROW_SECONDS
        draw(moving)

    monkeypatch.setattr(small, "draw", fail_once)
    scheduler, said = Scheduler(small, clock=lambda: now[0]), [utterance(small, voice, number) for number in range(3)]
    for stream, u, (same, _) in zip([scheduler.submit(u) for u in said], said, expected, strict=True):
        list(stream)
        np.testing.assert_array_equal(codes(u), same)
    assert slots[:6] == [4, 4, 2, 2, 2, 4]


def test_memory_that_stays_short_is_asked_for_less_and_less_often(
    tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    small = core_of(tiny, slots=4)
    scheduler, now, tries = Scheduler(small, clock=lambda: now[0]), [0.0], list[float]()
    allocate, draw, calls = small.frames.allocate, small.draw, [0]

    def short(slots: int) -> None:
        if slots > 2:
            tries.append(now[0])
            raise torch.OutOfMemoryError("no memory left")
        allocate(slots)

    def pass_time(moving: Any) -> None:
        calls[0] += 1
        now[0] += 10.0
        if calls[0] == 2:
            raise torch.OutOfMemoryError("no memory left")
        draw(moving)

    monkeypatch.setattr(small.frames, "allocate", short)
    monkeypatch.setattr(small, "draw", pass_time)
    list(scheduler.submit(utterance(small, voice, 2, budget=60)))
    waits = [later - earlier for earlier, later in pairwise([20.0, *tries])]
    assert waits[:3] == [60.0, 120.0, 240.0]


def test_a_caller_with_many_sentences_keeps_nobody_waiting(core: Core, scheduler: Scheduler, voice: Voice):
    together = object()
    many = [scheduler.submit(utterance(core, voice, n, budget=20), ahead=None, group=together) for n in range(12)]
    list(scheduler.submit(utterance(core, voice, 3, budget=4)))
    begun = sum(bool(stream.utterance.codes) for stream in many)
    assert begun < len(many)
    for stream in many:
        list(stream)


def test_a_watch_that_fails_ends_its_own_utterance_alone(core: Core, scheduler: Scheduler, voice: Voice):
    class Broken:
        def heard(self, samples: Any) -> None:
            raise ValueError("deaf")

        def __call__(self, said: Utterance) -> None:
            return None

    bad = scheduler.submit(utterance(core, voice, 0), watch=Broken())
    good = scheduler.submit(utterance(core, voice, 1))
    with pytest.raises(ValueError, match="deaf"):
        list(bad)
    assert list(good)


def test_a_device_that_cannot_even_free_a_slot_leaves_nobody_waiting(
    core: Core, scheduler: Scheduler, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: Any) -> None:
        raise RuntimeError("device lost")

    with monkeypatch.context() as broken:
        broken.setattr(core, "draw", fail)
        broken.setattr(core, "end", fail)
        streams = [scheduler.submit(utterance(core, voice, number)) for number in range(SLOTS + 2)]
        for stream in streams:
            with pytest.raises(RuntimeError, match="device lost"):
                list(stream)
    join(scheduler)
    assert list(scheduler.submit(utterance(core, voice, 0)))


def test_who_waits_gets_the_slot_of_an_utterance_that_was_over_when_it_came_back(
    core: Core, scheduler: Scheduler, voice: Voice
):
    # all slots are held by listeners who are slow until the end of their utterances
    held = [scheduler.submit(utterance(core, voice, n, budget=1), ramp=(1,), ahead=1) for n in range(SLOTS + 3)]
    for stream in held:
        assert list(stream)


def test_the_end_is_told_as_often_as_it_is_asked_for(core: Core, scheduler: Scheduler, voice: Voice):
    stream = scheduler.submit(utterance(core, voice, 0))
    assert list(stream)
    assert list(stream) == []


def test_stopping_ends_what_is_being_said_and_a_later_utterance_begins_anew(
    core: Core, scheduler: Scheduler, voice: Voice
):
    streams = [scheduler.submit(utterance(core, voice, n, budget=300), ahead=None) for n in range(SLOTS + 1)]
    scheduler.stop()
    for stream in streams:
        list(stream)
        assert stream.ending is Ending.CANCELLED
    assert list(scheduler.submit(utterance(core, voice, 0)))


def test_stopping_an_engine_that_has_nothing_to_say_changes_nothing(core: Core, scheduler: Scheduler, voice: Voice):
    scheduler.stop()
    stream = scheduler.submit(utterance(core, voice, 0))
    assert list(stream)
    assert stream.ending is not Ending.CANCELLED


def test_an_utterance_that_comes_while_the_thread_ends_is_spoken(
    core: Core, scheduler: Scheduler, voice: Voice, monkeypatch: pytest.MonkeyPatch
):
    turn, late, is_there = scheduler._turn, list[Stream](), threading.Event()

    def turn_and_submit() -> bool:
        goes_on = turn()
        if not goes_on and not late:
            late.append(scheduler.submit(utterance(core, voice, 1)))
            is_there.set()
        return goes_on

    monkeypatch.setattr(scheduler, "_turn", turn_and_submit)
    list(scheduler.submit(utterance(core, voice, 0)))
    assert is_there.wait(WAIT)
    assert list(late[0])
    same, _ = alone(core, voice, 1)
    np.testing.assert_array_equal(codes(late[0].utterance), same)


def test_a_long_reference_is_decoded_before_its_utterance_has_a_slot(core: Core, tiny: Any):
    voice = in_context(tiny)
    said = core.lay_out(Request("Hi.", "me"), voice, budget=3)
    whole = core.vocoder.alone()
    assert voice.codes is not None
    whole.decode(voice.codes[None], [0])
    for kept, expected in zip(said.heard, whole.save(0), strict=True):
        torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-4)


def test_who_speaks_as_a_known_voice_does_not_wait_for_another_s_reference(core: Core, scheduler: Scheduler, tiny: Any):
    known, heard = in_context(tiny), threading.Event()
    core.lay_out(Request("Hi.", "me"), known, budget=3)

    def speak() -> None:
        list(scheduler.submit(core.lay_out(Request("Hello.", "me"), known, budget=3)))
        heard.set()

    with core._references._decoding:  # somebody's long reference
        threading.Thread(target=speak, daemon=True).start()
        assert heard.wait(WAIT)


def test_of_a_voice_that_is_no_more_nothing_is_kept(core: Core, scheduler: Scheduler, tiny: Any):
    gone, other = in_context(tiny), in_context(tiny)
    for voice in (gone, other):
        list(scheduler.submit(core.lay_out(Request("Hi.", "me"), voice, budget=3)))
    join(scheduler)
    core.forget(gone)
    kept = [*core._references._kept._values, *(voice for voice, _ in core._prompts._prefixes._values)]
    assert gone not in kept
    assert kept.count(other) == 2


def test_a_voice_that_goes_while_it_speaks_leaves_nothing_behind(core: Core, scheduler: Scheduler, tiny: Any):
    gone = in_context(tiny)
    core.lay_out(Request("Hi.", "me"), gone, budget=3)
    core.forget(gone)
    assert list(scheduler.submit(core.lay_out(Request("Its next piece.", "me"), gone, budget=3)))
    join(scheduler)
    assert gone not in [*core._references._kept._values, *(voice for voice, _ in core._prompts._prefixes._values)]


@pytest.mark.parametrize("failures", [1, 2])
def test_for_a_reference_what_is_kept_for_speed_makes_room_before_it_is_refused(
    core: Core, scheduler: Scheduler, tiny: Any, failures: int, monkeypatch: pytest.MonkeyPatch
):
    list(scheduler.submit(core.lay_out(Request("Hi.", "me"), in_context(tiny), budget=3)))
    join(scheduler)
    calls, alone_ = [0], core.vocoder.alone

    def fail() -> Any:
        calls[0] += 1
        if calls[0] <= failures:
            raise torch.OutOfMemoryError("no memory left")
        assert not core._prompts._prefixes._values
        return alone_()

    monkeypatch.setattr(core.vocoder, "alone", fail)
    if failures > 1:
        with pytest.raises(InputError, match="too little memory"):
            core.lay_out(Request("Hi.", "me"), in_context(tiny), budget=3)
    core.lay_out(Request("Hi.", "me"), in_context(tiny), budget=3)


def test_a_process_ends_in_the_middle_of_an_utterance(tiny_folder: Any):
    code = (
        "import sys, torch; from pathlib import Path; from voice import checkpoint; from voice.tts import *;"
        "from voice.engine.voices import Voice; from voice.engine.engine import Engine;"
        "m = checkpoint.load(Path(sys.argv[1]), device='cpu', dtype=torch.float32);"
        "width = m.model.config.talker_config.hidden_size;"
        "tts = Qwen3TTS(Engine.of(m), Voice('me', embedding=torch.randn(width)));"
        "speaking = tts.stream(Request('Some words. ' * 30, 'me')); next(speaking); print('spoke')"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tiny_folder)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "spoke\n"), result.stderr


def test_the_batch_is_what_each_would_be_in_a_core_of_its_own_size(core: Core, voice: Voice):
    requests = [(Request("Hello.", "me", seed=n), voice) for n in range(SLOTS)]
    together = speak_all(core, requests, budget=9)
    for slot in range(SLOTS):
        core.end(slot)
    [one] = speak_all(core, requests[:1], budget=9)
    core.end(0)
    assert torch.equal(together[0], one)


def test_threads_end_when_there_is_nothing_left_to_say(core: Core, scheduler: Scheduler, voice: Voice):
    stream: Stream = scheduler.submit(utterance(core, voice, 0))
    thread = scheduler._thread
    list(stream)
    assert thread is not None
    thread.join(WAIT)
    assert not thread.is_alive()


def test_who_takes_chunks_waits_no_longer_than_they_like(core: Core, scheduler: Scheduler, voice: Voice):
    stream = Stream(utterance(core, voice, 0), ramp=[1], ahead=1, watch=None, wake=threading.Event())
    with pytest.raises(Empty):
        stream.take(timeout=0.01)
    stream.put(np.zeros(3, np.float32), 1)
    assert stream.take(timeout=WAIT) is not None
    stream.close(Ending.ITSELF)
    assert stream.take() is None
    assert stream.take() is None  # and so for whoever asks again
    assert stream.ending is Ending.ITSELF
