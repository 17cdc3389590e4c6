r"""Spectral norm's vectors for weights that were drawn, not trained.

Spectral norm divides a weight W by σ(W) = uᵀWv, with the leading singular vectors u and v that training's power
iterations left in buffers. They belong to the trained W. For a draw that has none of its own they are those of its own
W, from a singular value decomposition: what the power iterations converge to.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

__all__ = ["needs_vectors", "vectors"]


@dataclass(frozen=True)
class _Place:
    weight: str
    u: str
    v: str
    dim: int


def _places(network: nn.Module) -> Iterator[_Place]:
    for path, module in network.named_modules():
        lead = f"{path}." if path else ""
        for name, chain in getattr(module, "parametrizations", {}).items():
            # Behind another parametrization its weight is none of the network's parameters.
            if isinstance(chain[0], _SpectralNorm) and hasattr(chain[0], "_u"):
                at = f"{lead}parametrizations.{name}."
                yield _Place(f"{at}original", f"{at}0._u", f"{at}0._v", chain[0].dim)
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                own = f"{lead}{hook.name}"
                yield _Place(f"{own}_orig", f"{own}_u", f"{own}_v", hook.dim)


def needs_vectors(network: nn.Module, drawn: Iterable[str]) -> list[str]:
    """Return the buffers of spectral norm whose weights are drawn and which are not."""
    names = set(drawn)
    places = [p for p in _places(network) if p.weight in names and p.u not in names]
    return [name for place in places for name in (place.u, place.v)]


def vectors(network: nn.Module, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return u and v by name, [draws, *shape], of every weight under spectral norm that is drawn without its own.

    >>> net = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2, bias=False))
    >>> w = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    >>> vectors(net, {"parametrizations.weight.original": w})["parametrizations.weight.0._u"].abs()
    tensor([[1., 0.]])
    """
    found = {}
    for place in _places(network):
        if place.weight not in draws or place.u in draws:
            continue
        weight = draws[place.weight].movedim(place.dim % (draws[place.weight].ndim - 1) + 1, 1).flatten(2)
        kind = torch.promote_types(weight.dtype, torch.float32)
        u, _, vh = torch.linalg.svd(weight.to(kind), full_matrices=False)
        found[place.u], found[place.v] = u[..., 0].to(weight), vh[..., 0, :].to(weight)
    return found
