"""`nn.Sequential` over many draws: the layers in front that no draw touches run once, plain layers as batched products.

For `Linear` layers and elementwise functions, all M draws of one layer are one batched product,

    H ← φ(b + H Wᵀ),   H [M, batch, in], W [M, out, in], b [M, 1, out],

which `torch.baddbmm` does with the sum inside. `vmap` computes the same from more and smaller operations, at two to
three times the cost where the networks are small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd._functional import functional
from bayessgd._inputs import Inputs, Output, arguments, picked

__all__ = ["Sequence"]

# Exact types: a subclass may do anything.
ELEMENTWISE = {
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardtanh,
    nn.Identity,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
}


@dataclass(frozen=True)
class Sequence:
    """A plain `Sequential` whose first layers no draw touches.

    Attributes:
        network: The module.
        frozen: How many layers in front have nothing that is drawn.
        names: For every layer, its names of its parameters and buffers beside the network's.
        plain: Whether the others are all `Linear` or elementwise, with nothing out of the ordinary.
    """

    network: nn.Sequential
    frozen: int
    names: tuple[tuple[tuple[str, str], ...], ...]
    plain: bool

    @staticmethod
    def of(network: nn.Module, drawn: set[str]) -> "Sequence | None":
        """Return the network as a sequence, or None where it is none. `drawn` has the network's own names."""
        if type(network) is not nn.Sequential or _hooked(network):
            return None
        first = {id(t): n for n, t in [*network.named_parameters(), *network.named_buffers()]}
        layers = list(network)
        names = tuple(
            tuple(
                (inner, first[id(t)])
                for inner, t in [
                    *layer.named_parameters(remove_duplicate=False),
                    *layer.named_buffers(remove_duplicate=False),
                ]
            )
            for layer in layers
        )
        touched = [any(name in drawn for _, name in own) for own in names]
        frozen = touched.index(True) if True in touched else len(layers)
        rest = layers[frozen:]
        plain = bool(rest) and all(
            (type(layer) is nn.Linear or type(layer) in ELEMENTWISE) and not _hooked(layer) for layer in rest
        )
        return Sequence(network, frozen, names, plain)

    def start(self, state: Mapping[str, Tensor], x: Inputs) -> Any:
        """Return what the layers in front make of the input, or the input where there are none."""
        args, keywords = arguments(x)
        if not args and list(keywords) == ["input"]:  # forward's own name for it
            args, keywords = (keywords["input"],), {}
        if keywords or len(args) != 1:
            return functional(self.network, state, args, keywords)  # which says what is wrong
        return self._through(range(self.frozen), state, args[0])

    def rest(self, state: Mapping[str, Tensor], hidden: Any, output: Output | None) -> Tensor:
        """Return the output of one draw, from what `start` returned."""
        return picked(self._through(range(self.frozen, len(self.network)), state, hidden), output)

    def is_plain(self, hidden: Any) -> bool:
        """Return whether `perceptron` computes what the network does."""
        if not self.plain or not isinstance(hidden, Tensor) or hidden.ndim != 2:
            return False
        first = self.network[self.frozen]
        return (
            type(first) is nn.Linear
            and first.in_features == hidden.shape[1]
            and first.weight.dtype == hidden.dtype
            and first.weight.device == hidden.device
        )

    def perceptron(self, draws: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
        """Return the outputs of all draws, [draws, batch, out].

        Args:
            draws: From the network's names to [draws, *shape]; what it leaves out is the network's own.
            hidden: What `start` returned, [batch, in].
        """
        # By identity, for a tied parameter has one name and several places; a frozen weight may be a buffer.
        own = [*self.network.named_parameters(), *self.network.named_buffers()]
        drawn = {id(p): draws[name] for name, p in own if name in draws}
        count = len(next(iter(draws.values())))

        def stacked(p: Tensor) -> Tensor:
            return drawn[id(p)] if id(p) in drawn else p.expand(count, *p.shape)

        hidden = hidden.expand(count, *hidden.shape)
        for layer in list(self.network)[self.frozen :]:
            if not isinstance(layer, nn.Linear):
                hidden = layer(hidden)
            elif layer.bias is None:
                hidden = torch.bmm(hidden, stacked(layer.weight).mT)
            else:
                hidden = torch.baddbmm(stacked(layer.bias).unsqueeze(1), hidden, stacked(layer.weight).mT)
        return hidden

    def _through(self, which: range, state: Mapping[str, Tensor], hidden: Any) -> Any:
        for i in which:
            own = {inner: state[name] for inner, name in self.names[i] if name in state}
            hidden = functional(self.network[i], own, (hidden,), {})
        return hidden


def _hooked(module: nn.Module) -> bool:
    """Return whether a call does more than the class says: by hooks, or by a forward that was put into the object."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in module.__dict__
