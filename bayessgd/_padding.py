"""The row of an embedding that stands for padding: no weight, although it lies in one.

torch gives the row at `padding_idx` no gradient, so that training leaves it where it was (at zero, unless somebody put
something there). A sampler would move it: by its prior, by its noise, and by nothing that the data say, while every
prediction of a padded sequence depends on it. So it is held where it was. Where the tensor is also used elsewhere, as
by an output layer that shares it, the row learns there and is a weight like the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bayessgd._evaluating import evaluating
from bayessgd._functional import written_copies
from bayessgd._inputs import Inputs, Output, call, rows
from bayessgd.params import clean_name, unwrap

__all__ = ["Held", "check_unpadded", "padding_rows"]

FEW = 2
"""How many data go through the network to see where a tensor is used."""


def padding_rows(network: nn.Module, inputs: Inputs, output: Output | None = None) -> dict[str, int]:
    """Return the index of the padding row of each trainable embedding, by the bare name of its weight.

    >>> net = nn.Sequential(nn.Embedding(5, 2, padding_idx=0), nn.Linear(2, 1))
    >>> padding_rows(net, torch.tensor([[0, 3]]))
    {'0.weight': 0}
    """
    bare = unwrap(network)
    index = {
        id(module.weight): module.padding_idx
        for module in bare.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.padding_idx is not None
    }
    found = {name: index[id(p)] for name, p in bare.named_parameters() if p.requires_grad and id(p) in index}
    if not found:
        return {}
    slopes = _slopes(bare, list(found), inputs, output)
    return {
        clean_name(name): row
        for name, row in found.items()
        if name not in slopes or not bool(slopes[name][row].any())
    }


def _slopes(network: nn.Module, names: list[str], inputs: Inputs, output: Output | None) -> dict[str, Tensor]:
    """Return the gradients of the output of a few data by these weights; none where it cannot be had."""
    own = dict(network.named_parameters())
    weights = {name: own[name].detach().clone().requires_grad_() for name in names}
    try:
        with torch.enable_grad(), evaluating(network):
            made = call(network, {**written_copies(network), **weights}, rows(inputs, slice(FEW)), output)
            # No loss but a random direction: a gradient that vanishes there vanishes.
            random = torch.Generator().manual_seed(0)
            along = torch.randn(made.shape, generator=random, dtype=torch.float64).to(made)
            found = torch.autograd.grad((made * along).sum(), list(weights.values()), materialize_grads=True)
    except Exception:  # data that belong together, or a fault that the run itself says better
        return {}
    return dict(zip(names, found, strict=True))


def check_unpadded(network: nn.Module, name: str, inputs: Inputs, output: Output | None = None) -> None:
    """Refuse padding rows where all of θ moves."""
    found = padding_rows(network, inputs, output)
    if found:
        weight, index = next(iter(found.items()))
        raise ValueError(
            f"model must have no padding row for {name}, but {weight} has padding_idx={index}, which the data give no "
            "gradient and the prior its width; use bayessgd.snapshots, which holds it, or make it a weight like the "
            "others by padding_idx = None on that layer"
        )


@dataclass(frozen=True)
class Held:
    """Rows of stacked parameters [chains, rows, d] that stay at their starts.

    Attributes:
        index: Of the row, by name.
        starts: The stacked parameters where the chains started, by name.
    """

    index: Mapping[str, int]
    starts: Mapping[str, Tensor]

    @torch.no_grad()
    def put_back(self, name: str, parameter: Tensor, velocity: Tensor) -> None:
        """Undo what a step did to a parameter's row, and stop it."""
        if name in self.index:
            row = self.index[name]
            parameter[:, row] = self.starts[name][:, row]
            velocity[:, row] = 0

    def size(self, name: str) -> int:
        """How many numbers of a chain's parameter move."""
        one = self.starts[name][0]
        return one.numel() - (one[self.index[name]].numel() if name in self.index else 0)
