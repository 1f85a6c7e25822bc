"""The jitter buffer, sample by sample, without a device or a clock."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mcp_client.ring import Ring
from tests.mcp_client.conftest import noise

PCM = noise(0.5)


def drain(ring: Ring, size: int = 480) -> bytes:
    out = bytearray()
    while not ring.is_over:
        out += ring.read(size)
    return bytes(out)


@given(cuts=st.lists(st.integers(0, len(PCM)), max_size=8), size=st.integers(1, 2_000), reads=st.integers(0, 5))
def test_no_sample_is_lost_or_added_wherever_it_is_cut(cuts: list[int], size: int, reads: int):
    ring = Ring(prebuffer_seconds=0.01)
    out = bytearray()
    edges = [0, *sorted(cuts), len(PCM)]
    for start, end in pairwise(edges):
        ring.write(PCM[start:end])
        for _ in range(reads):
            out += ring.read(2 * size)
    ring.end()
    out += drain(ring)
    pairs = [bytes(out[i : i + 2]) for i in range(0, len(out), 2)]
    assert b"".join(pair for pair in pairs if pair != b"\0\0") == PCM


def test_nothing_sounds_before_the_prebuffer_is_full_or_all_is_there():
    ring = Ring(prebuffer_seconds=0.2)
    ring.write(PCM[: 2 * 4_799])
    assert not any(ring.read(480))
    ring.write(PCM[:2])
    assert any(ring.read(480))
    short = Ring(prebuffer_seconds=0.2)
    short.write(PCM[:100])
    short.end()
    assert any(short.read(480))


def test_an_underrun_is_counted_and_the_prebuffer_grows_up_to_a_second():
    ring = Ring(prebuffer_seconds=0.2)
    for count in range(1, 5):
        ring.write(PCM * 2)
        while ring.underruns < count:
            ring.read(4_800)
    assert ring.prebuffer_seconds == 1.0


def test_the_end_is_followed_by_silence_before_it_is_over():
    ring = Ring(prebuffer_seconds=0.0, tail_seconds=0.25)
    ring.write(PCM)
    ring.end()
    assert len(drain(ring)) == len(PCM) + 2 * 6_000


def test_the_lead_in_is_silence_before_the_first_sample():
    ring = Ring(prebuffer_seconds=0.0, lead_seconds=0.4)
    ring.write(PCM)
    ring.end()
    out = drain(ring)
    assert not any(out[:19_200])
    assert out[19_200:].startswith(PCM)


def test_stop_fades_within_ten_milliseconds_and_forgets_the_rest():
    ring = Ring(prebuffer_seconds=0.0)
    ring.write(PCM)
    before = ring.read(960)
    ring.stop()
    out = drain(ring, 960)
    assert before == PCM[:960]
    assert any(out[:480])
    assert not any(out[478:])


def test_pause_and_resume_go_on_at_the_same_sample():
    ring = Ring(prebuffer_seconds=0.0)
    ring.write(PCM)
    ring.end()
    ring.read(960)
    ring.pause()
    ring.read(960)
    assert not any(ring.read(9_600))
    ring.resume()
    out = drain(ring, 960)
    assert out[480:].startswith(PCM[960 + 480 + 480 :])  # after the fade out and the fade in
