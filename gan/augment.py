"""Differentiable augmentation of real *and* generated samples before the critic (Zhao et al. 2020, section 3).

With few real samples a critic learns them by heart. Augmenting the real ones alone teaches the generator the
augmentation; so the same random change T is applied to both sides, in the critic's step and in the generator's, and the
gradient flows through it:

    critic sees T(x) and T(G(z));   generator is trained through v(T(G(z))).

The generator's distribution is then right when T(G(z)) and T(x) agree in distribution, which for the changes below,
made with a probability below 1 or invertible in distribution, means that G(z) and x agree (Karras et al. 2020,
section 2.2).

An augmentation is an object with `augmentation(batch, generator=...)`, which returns a batch of the same shape; each
sample is changed by its own draw. Several are passed as a list and applied in turn.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gan.distributed import part_of, ranks
from gan.streams import Streams
from metrics.inputs import check_count, check_fraction, check_generator, check_positive

__all__ = ["Augmentation", "Cutout", "Noise", "Shift", "draw_rows"]


@runtime_checkable
class Augmentation(Protocol):
    """A random change of each sample of a batch, differentiable in the batch."""

    def __call__(self, batch: Float[Tensor, "n ..."], *, generator: torch.Generator | None = None) -> Tensor:
        """Return the changed batch, of the same shape."""
        ...


def draw_rows(
    kind: Callable[..., Tensor],
    shape: tuple[int, ...],
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """Return `kind(shape)`, one row a sample, on the samples' device.

    Several processes draw for the joint batch, and each takes its part.

    Args:
        kind: `torch.rand` or `torch.randn`.
        shape: (n, …), n the samples of this process.
        like: Its device and type are those of the numbers.
        generator: On any device; torch's own if None. `Streams` inside `torch.vmap` over several runs.
    """
    if isinstance(generator, Streams):
        return generator.draw_like(kind, shape, like)
    check_generator(generator)
    device = like.device if generator is None else generator.device
    joint = (shape[0] * ranks(), *shape[1:])
    return part_of(kind(joint, dtype=like.dtype, device=device, generator=generator)).to(like.device)


def _images(x: Tensor, image_shape: tuple[int, int] | None) -> Tensor:
    """The batch as [n, c, h, w]."""
    if x.ndim == 4:
        return x
    if image_shape is None or x.ndim != 2 or x.shape[1] % math.prod(image_shape):
        wanted = "[n, c, h, w]" if image_shape is None else f"[n, c·{image_shape[0]}·{image_shape[1]}]"
        raise ValueError(
            f"batch must hold images {wanted}, got {list(x.shape)}; pass image_shape=(height, width) for flattened ones"
        )
    return x.reshape(len(x), -1, *image_shape)


def _chosen(x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Which samples are changed, [n, 1, 1, 1]."""
    return draw_rows(torch.rand, (len(x), 1, 1, 1), x, generator) < probability


@dataclass(frozen=True)
class Shift:
    """Move each image by whole numbers of pixels, uniform on −pixels … pixels in both directions.

    Args:
        pixels: The largest move.
        image_shape: (height, width) of flattened images; None for [n, c, h, w].
        probability: The share of the samples that are moved.
        fill: What comes into view.

    >>> x = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    >>> Shift(1, fill=0.0)(x, generator=torch.Generator().manual_seed(0))[0, 0]
    tensor([[2., 3., 0.],
            [5., 6., 0.],
            [8., 9., 0.]])
    """

    pixels: int = 1
    image_shape: tuple[int, int] | None = None
    probability: float = 1.0
    fill: float = -1.0

    def __post_init__(self) -> None:
        check_count(self.pixels, "pixels")
        _check_probability(self.probability)

    def __call__(self, batch: Float[Tensor, "n ..."], *, generator: torch.Generator | None = None) -> Tensor:
        """Return the moved images."""
        x, p = _images(batch, self.image_shape), self.pixels
        n, channels, height, width = x.shape
        corner = (draw_rows(torch.rand, (n, 2), x, generator) * (2 * p + 1)).long().clamp(max=2 * p)
        corner = torch.where(_chosen(x, self.probability, generator)[:, :, 0, 0], corner, p)
        padded = torch.nn.functional.pad(x, (p,) * 4, value=self.fill)
        rows = corner[:, :1] + torch.arange(height, device=x.device)
        columns = corner[:, 1:] + torch.arange(width, device=x.device)
        picture = torch.arange(n, device=x.device)[:, None, None, None]
        channel = torch.arange(channels, device=x.device)[:, None, None]
        return padded[picture, channel, rows[:, None, :, None], columns[:, None, None, :]].reshape(
            batch.shape
        )


@dataclass(frozen=True)
class Cutout:
    """Blank one square of each image, its centre uniform over the pixels, the square cut off at the border.

    Args:
        side: The square's side in pixels.
        image_shape: (height, width) of flattened images; None for [n, c, h, w].
        probability: The share of the samples that are cut.
        fill: What the square becomes.

    >>> x = torch.ones(1, 1, 8, 8)
    >>> cut = Cutout(3, fill=0.0)(x, generator=torch.Generator().manual_seed(0))
    >>> int((cut == 0).sum()) in (4, 6, 9)   # in a corner, at an edge, inside
    True
    """

    side: int = 3
    image_shape: tuple[int, int] | None = None
    probability: float = 1.0
    fill: float = -1.0

    def __post_init__(self) -> None:
        check_count(self.side, "side")
        _check_probability(self.probability)

    def __call__(self, batch: Float[Tensor, "n ..."], *, generator: torch.Generator | None = None) -> Tensor:
        """Return the cut images."""
        x = _images(batch, self.image_shape)
        n, _, height, width = x.shape
        drawn = draw_rows(torch.rand, (n, 2), x, generator)
        inside = [
            self._covered(drawn[:, i : i + 1], size, torch.arange(size, device=x.device))
            for i, size in enumerate((height, width))
        ]
        square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        cut = square & _chosen(x, self.probability, generator)
        return torch.where(cut, x.new_full((), self.fill), x).reshape(batch.shape)

    def _covered(self, drawn: Tensor, size: int, pixels: Tensor) -> Tensor:
        first = (drawn * size).long().clamp(max=size - 1) - self.side // 2
        return (pixels >= first) & (pixels < first + self.side)


@dataclass(frozen=True)
class Noise:
    """Add N(0, std²) to every number of a sample.

    Args:
        std: The standard deviation, in the data's unit.
        probability: The share of the samples that get noise.

    >>> noisy = Noise(0.1)(torch.zeros(1000, 3), generator=torch.Generator().manual_seed(0))
    >>> round(float(noisy.std()), 2)
    0.1
    """

    std: float = 0.1
    probability: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self.std, "std")
        _check_probability(self.probability)

    def __call__(self, batch: Float[Tensor, "n ..."], *, generator: torch.Generator | None = None) -> Tensor:
        """Return the noisy samples."""
        noise = self.std * draw_rows(torch.randn, tuple(batch.shape), batch, generator)
        if self.probability == 1:
            return batch + noise
        shape = (len(batch),) + (1,) * (batch.ndim - 1)
        return batch + noise * (draw_rows(torch.rand, shape, batch, generator) < self.probability)


def _check_probability(probability: float) -> None:
    if probability != 1:
        check_fraction(probability, "probability")


def augmented(batch: Tensor, augmentations: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Apply augmentations in turn."""
    for each in augmentations:
        changed = each(batch, generator=generator)
        if not isinstance(changed, Tensor) or changed.dtype != batch.dtype:
            told = changed.dtype if isinstance(changed, Tensor) else type(changed).__name__
            raise TypeError(f"augment must return a tensor of {batch.dtype}, as the batch is, got {told}")
        if changed.shape != batch.shape:
            raise ValueError(
                f"augment must keep the batch's shape {list(batch.shape)}, got {list(changed.shape)}"
            )
        batch = changed
    return batch
