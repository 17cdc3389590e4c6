"""What measures of one pair have in common, computed once and kept with the pair.

MMD², the energy distance, KID and their permutation tests are sums over the same pairs of points: `prepare` takes all
of them in one pass (`metrics.kernels.sweep`) where `evaluate` knows beforehand which are asked for. The accuracy of
1-NN, its halves and its test look at the same neighbours. What was not prepared is computed when it is asked for.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.evaluation.pair import Pair, median_of_some
from metrics.kernels.kernel import Gaussian, Kernel, octaves
from metrics.kernels.sums import KernelSums
from metrics.kernels.sweep import BlockSums, sweep
from metrics.neighbours.subsets import Table, tables_for_accuracy

__all__ = [
    "block_sums_of",
    "kernel_sums_of",
    "neighbours_of",
    "once",
    "pooled_kernels",
    "prepare",
    "reference_kernel",
]

T = TypeVar("T")


def reference_kernel(pair: Pair) -> Gaussian:
    """Return five Gaussian kernels around the reference's median distance, of 3000 of its points at most.

    The reference's alone: whatever is held against one reference is measured by one kernel.

    >>> reference_kernel(Pair(torch.zeros(1, 1), torch.tensor([[0.0], [8.0]]))).bandwidth
    (2.0, 4.0, 8.0, 16.0, 32.0)
    """
    return once(pair, "reference kernel", lambda: octaves(median_of_some(pair.y)))


def pooled_kernels(pair: Pair) -> tuple[Gaussian, ...]:
    """Return the kernels of the test of MMD²: the same five at once, and a 16th and a 64th of the median by themselves.

    Around the median distance of the *pooled* points, which no permutation of the labels changes.

    >>> pooled_kernels(Pair(torch.zeros(1, 1), torch.tensor([[64.0]])))[1:]
    (Gaussian(bandwidth=4.0), Gaussian(bandwidth=1.0))
    """

    def compute() -> tuple[Gaussian, ...]:
        median = median_of_some(torch.cat([pair.x, pair.y]))
        return octaves(median), Gaussian(median / 16), Gaussian(median / 64)

    return once(pair, "pooled kernels", compute)


def prepare(
    pair: Pair,
    kernels: Sequence[Kernel],
    permuted: Sequence[Kernel] = (),
    labels: Float[Tensor, "b N"] | None = None,
) -> None:
    """Keep with the pair what `kernel_sums_of` and `block_sums_of` will be asked for, from one pass over all pairs.

    >>> from metrics.kernels.kernel import NegativeDistance
    >>> pair = Pair(torch.zeros(2, 1), torch.ones(2, 1))
    >>> prepare(pair, [NegativeDistance()])
    >>> kernel_sums_of(pair, NegativeDistance()) is kernel_sums_of(pair, NegativeDistance())
    True
    """
    kernels, permuted = list(dict.fromkeys(kernels)), list(dict.fromkeys(permuted))
    found = sweep(pair.x, pair.y, kernels, permuted=permuted, labels=labels)
    pair.shared.update({("sums", k): s for k, s in zip(kernels, found.sums, strict=True)})
    if labels is not None:
        # The labels are kept too, so that no others come to have their identity.
        blocks = {("blocks", k): (labels, b) for k, b in zip(permuted, found.blocks, strict=True)}
        pair.shared.update(blocks)


def kernel_sums_of(pair: Pair, kernel: Kernel) -> KernelSums:
    """Return the sums of a kernel over all pairs of distinct points."""
    return once(pair, ("sums", kernel), lambda: sweep(pair.x, pair.y, [kernel]).sums[0])


def block_sums_of(pair: Pair, kernel: Kernel, labels: Float[Tensor, "b N"]) -> BlockSums:
    """Return the sums of a kernel over the blocks of every labelling of the pooled points."""
    kept = pair.shared.get(("blocks", kernel))
    if kept is None or kept[0] is not labels:
        prepare(pair, [], [kernel], labels)
        kept = pair.shared["blocks", kernel]
    return kept[1]


def neighbours_of(pair: Pair) -> list[Table]:
    """Return the nearest others of every pooled point, as `accuracy_of_subsets` wants them."""
    return once(pair, "neighbours", lambda: tables_for_accuracy(torch.cat([pair.x, pair.y])))


def once(pair: Pair, key: object, compute: Callable[[], T]) -> T:
    """Return what is kept with the pair under a key, computed where it is not."""
    if key not in pair.shared:
        pair.shared[key] = compute()
    return pair.shared[key]
