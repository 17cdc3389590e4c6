"""Multilayer networks for vectors `[n, d]`, flattened images among them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn
from torch.nn.utils import skip_init

from gan.networks.conditional import ConditionalGenerator, Projection
from gan.networks.generator import Generator
from gan.networks.initial import SLOPE, initialise, rebuildable
from gan.networks.layers import Affine, FourierFeatures
from metrics.inputs import check_count

__all__ = ["mlp_critic", "mlp_generator"]

EMBEDDING = 16
"""Length of a class's vector beside z."""


@rebuildable
def mlp_generator(
    data_dim: int,
    *,
    latent_dim: int = 16,
    hidden: Sequence[int] = (128, 128),
    bounded: bool = True,
    slope: float = SLOPE,
    unit: tuple[Sequence[float], float] | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> Generator | ConditionalGenerator:
    """Return a multilayer generator with leaky rectifiers.

    Args:
        data_dim: d, the length of a sample.
        latent_dim: The length of z.
        hidden: The widths of the hidden layers.
        bounded: End with tanh, for pixels in [−1, 1]; False ends linearly, for points in space.
        slope: Of the rectifiers where their input is negative; 0 for plain ones.
        unit: (mean, standard deviation) of the data: the last layer's output is in that unit. None for 0 and 1.
        num_classes: Above 0 for a generator G(z, y) of classes.
        seed: What the weights are drawn from.

    >>> import torch
    >>> mlp_generator(64)(torch.zeros(5, 16)).shape
    torch.Size([5, 64])
    """
    layers = _layers([latent_dim + (EMBEDDING if num_classes else 0), *hidden, data_dim], slope)
    if bounded:
        layers.append(nn.Tanh())
    if unit is not None:
        layers.append(Affine(*unit))
    net = nn.Sequential(*layers)
    if num_classes:
        conditional = ConditionalGenerator(
            net, latent_dim=latent_dim, num_classes=num_classes, embedding=EMBEDDING
        )
        return initialise(conditional, "networks.generator", seed)
    return Generator(initialise(net, "networks.generator", seed), latent_dim=latent_dim)


@rebuildable
def mlp_critic(
    data_dim: int,
    *,
    output_dim: int = 1,
    hidden: Sequence[int] = (128, 128),
    slope: float = SLOPE,
    fourier: tuple[int, float, float] | None = None,
    unit: tuple[Sequence[float], float] | None = None,
    num_classes: int = 0,
    seed: int = 0,
) -> nn.Sequential | Projection:
    """Return a multilayer critic, or with `output_dim` above 1 an embedding for a learned cost.

    Args:
        data_dim: d, the length of a sample.
        output_dim: 1 for a score.
        hidden: The widths of the hidden layers.
        slope: Of the rectifiers where their input is negative.
        fourier: (features, lowest, highest frequency) of Fourier features before the first layer, or None.
        unit: (mean, standard deviation) of the data, which are standardised by it first; None for 0 and 1.
        num_classes: Above 0 for a projection critic v(x, y).
        seed: What the weights are drawn from.

    >>> import torch
    >>> mlp_critic(64)(torch.zeros(5, 64)).shape
    torch.Size([5, 1])
    """
    first: list[nn.Module] = []
    if unit is not None:
        mean, std = unit
        first.append(Affine([-m / std for m in mean], 1 / std))
    width = data_dim
    if fourier is not None:
        features, low, high = fourier
        first.append(FourierFeatures(data_dim, features=features, low=low, high=high, seed=seed))
        width = data_dim + 2 * features
    if not num_classes:
        net = nn.Sequential(*first, *_layers([width, *hidden, output_dim], slope))
        return initialise(net, "networks.critic", seed)
    if not hidden:
        raise ValueError("hidden must have at least one width for a critic of classes, got none; give it one")
    body = nn.Sequential(*first, *_layers([width, *hidden], slope), nn.LeakyReLU(slope))
    critic = Projection(body, width=hidden[-1], num_classes=num_classes, output_dim=output_dim)
    return _started(critic, seed)


def _started(critic: Projection, seed: int) -> Projection:
    """Drawn weights; a class adds nothing at first."""
    initialise(critic, "networks.critic", seed)
    nn.init.zeros_(critic.classes.weight)
    return critic


def _layers(widths: Sequence[int], slope: float) -> list[nn.Module]:
    for width in widths:
        check_count(width, "each width")
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [skip_init(nn.Linear, before, after), nn.LeakyReLU(slope) if slope else nn.ReLU()]
    return layers[:-1]
