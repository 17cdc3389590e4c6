"""Layers and wrappers that change what a critic sees: packs, a batch's spread, small distances."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan.seeds import stream
from metrics.inputs import check_count, check_positive

__all__ = ["Affine", "FourierFeatures", "MinibatchStd", "Packed"]


class Packed(nn.Module):
    """A critic of packs: m samples of one kind are scored together (PacGAN, Lin et al. 2018).

    A collapsed generator shows in a pack at once, since its samples lie too close together. Rows i·m …
    i·m+m−1 make one pack, so a batch of n gives n/m scores.

    Args:
        critic: A critic for vectors of m·d numbers, or images of m·c channels.
        pack: m.

    >>> import torch
    >>> critic = Packed(nn.Linear(2 * 64, 1), pack=2)
    >>> critic(torch.zeros(6, 64)).shape
    torch.Size([3, 1])
    """

    def __init__(self, critic: nn.Module, *, pack: int) -> None:
        super().__init__()
        self.critic = critic
        self.pack = check_count(pack, "pack")

    def forward(self, x: Float[Tensor, "n d ..."]) -> Float[Tensor, "packs 1"]:
        """Score the packs."""
        if len(x) % self.pack:
            raise ValueError(
                f"x must hold a multiple of {self.pack} samples, a pack, got {len(x)}; change the batch size"
            )
        return self.critic(x.reshape(len(x) // self.pack, -1, *x.shape[2:]))


class MinibatchStd(nn.Module):
    """Append the spread of a group of samples as one more channel (Karras et al. 2018, section 3).

    The standard deviation of each number over a group of samples is averaged over all numbers, and appended to each
    sample of the group: one more channel for images, one more number for vectors. A generator without variety shows
    in it. The score of a sample then depends on its group, so per-sample penalties see a gradient of the group's
    scores, as in StyleGAN2.

    Args:
        group: Samples in a group; a batch is cut into groups of this size, or is one group if it is smaller.

    >>> MinibatchStd()(torch.zeros(8, 3)).shape, MinibatchStd()(torch.zeros(4, 2, 8, 8)).shape
    (torch.Size([8, 4]), torch.Size([4, 3, 8, 8]))
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = check_count(group, "group", least=2)

    def forward(self, x: Float[Tensor, "n c ..."]) -> Tensor:
        """Append the channel."""
        n = len(x)
        size = min(self.group, n)
        if n % size:
            raise ValueError(
                f"x must hold a multiple of {size} samples, a group, got {n}; change the batch size"
            )
        # Sample i is in group i mod (n / size), so that neighbours in a batch are in different groups.
        groups = x.reshape(size, n // size, -1)
        # A floor under the root, whose slope at 0 is infinite.
        spread = (groups.var(0, unbiased=False) + 1e-8).sqrt().mean(1)
        channel = spread.repeat(size).reshape(n, *(1,) * (x.ndim - 1))
        return torch.cat([x, channel.expand(n, 1, *x.shape[2:])], 1)


class FourierFeatures(nn.Module):
    """x ↦ (x, sin 2πWᵀx, cos 2πWᵀx): a critic that sees small distances (Tancik et al. 2020, section 4).

    A multilayer network on raw coordinates is too smooth to tell points that are σ apart when the data are 100 σ wide.
    The columns of W have uniform directions and lengths that are log-uniform between two frequencies. W is a buffer: it
    is saved and not trained.

    Args:
        dim: d, the length of x.
        features: The number of columns of W.
        low: The lowest frequency, in periods per unit of x.
        high: The highest frequency.
        seed: What W is drawn by.

    >>> FourierFeatures(2, features=32)(torch.zeros(5, 2)).shape
    torch.Size([5, 66])
    """

    frequencies: Tensor

    def __init__(
        self, dim: int, *, features: int = 32, low: float = 0.25, high: float = 3.0, seed: int = 0
    ) -> None:
        super().__init__()
        dim, features = check_count(dim, "dim"), check_count(features, "features")
        if check_positive(low, "low") > check_positive(high, "high"):
            raise ValueError(f"low must be at most high, got {low} and {high}; exchange them")
        random = stream("networks.fourier", seed)
        direction = nn.functional.normalize(torch.randn(dim, features, generator=random), dim=0)
        exponent = torch.rand(features, generator=random)
        self.register_buffer("frequencies", direction * low * (high / low) ** exponent)
        self.out_features = dim + 2 * features

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n features"]:
        """Return the coordinates, sines and cosines."""
        phase = 2 * math.pi * (x @ self.frequencies)
        return torch.cat([x, phase.sin(), phase.cos()], 1)


class Affine(nn.Module):
    """x ↦ shift + scale·x with fixed numbers: takes a network's output into the data's unit, or the data out of it.

    Args:
        shift: What is added, a number or one a coordinate.
        scale: The factor.

    >>> Affine(1.0, 2.0)(torch.ones(2))
    tensor([3., 3.])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: float | Sequence[float], scale: float) -> None:
        super().__init__()
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(check_positive(scale, "scale"), dtype=torch.float32))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Apply it."""
        return self.shift + self.scale * x
