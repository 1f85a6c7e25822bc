"""Second opinions on a paired difference, for who doubts the bootstrap: ranks, the size of the effect, many systems.

They decide nothing: the verdict rests on one interval (`bootstrap`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_ROUNDING = 1e-9  # equal scores differ by this much after averaging takes


@dataclass(frozen=True, slots=True)
class Opinion:
    """What ranks say of the differences between two systems, sentence by sentence."""

    wilcoxon_p: float  # two-sided, exact up to 50 sentences without ties; 1 where nothing differs
    effect: float  # matched-pairs rank-biserial correlation, -1 to 1: 1 where every sentence got larger
    larger: int  # sentences with a larger value
    smaller: int


def opinion(differences: Mapping[str, float]) -> Opinion:
    """Wilcoxon's signed-rank test of the differences (sentence -> difference), those of 0 left out."""
    values = np.array([value for value in differences.values() if abs(value) > _ROUNDING])
    if not len(values):
        return Opinion(1.0, 0.0, 0, 0)
    ranks = stats.rankdata(np.abs(values))
    up, down = float(ranks[values > 0].sum()), float(ranks[values < 0].sum())
    p = float(stats.wilcoxon(values).pvalue)
    return Opinion(p, (up - down) / (up + down), int((values > 0).sum()), int((values < 0).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for asking several questions at once (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = np.zeros(len(order)), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()
