import numpy as np
import pytest
from scipy import stats

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


def test_the_interval_is_scipy_s_percentile_bootstrap_but_for_the_expansion():
    values = np.random.default_rng(2).gamma(2.0, 0.1, 200)  # skewed, as word error rates are
    ours = mean_interval(sentences(values), resamples=20_000, seed=0)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.002)


def test_for_few_sentences_of_a_normal_measure_the_interval_is_student_s():
    values = np.random.default_rng(3).normal(0, 1, 12)
    ours = mean_interval(sentences(values), resamples=50_000, seed=0)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.slow
def test_a_difference_as_large_as_the_detectable_one_is_shown_four_times_in_five():
    generator = np.random.default_rng(4)
    detectable = 2.8 / np.sqrt(60)
    shown = sum(
        mean_interval(sentences(generator.normal(detectable, 1, 60)), resamples=1_000, seed=seed).low > 0
        for seed in range(1_000)
    )
    assert 760 <= shown <= 840


@pytest.mark.slow
def test_intervals_of_skewed_paired_differences_cover_the_truth():
    generator = np.random.default_rng(5)
    hits = 0
    for seed in range(1_000):
        hard = generator.gamma(1.0, 0.1, 120)  # how hard a sentence is, for both systems
        one, other = (np.clip(hard + generator.gamma(1.0, 0.05, 120), 0, 1) for _ in range(2))
        interval = paired_difference(sentences(one), sentences(other), resamples=1_000, seed=seed)
        hits += interval.low <= 0.0 <= interval.high
    assert 930 <= hits <= 970
