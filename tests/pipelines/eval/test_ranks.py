import numpy as np
import pytest
from scipy import stats

from pipelines.eval.ranks import holm, opinion


def of(values: list[float]) -> dict[str, float]:
    return {f"s{i:03}": v for i, v in enumerate(values)}


def test_the_p_value_is_wilcoxon_s():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    assert opinion(of(differences.tolist())).wilcoxon_p == pytest.approx(stats.wilcoxon(differences).pvalue)


def test_six_sentences_that_all_gained_have_the_exact_p_of_a_table():
    found = opinion(of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    assert found.wilcoxon_p == pytest.approx(2 / 2**6)
    assert (found.effect, found.larger, found.smaller) == (1.0, 6, 0)


def test_the_effect_weighs_ranks():
    assert opinion(of([1.0, 2.0, -3.0])).effect == pytest.approx(0.0)  # ranks 1 + 2 against 3
    assert opinion(of([-1.0, 2.0, 3.0])).effect == pytest.approx(4 / 6)


def test_where_nothing_differs_nothing_is_shown():
    assert opinion(of([0.0, 0.0, 1e-12])).wilcoxon_p == 1.0


def test_holm_is_that_of_its_paper():
    # worked through by hand: .005 * 4, .01 * 3, max(.03 * 2, .03), max(.04, .06)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
