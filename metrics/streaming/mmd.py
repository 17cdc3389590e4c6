"""The maximum mean discrepancy of two clouds that come in pieces.

    MMD² = Σ_{i≠j} k(x_i, x_j)/n(n−1) + Σ_{i≠j} k(y_i, y_j)/m(m−1) − 2 Σ_ij k(x_i, y_j)/nm

over *all* pairs of everything fed (Gretton et al. 2012, eq. 3), not the mean of the batches' own values, which would
depend on the batch size and throw most pairs away. So the clouds are kept, (n + m)·d numbers in their own type;
`compute` goes over the Gram matrices tile by tile (`metrics.kernels.tiles`), in O((n + m)² d) time and the memory of
a tile. A kernel's bandwidth must not follow the batches: it is fixed when the accumulator is made.
"""

from dataclasses import is_dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_pair
from metrics.kernels.kernel import Kernel, check_kernel
from metrics.kernels.mmd import mmd2_of_tiles
from metrics.precision import full_precision
from metrics.streaming.clouds import Cloud
from metrics.streaming.two_clouds import TwoClouds, TwoSampleAccumulator

__all__ = ["MMD"]


class MMD(TwoSampleAccumulator[Cloud, Float[Tensor, ""]]):
    """`mmd2` in pieces: E k(X,X') + E k(Y,Y') − 2 E k(X,Y) over all pairs of everything fed.

    >>> from metrics.kernels import NegativeDistance
    >>> mmd = MMD(kernel=NegativeDistance(), unbiased=False)
    >>> mmd.update(real=torch.tensor([[0.0], [0.0]]))
    >>> mmd.update(fake=torch.tensor([[2.0], [2.0]]))
    >>> mmd.compute()  # 2·2 − 0 − 0
    tensor(4.)
    """

    def __init__(self, *, kernel: Kernel, unbiased: bool = True) -> None:
        """Make it for one kernel.

        Args:
            kernel: A symmetric kernel such as those in `metrics.kernels`, called on float64 clouds; for instance
                `Gaussian(median_heuristic(reference))`, the same on every rank.
            unbiased: The U-statistic, which may be negative; else the V-statistic, which is not.

        Raises:
            TypeError: A kernel that cannot be called.
        """
        super().__init__(TwoClouds(Cloud))
        self._kernel, self._unbiased = check_kernel(kernel), bool(unbiased)

    def _settings(self) -> dict[str, object]:
        # A dataclass is named by its fields; a function's repr would be an address.
        named = getattr(self._kernel, "__qualname__", type(self._kernel).__qualname__)
        kernel = repr(self._kernel) if is_dataclass(self._kernel) else named
        return {"kernel": kernel, "unbiased": self._unbiased}

    @full_precision
    def _value(self, state: TwoClouds[Cloud]) -> Float[Tensor, ""]:
        x, y = state.real.samples("real"), state.fake.samples("fake")
        check_pair(x, y, ("real", "fake"), least=2)
        with torch.no_grad():
            value = mmd2_of_tiles(x, y, self._kernel, unbiased=self._unbiased)
        return self._as_fed(value)
