"""Penalties of the weights: they hold the critic's slope everywhere, by changing the critic and not its loss."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from gan.penalties.penalty import Penalty
from metrics.inputs import check_positive

__all__ = ["SpectralNorm", "WeightClipping"]


@dataclass(frozen=True)
class WeightClipping(Penalty):
    """Clamp every parameter of the critic into [−limit, limit] after each of its steps.

    >>> critic = nn.Linear(3, 1)
    >>> WeightClipping().project(critic)  # c = .01, as in Arjovsky et al. 2017, algorithm 1
    >>> round(float(critic.weight.detach().abs().max()), 6)
    0.01
    """

    limit: float | int = 0.01

    def __post_init__(self) -> None:
        check_positive(self.limit, "limit")

    @torch.no_grad()
    def project(self, critic: nn.Module) -> None:
        """Clamp the parameters, in place."""
        for parameter in critic.parameters():
            parameter.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class SpectralNorm(Penalty):
    """Divide each weight by its largest singular value, by power iteration (Miyato et al. 2018, algorithm 1).

    A convolution's kernel is taken as the matrix [out, in·height·width]. With activations of slope at most 1
    the critic's Lipschitz constant is then about 1 (less exactly so with convolutions). The vectors of the
    iteration are buffers of the critic, so its state_dict holds them; they advance at each forward pass in
    training mode.

    >>> layer = nn.Linear(2, 2)
    >>> _ = layer.weight.data.copy_(torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    >>> SpectralNorm().prepare(layer)
    >>> layer.weight.detach().diag()
    tensor([1.0000, 0.2500])
    """

    def prepare(self, critic: nn.Module) -> None:
        """Parametrise every linear and convolutional layer that is not yet so; no global seed is touched."""
        for layer in list(critic.modules()):
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) and not _is_normed(layer):
                _normalise(layer)


def _normalise(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
    """Parametrise one layer; torch draws the iteration's first vectors from its global generator."""
    device = layer.weight.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which would reach every other device's generator and not bring it back.
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        else:
            torch.default_generator.manual_seed(0)
        parametrizations.spectral_norm(layer, n_power_iterations=1)


def _is_normed(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, "weight"):
        return hasattr(layer, "weight_u")  # torch.nn.utils.spectral_norm, the older form
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    chain = layer.parametrizations["weight"]
    assert isinstance(chain, parametrize.ParametrizationList)
    return any(type(step).__name__ == "_SpectralNorm" for step in chain)
