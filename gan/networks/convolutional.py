"""Convolutional pairs for images, in the manner of DCGAN without its batch normalisation.

A picture is halved (generator: doubled) by convolutions of kernel 4 and stride 2 until its sides are odd or at most 4:
8 → 4, 28 → 14 → 7, 32 → 16 → 8 → 4; the channels double at each halving.

After two halvings a critic's features see ten pixels, and a score that is linear in them is a sum of judgements of
small parts: it tells strokes from noise, and cannot tell whether the strokes make a digit. `hidden` layers of all
pixels between the convolutions and the score can; the networks of Chen et al. (2016, InfoGAN; openai/InfoGAN,
`regularized_gan.py`) for MNIST have one of 1024 in either player.
"""

from collections.abc import Sequence

from torch import nn
from torch.nn.utils import skip_init

from gan.networks.conditional import ConditionalGenerator, Projection
from gan.networks.generator import Generator
from gan.networks.initial import SLOPE, initialise, rebuildable
from gan.networks.layers import MinibatchStd
from gan.networks.multilayer import EMBEDDING
from metrics.inputs import check_count

__all__ = ["conv_critic", "conv_generator", "halvings"]

FLAT = (1, 28, 28)
"""What `shape=None` means, flattened."""


def halvings(shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes that an image of shape (c, h, w) goes through, from its own to the smallest.

    >>> halvings((1, 28, 28)), halvings((3, 8, 8))
    ([(28, 28), (14, 14), (7, 7)], [(8, 8), (4, 4)])
    """
    if len(shape) != 3:
        raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}; give all three")
    height, width = (check_count(side, "shape") for side in shape[1:])
    sizes = [(height, width)]
    while height % 2 == 0 and width % 2 == 0 and min(height, width) > 4:
        height, width = height // 2, width // 2
        sizes.append((height, width))
    if min(sizes[-1]) > 8 or len(sizes) == 1:
        raise ValueError(
            f"shape must have sides that can be halved down to 8 or less, got {tuple(shape)}; crop or resize "
            f"the images, "
            "to 28 or 32 for instance"
        )
    return sizes


@rebuildable
def conv_generator(
    *,
    shape: Sequence[int] | None = None,
    latent_dim: int = 64,
    channels: int = 32,
    hidden: Sequence[int] = (),
    bounded: bool = True,
    num_classes: int = 0,
    seed: int = 0,
) -> Generator | ConditionalGenerator:
    """Return a convolutional generator of images.

    Args:
        shape: (c, h, w) of an image; None for 28×28 grey ones, flattened to [n, 784].
        latent_dim: The length of z.
        channels: The channels at half the size; twice as many at each smaller one.
        hidden: Widths of layers between the latent and the smallest size.
        bounded: End with tanh, for pixels in [−1, 1].
        num_classes: Above 0 for a generator G(z, y) of classes.
        seed: What the weights are drawn from.

    >>> import torch
    >>> conv_generator()(torch.zeros(2, 64)).shape, conv_generator(shape=(3, 32, 32))(torch.zeros(2, 64)).shape
    (torch.Size([2, 784]), torch.Size([2, 3, 32, 32]))
    """
    channels, latent_dim = check_count(channels, "channels"), check_count(latent_dim, "latent_dim")
    sizes = halvings(shape or FLAT)
    width = channels * 2 ** (len(sizes) - 2)
    height, across = sizes[-1]
    first = latent_dim + (EMBEDDING if num_classes else 0)
    layers = _all_pixels(first, [*_widths(hidden), width * height * across])
    layers.append(nn.Unflatten(1, (width, height, across)))
    for _ in sizes[2:]:
        layers += [_doubled(width, width // 2), nn.LeakyReLU(SLOPE)]
        width //= 2
    layers.append(_doubled(width, (shape or FLAT)[0]))
    if shape is None:
        layers.append(nn.Flatten())
    net = nn.Sequential(*layers, nn.Tanh()) if bounded else nn.Sequential(*layers)
    if num_classes:
        conditional = ConditionalGenerator(
            net, latent_dim=latent_dim, num_classes=num_classes, embedding=EMBEDDING
        )
        return initialise(conditional, "networks.generator", seed)
    return Generator(initialise(net, "networks.generator", seed), latent_dim=latent_dim)


@rebuildable
def conv_critic(
    *,
    shape: Sequence[int] | None = None,
    output_dim: int = 1,
    channels: int = 32,
    hidden: Sequence[int] = (),
    spread: bool = False,
    num_classes: int = 0,
    seed: int = 0,
) -> nn.Sequential | Projection:
    """Return a convolutional critic of images.

    Args:
        shape: (c, h, w) of an image; None for 28×28 grey ones, flattened to [n, 784].
        output_dim: 1 for a score, more for an embedding.
        channels: The channels at half the size; twice as many at each smaller one.
        hidden: Widths of layers of all pixels between the convolutions and the output.
        spread: Append the minibatch's standard deviation after the convolutions (`MinibatchStd`).
        num_classes: Above 0 for a projection critic v(x, y).
        seed: What the weights are drawn from.

    >>> import torch
    >>> conv_critic()(torch.zeros(2, 784)).shape, conv_critic(shape=(3, 32, 32))(torch.zeros(2, 3, 32, 32)).shape
    (torch.Size([2, 1]), torch.Size([2, 1]))
    """
    channels = check_count(channels, "channels")
    sizes = halvings(shape or FLAT)
    layers: list[nn.Module] = [nn.Unflatten(1, FLAT)] if shape is None else []
    before, width = (shape or FLAT)[0], channels
    for _ in sizes[1:]:
        layers += [_halved(before, width), nn.LeakyReLU(SLOPE)]
        before, width = width, 2 * width
    layers += [MinibatchStd()] if spread else []
    length = (before + spread) * sizes[-1][0] * sizes[-1][1]
    widths = _widths(hidden)
    layers += [nn.Flatten(), *_all_pixels(length, widths)]
    length = widths[-1] if widths else length
    if not num_classes:
        output = skip_init(nn.Linear, length, check_count(output_dim, "output_dim"))
        return initialise(nn.Sequential(*layers, output), "networks.critic", seed)
    critic = Projection(nn.Sequential(*layers), width=length, num_classes=num_classes, output_dim=output_dim)
    initialise(critic, "networks.critic", seed)
    nn.init.zeros_(critic.classes.weight)
    return critic


def _halved(before: int, after: int) -> nn.Module:
    return skip_init(nn.Conv2d, before, after, kernel_size=4, stride=2, padding=1)


def _doubled(before: int, after: int) -> nn.Module:
    return skip_init(nn.ConvTranspose2d, before, after, kernel_size=4, stride=2, padding=1)


def _widths(hidden: Sequence[int]) -> list[int]:
    return [check_count(width, "hidden") for width in hidden]


def _all_pixels(before: int, widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers of these widths, each with its rectifier."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [skip_init(nn.Linear, before, width), nn.LeakyReLU(SLOPE)]
        before = width
    return layers
