import numpy as np
import pytest

from pipelines.eval.bootstrap import mean_interval, paired_difference


def sentences(values: np.ndarray) -> dict[str, float]:
    return {f"s{i:03}": float(v) for i, v in enumerate(values)}


def test_the_interval_is_that_of_the_normal_distribution_for_many_sentences():
    values = np.random.default_rng(1).normal(0.3, 0.1, 400)
    interval = mean_interval(sentences(values), resamples=10_000, seed=0)
    half = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=5e-4)
    assert interval.detectable == pytest.approx(2.8 * values.std() / 20, rel=0.03)


def test_pairing_removes_what_both_systems_find_hard():
    hard = np.random.default_rng(0).normal(0, 1, 50)
    interval = paired_difference(sentences(hard + 0.1), sentences(hard), resamples=1_000, seed=0)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1))


def test_the_order_of_sentences_and_the_run_do_not_matter():
    one = sentences(np.random.default_rng(0).normal(size=30))
    other = dict(reversed(one.items()))
    assert mean_interval(one, resamples=500, seed=3) == mean_interval(other, resamples=500, seed=3)


def test_what_never_varied_could_show_nothing_knowable():
    assert mean_interval({"a": 1.0, "b": 1.0}, resamples=100, seed=0).detectable is None


def test_different_sentences_are_refused():
    with pytest.raises(ValueError, match="not the same sentences"):
        paired_difference({"a": 1.0}, {"b": 1.0}, resamples=10, seed=0)


@pytest.mark.slow
def test_95_percent_intervals_cover_the_truth_93_to_97_times_in_100():
    generator = np.random.default_rng(0)
    for n in (24, 60):
        hits = 0
        for seed in range(1_000):
            interval = mean_interval(sentences(generator.normal(0, 1, n)), resamples=1_000, seed=seed)
            hits += interval.low <= 0.0 <= interval.high
        assert 930 <= hits <= 970
