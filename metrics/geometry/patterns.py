"""How many activation patterns a sample of inputs meets: a lower bound of the number of linear regions.

In the plane the exact count is `linear_regions_in_plane`; in the whole input space no count is feasible. Distinct
patterns among n inputs are distinct regions, so the number seen is a lower bound that grows with n. What is missing
follows from the patterns seen once and twice (Chao 1984): seen + f₁(f₁ − 1)/(2(f₂ + 1)) is a lower bound *in
expectation* of the number of regions to which the inputs' law gives weight; and the share of the law in regions
already seen is about 1 − f₁/n (Good 1953).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metrics.geometry._layers import chunks, layers_of
from metrics.inputs import check_tensor

__all__ = ["PatternCount", "sampled_patterns"]


@dataclass(frozen=True)
class PatternCount:
    """Distinct activation patterns among some inputs.

    Attributes:
        seen: How many patterns: a lower bound of the number of regions.
        once: f₁, how many of them a single input had.
        twice: f₂, how many of them two inputs had.
        samples: n.
    """

    seen: int
    once: int
    twice: int
    samples: int

    @property
    def chao(self) -> float:
        """Chao's bias-corrected estimate, whose mean is below the number of regions that can be met."""
        return self.seen + self.once * (self.once - 1) / (2 * (self.twice + 1))

    @property
    def coverage(self) -> float:
        """Good's estimate of the share of the inputs' law that lies in regions already seen, 1 − f₁/n."""
        return 1 - self.once / self.samples


def sampled_patterns(net: nn.Module, inputs: Float[Tensor, "n ..."]) -> PatternCount:
    """Count the distinct activation patterns among inputs.

    Args:
        net: An `nn.Sequential` as for `linear_regions_in_plane`; it is evaluated in float64.
        inputs: [n, *input].

    Raises:
        TypeError, ValueError: A module without countable regions; inputs that do not fit.

    >>> relu = nn.Sequential(nn.Identity(), nn.ReLU())
    >>> sampled_patterns(relu, torch.tensor([[1.0, 1], [1, 2], [-1, 1], [2, -1]]))
    PatternCount(seen=3, once=2, twice=1, samples=4)
    """
    ndim = max(2, inputs.ndim) if isinstance(inputs, Tensor) else 2
    x = check_tensor(inputs, "inputs", shape="[n, *input]", ndim=ndim).detach().to("cpu", torch.float64)
    network = layers_of(net)
    with torch.no_grad():
        try:
            parts = [network.pieces(x[part]) for part in chunks(len(x), max(4096, x[0].numel()))]
        except RuntimeError as error:
            raise ValueError(f"inputs must fit net, got {list(x.shape)}: {error}") from None
    _, counts = torch.cat(parts).unique(dim=0, return_counts=True)
    return PatternCount(len(counts), int((counts == 1).sum()), int((counts == 2).sum()), len(x))
