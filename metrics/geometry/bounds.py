"""How many linear regions a network can have: counting bounds.

n hyperplanes in general position cut d dimensions into Σ_{i≤d} C(n, i) regions (Schläfli; Zaslavsky 1975), as many as
a shallow ReLU network with n neurons can have. With L hidden layers of widths n_1 … n_L on n_0 inputs the largest
number lies

- above the construction of Montúfar et al. (2014, theorem 5), which folds the input space n_0-fold in every layer
  but the last: ∏_{l<L} ⌊n_l/n_0⌋^{n_0} · Σ_{j≤n_0} C(n_L, j);
- below the product over layers of arrangements, ∏_l Σ_{j≤d_l} C(n_l, j), d_l = min(n_0, …, n_{l−1}) (Raghu et al.
  2017; Montúfar 2017), which allows for the dimension that a narrow layer has left;
- below Serra, Tjandraatmadja & Ramalingam (2018, theorem 1), Σ ∏_l C(n_l, j_l) over j_l ≤ min(n_0, n_1 − j_1, …,
  n_{l−1} − j_{l−1}, n_l): of the regions counted for j at most n − j neurons are active, which is all the dimension
  that the next layer sees.

So deep networks *can* have exponentially many; random and trained ones have about as many as shallow ones with as
many neurons (Hanin & Rolnick 2019), which `linear_regions_in_plane` counts. All numbers are exact integers.
"""

from collections.abc import Sequence
from functools import cache
from math import comb, prod

from metrics.inputs import check_count

__all__ = [
    "max_regions_arrangement",
    "montufar_lower_bound",
    "raghu_upper_bound",
    "serra_upper_bound",
]


def max_regions_arrangement(n: int, d: int) -> int:
    """Return Σ_{i≤d} C(n, i): the regions of n hyperplanes in general position in d dimensions.

    >>> [max_regions_arrangement(n, 2) for n in (3, 10, 30, 100)]
    [7, 56, 466, 5051]
    """
    n = check_count(n, "n", least=0)
    d = check_count(d, "d", least=0)
    return sum(comb(n, i) for i in range(min(n, d) + 1))


def montufar_lower_bound(inputs: int, widths: Sequence[int]) -> int:
    """Return how many regions ReLU layers of these widths can be made to have, at least.

    Args:
        inputs: n_0.
        widths: n_1 … n_L, each at least n_0.

    Raises:
        ValueError: A layer narrower than the inputs, for which the construction does not work.

    >>> montufar_lower_bound(2, [8, 8, 8])  # 4² · 4² · (1 + 8 + 28)
    9472
    """
    layers = _widths(inputs, widths)
    if min(layers) < inputs:
        raise ValueError(
            f"widths must be at least the number of inputs, {inputs}, got {min(layers)}; widen it"
        )
    folds = prod((width // inputs) ** inputs for width in layers[:-1])
    return folds * max_regions_arrangement(layers[-1], inputs)


def raghu_upper_bound(inputs: int, widths: Sequence[int]) -> int:
    """Return the product over ReLU layers of the arrangements that n_l hyperplanes make of what dimension is left.

    Args:
        inputs: n_0.
        widths: n_1 … n_L.

    >>> raghu_upper_bound(2, [3, 3])
    49
    """
    layers = _widths(inputs, widths)
    bound, dimension = 1, inputs
    for width in layers:
        bound *= max_regions_arrangement(width, dimension)
        dimension = min(dimension, width)
    return bound


def serra_upper_bound(inputs: int, widths: Sequence[int]) -> int:
    """Return Serra's bound Σ ∏_l C(n_l, j_l) over j_l ≤ min(n_0, n_1 − j_1, …, n_{l−1} − j_{l−1}, n_l).

    Args:
        inputs: n_0.
        widths: n_1 … n_L.

    >>> serra_upper_bound(2, [3, 3])  # below Raghu's 49: where two of three neurons are off one dimension is left
    40
    """
    layers = tuple(_widths(inputs, widths))

    @cache
    def count(layer: int, dimension: int) -> int:
        if layer == len(layers):
            return 1
        width = layers[layer]
        return sum(
            comb(width, j) * count(layer + 1, min(dimension, width - j))
            for j in range(min(dimension, width) + 1)
        )

    return count(0, inputs)


def _widths(inputs: int, widths: Sequence[int]) -> list[int]:
    inputs = check_count(inputs, "inputs")
    if not widths:
        raise ValueError("widths must hold at least one layer, got none")
    return [check_count(width, "widths") for width in widths]
