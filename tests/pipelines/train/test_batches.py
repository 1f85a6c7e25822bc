"""Which clips an update sees."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.train.batches import Draw, batches_per_epoch, draw_epoch, micro_batches

lengths = st.lists(st.integers(1, 400), min_size=1, max_size=200)


def draw(clips: list[int], *, batch_size: int = 4, seed: int = 0, epoch: int = 0) -> list[list[Draw]]:
    return draw_epoch(clips, batch_size=batch_size, tag_probability=0.5, seed=seed, epoch=epoch)


@given(lengths, st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_holds_every_clip_once(clips: list[int], batch_size: int, epoch: int):
    batches = draw(clips, batch_size=batch_size, epoch=epoch)
    assert sorted(d.index for batch in batches for d in batch) == list(range(len(clips)))
    assert len(batches) == batches_per_epoch(len(clips), batch_size)
    assert max(map(len, batches)) <= batch_size


def test_epochs_differ_and_each_can_be_drawn_again():
    clips = list(range(10, 110))
    first, second = draw(clips, epoch=0), draw(clips, epoch=1)
    assert first != second
    assert first == draw(clips, epoch=0)
    assert first != draw(clips, seed=1)


def test_clips_of_a_batch_are_of_about_one_length():
    clips = [50 + i for i in range(200)]
    batches = draw(clips, batch_size=8)
    padded = sum(len(b) * max(clips[d.index] for d in b) for b in batches)
    assert padded / sum(clips) < 1.05
    # shuffled without regard to length, a fifth of the positions would be padding
    assert [clips[b[0].index] for b in batches] != sorted((clips[b[0].index] for b in batches), reverse=True)


def test_clips_are_tagged_with_the_given_probability():
    tagged = [d.tagged for b in draw_epoch([1] * 2_000, batch_size=8, tag_probability=0.25, seed=0, epoch=0) for d in b]
    assert 0.2 < sum(tagged) / len(tagged) < 0.3


@given(lengths, st.integers(1, 500), st.integers(1, 4))
def test_forward_passes_keep_to_the_limit_and_processes_share_the_clips(clips: list[int], limit: int, processes: int):
    batch = [Draw(i, tagged=True) for i in range(len(clips))]
    seen = []
    for process in range(processes):
        for chosen in micro_batches(batch, clips, max_positions=limit, process=process, processes=processes):
            seen += [d.index for d in chosen]
            assert len(chosen) == 1 or len(chosen) * max(clips[d.index] for d in chosen) <= limit
    assert sorted(seen) == list(range(len(clips)))
