"""Small networks for small data: a multilayer pair for vectors and a convolutional pair for 28×28 images.

Everything stays `[n, d]`: a generator maps latent z `[n, latent_dim]` to samples `[n, d]`, a critic maps
samples `[n, d]` to scores `[n, 1]` (or embeddings `[n, k]` for a learned cost), and images are flattened row
by row. No batch normalisation anywhere: a gradient penalty needs a score that depends on one sample alone.

Weights are drawn from N(0, 2/((1 + a²)·fan_in)), a being the leaky slope (He et al. 2015, eq. 15), which
keeps the size of the activations through the layers; biases are zero. They depend on `seed` alone, never on
torch's global seed.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from gan.seeds import stream
from metrics.inputs import check_count

__all__ = [
    "Generator",
    "Packed",
    "conv_critic",
    "conv_generator",
    "latent_dim",
    "mlp_critic",
    "mlp_generator",
]

_SLOPE = 0.2
_SIDE = 28


class Generator(nn.Module):
    """A network that knows the dimension of the latent vectors it wants.

    >>> mlp_generator(64).latent_dim
    16
    """

    def __init__(self, net: nn.Module, *, latent_dim: int) -> None:
        super().__init__()
        self.net = net
        self.latent_dim = check_count(latent_dim, "latent_dim")

    def forward(self, z: Float[Tensor, "n latent"]) -> Float[Tensor, "n d"]:
        """Map latent vectors to samples."""
        return self.net(z)


def latent_dim(generator: nn.Module) -> int:
    """Return the length of the latent vectors that a generator wants, refusing a module that does not say.

    >>> latent_dim(mlp_generator(64))
    16
    """
    length = getattr(generator, "latent_dim", None)
    if length is None:
        raise TypeError(
            f"generator must have an int attribute latent_dim, and {type(generator).__name__} has none; "
            "wrap it in Generator"
        )
    return check_count(length, "generator.latent_dim")


class Packed(nn.Module):
    """A critic of packs: m samples of one kind are scored together (PacGAN, Lin et al. 2018).

    A collapsed generator shows in a pack at once, since its samples lie too close together. Rows i·m …
    i·m+m−1 make one pack, so a batch of n gives n/m scores.

    Args:
        critic: A critic for vectors of m·d numbers.
        pack: m.

    >>> import torch
    >>> critic = Packed(mlp_critic(2 * 64), pack=2)
    >>> critic(torch.zeros(6, 64)).shape
    torch.Size([3, 1])
    """

    def __init__(self, critic: nn.Module, *, pack: int) -> None:
        super().__init__()
        self.critic = critic
        self.pack = check_count(pack, "pack")

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "packs 1"]:
        """Score the packs."""
        if len(x) % self.pack:
            raise ValueError(
                f"x must hold a multiple of {self.pack} samples, a pack, got {len(x)}; change the batch size"
            )
        return self.critic(x.reshape(len(x) // self.pack, -1))


def mlp_generator(
    data_dim: int,
    *,
    latent_dim: int = 16,
    hidden: Sequence[int] = (128, 128),
    bounded: bool = True,
    seed: int = 0,
) -> Generator:
    """Return a multilayer generator with leaky rectifiers.

    Args:
        data_dim: d, the length of a sample.
        latent_dim: The length of z.
        hidden: The widths of the hidden layers.
        bounded: End with tanh, for pixels in [−1, 1]; False ends linearly, for points in space.
        seed: What the weights are drawn from.

    >>> import torch
    >>> mlp_generator(64)(torch.zeros(5, 16)).shape
    torch.Size([5, 64])
    """
    layers = _multilayer([latent_dim, *hidden, data_dim])
    net = nn.Sequential(*layers, nn.Tanh()) if bounded else nn.Sequential(*layers)
    return Generator(_initialise(net, "networks.generator", seed), latent_dim=latent_dim)


def mlp_critic(
    data_dim: int, *, output_dim: int = 1, hidden: Sequence[int] = (128, 128), seed: int = 0
) -> nn.Sequential:
    """Return a multilayer critic, or with `output_dim` above 1 an embedding for a learned cost.

    >>> import torch
    >>> mlp_critic(64)(torch.zeros(5, 64)).shape
    torch.Size([5, 1])
    """
    return _initialise(nn.Sequential(*_multilayer([data_dim, *hidden, output_dim])), "networks.critic", seed)


def conv_generator(
    *, latent_dim: int = 64, channels: int = 32, bounded: bool = True, seed: int = 0
) -> Generator:
    """Return a convolutional generator of 28×28 images, flattened: 7×7 → 14×14 → 28×28.

    Args:
        latent_dim: The length of z.
        channels: The channels at 14×14; twice as many at 7×7.
        bounded: End with tanh, for pixels in [−1, 1].
        seed: What the weights are drawn from.

    >>> import torch
    >>> conv_generator()(torch.zeros(2, 64)).shape
    torch.Size([2, 784])
    """
    channels = check_count(channels, "channels")
    quarter = _SIDE // 4
    layers: list[nn.Module] = [
        skip_init(nn.Linear, check_count(latent_dim, "latent_dim"), 2 * channels * quarter**2),
        nn.LeakyReLU(_SLOPE),
        nn.Unflatten(1, (2 * channels, quarter, quarter)),
        skip_init(nn.ConvTranspose2d, 2 * channels, channels, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        skip_init(nn.ConvTranspose2d, channels, 1, kernel_size=4, stride=2, padding=1),
        nn.Flatten(),
    ]
    if bounded:
        layers.append(nn.Tanh())
    return Generator(_initialise(nn.Sequential(*layers), "networks.generator", seed), latent_dim=latent_dim)


def conv_critic(*, output_dim: int = 1, channels: int = 32, seed: int = 0) -> nn.Sequential:
    """Return a convolutional critic of flattened 28×28 images: 28×28 → 14×14 → 7×7 → the output.

    >>> import torch
    >>> conv_critic()(torch.zeros(2, 784)).shape
    torch.Size([2, 1])
    """
    channels = check_count(channels, "channels")
    quarter = _SIDE // 4
    net = nn.Sequential(
        nn.Unflatten(1, (1, _SIDE, _SIDE)),
        skip_init(nn.Conv2d, 1, channels, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        skip_init(nn.Conv2d, channels, 2 * channels, kernel_size=4, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        skip_init(nn.Linear, 2 * channels * quarter**2, check_count(output_dim, "output_dim")),
    )
    return _initialise(net, "networks.critic", seed)


def _multilayer(widths: Sequence[int]) -> list[nn.Module]:
    for width in widths:
        check_count(width, "each width")
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [skip_init(nn.Linear, before, after), nn.LeakyReLU(_SLOPE)]
    return layers[:-1]


def _initialise(net: nn.Sequential, name: str, seed: int) -> nn.Sequential:
    generator = stream(name, seed)
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            std = math.sqrt(2 / ((1 + _SLOPE**2) * _fan_in(layer)))
            nn.init.normal_(layer.weight, std=std, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def _fan_in(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> float:
    """The number of inputs that one output sums over."""
    if isinstance(layer, nn.ConvTranspose2d):
        # weight is [in, out, kernel, kernel], and a stride of s spreads the kernel over s² outputs.
        return layer.weight.shape[0] * layer.weight[0, 0].numel() / math.prod(layer.stride)
    return float(layer.weight[0].numel())
