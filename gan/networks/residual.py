"""Residual pairs for images after R3GAN (Huang et al. 2024, section 3): no normalisation, no tricks.

A block is x + conv1×1(σ(grouped conv3×3(σ(conv1×1(x))))) whose last convolution begins at zero (fix-up initialisation,
Zhang et al. 2019), so that a deep network begins as a shallow one. Sizes change between blocks by bilinear resampling.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gan.networks.conditional import ConditionalGenerator, Projection
from gan.networks.convolutional import halvings
from gan.networks.generator import Generator
from gan.networks.initial import SLOPE, initialise, rebuildable
from gan.networks.multilayer import EMBEDDING
from metrics.inputs import check_count

__all__ = ["Residual", "residual_critic", "residual_generator"]


class Residual(nn.Module):
    """x + conv1×1(σ(grouped conv3×3(σ(conv1×1(x))))), the size kept.

    Args:
        channels: Of the input and output.
        group: Channels in a group of the 3×3 convolution.

    >>> import torch
    >>> block = Residual(8)
    >>> bool((block(torch.ones(1, 8, 4, 4)) == 1).all())   # the identity at first
    True
    """

    def __init__(self, channels: int, *, group: int = 16) -> None:
        super().__init__()
        inner = 2 * check_count(channels, "channels")
        groups = max(1, inner // group) if inner % group == 0 else 1
        self.body = nn.Sequential(
            skip_init(nn.Conv2d, channels, inner, kernel_size=1),
            nn.LeakyReLU(SLOPE),
            skip_init(nn.Conv2d, inner, inner, kernel_size=3, padding=1, groups=groups),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(inner, channels, kernel_size=1, bias=False),
        )
        for layer in (self.body[0], self.body[2]):
            assert isinstance(layer, nn.Conv2d)
            layer.reset_parameters()
        self.reset_last()

    def reset_last(self) -> None:
        """Put the last convolution to zero, where the block is the identity."""
        last = self.body[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.zeros_(last.weight)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Add the block's change."""
        return x + self.body(x)


def _block(channels: int) -> Residual:
    """A block whose weights are drawn by the caller's seed afterwards; torch's own is left where it is."""
    with torch.random.fork_rng(devices=[]):
        return Residual(channels)


@rebuildable
def residual_generator(
    *,
    shape: Sequence[int],
    latent_dim: int = 64,
    channels: int = 32,
    blocks: int = 1,
    bounded: bool = False,
    num_classes: int = 0,
    seed: int = 0,
) -> Generator | ConditionalGenerator:
    """Return a residual generator of images [n, c, h, w].

    Args:
        shape: (c, h, w) of an image.
        latent_dim: The length of z.
        channels: The channels at full size; twice as many at each smaller one.
        blocks: Blocks at each size.
        bounded: End with tanh; R3GAN does not.
        num_classes: Above 0 for a generator G(z, y) of classes.
        seed: What the weights are drawn from.

    >>> import torch
    >>> residual_generator(shape=(1, 8, 8))(torch.zeros(2, 64)).shape
    torch.Size([2, 1, 8, 8])
    """
    sizes = halvings(shape)
    width = check_count(channels, "channels") * 2 ** (len(sizes) - 1)
    height, across = sizes[-1]
    first = check_count(latent_dim, "latent_dim") + (EMBEDDING if num_classes else 0)
    layers: list[nn.Module] = [
        skip_init(nn.Linear, first, width * height * across),
        nn.Unflatten(1, (width, height, across)),
        *_blocks(width, blocks),
    ]
    for _ in sizes[1:]:
        layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        layers.append(skip_init(nn.Conv2d, width, width // 2, kernel_size=1))
        width //= 2
        layers += _blocks(width, blocks)
    layers.append(skip_init(nn.Conv2d, width, shape[0], kernel_size=1))
    net = nn.Sequential(*layers, nn.Tanh()) if bounded else nn.Sequential(*layers)
    generator = (
        ConditionalGenerator(net, latent_dim=latent_dim, num_classes=num_classes, embedding=EMBEDDING)
        if num_classes
        else Generator(net, latent_dim=latent_dim)
    )
    return _fixed_up(initialise(generator, "networks.generator", seed))


@rebuildable
def residual_critic(
    *,
    shape: Sequence[int],
    output_dim: int = 1,
    channels: int = 32,
    blocks: int = 1,
    num_classes: int = 0,
    seed: int = 0,
) -> nn.Sequential | Projection:
    """Return a residual critic of images [n, c, h, w].

    Args:
        shape: (c, h, w) of an image.
        output_dim: 1 for a score, more for an embedding.
        channels: The channels at full size; twice as many at each smaller one.
        blocks: Blocks at each size.
        num_classes: Above 0 for a projection critic v(x, y).
        seed: What the weights are drawn from.

    >>> import torch
    >>> residual_critic(shape=(1, 8, 8))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 1])
    """
    sizes, width = halvings(shape), check_count(channels, "channels")
    layers: list[nn.Module] = [skip_init(nn.Conv2d, shape[0], width, kernel_size=1)]
    for _ in sizes[1:]:
        layers += _blocks(width, blocks)
        layers.append(skip_init(nn.Conv2d, width, 2 * width, kernel_size=1))
        layers.append(nn.AvgPool2d(2))
        width *= 2
    layers += [*_blocks(width, blocks), nn.LeakyReLU(SLOPE), nn.Flatten()]
    length = width * sizes[-1][0] * sizes[-1][1]
    if num_classes:
        critic = Projection(
            nn.Sequential(*layers), width=length, num_classes=num_classes, output_dim=output_dim
        )
        initialise(critic, "networks.critic", seed)
        nn.init.zeros_(critic.classes.weight)
        return _fixed_up(critic)
    net = nn.Sequential(*layers, skip_init(nn.Linear, length, check_count(output_dim, "output_dim")))
    return _fixed_up(initialise(net, "networks.critic", seed))


def _blocks(width: int, count: int) -> list[nn.Module]:
    return [_block(width) for _ in range(check_count(count, "blocks"))]


def _fixed_up(net):
    """Every block the identity again, after the weights were drawn."""
    for layer in net.modules():
        if isinstance(layer, Residual):
            layer.reset_last()
    return net
