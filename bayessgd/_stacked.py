"""Plain multilayer perceptrons over many draws: the batched products written out.

For a `Sequential` of `Linear` layers and elementwise functions, all M draws of one layer are one batched product,

    H ← φ(b + H Wᵀ),   H [M, batch, in], W [M, out, in], b [M, 1, out],

which `torch.baddbmm` does with the sum inside. `vmap` computes the same from more and smaller operations, at two to
three times the cost where the networks are small.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["is_perceptron", "perceptron"]

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


def is_perceptron(network: nn.Module, inputs: tuple[Tensor, ...]) -> bool:
    """Return whether `perceptron` computes what the network does: nothing in it is out of the ordinary."""
    if type(network) is not nn.Sequential or len(inputs) != 1 or inputs[0].ndim != 2:
        return False
    layers = list(network)
    plain = all(type(layer) is nn.Linear or type(layer) in ELEMENTWISE for layer in layers)
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in (network, *layers))
    fits = type(layers[0]) is nn.Linear and layers[0].in_features == inputs[0].shape[1] if layers else False
    return plain and fits and not hooked


def perceptron(network: nn.Sequential, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the outputs of a plain perceptron, [draws, batch, out].

    Args:
        network: One that `is_perceptron` accepts.
        state: The draws, from name to [draws, *shape]; what it does not name is the network's own.
        x: The inputs, [batch, in].
    """
    # By identity, for a tied parameter has one name and several places.
    drawn = {id(p): state[name] for name, p in network.named_parameters() if name in state}
    count = len(next(iter(state.values())))

    def stacked(p: Tensor) -> Tensor:
        return drawn[id(p)] if id(p) in drawn else p.expand(count, *p.shape)

    hidden = x.expand(count, *x.shape)
    for layer in network:
        if not isinstance(layer, nn.Linear):
            hidden = layer(hidden)
        elif layer.bias is None:
            hidden = torch.bmm(hidden, stacked(layer.weight).mT)
        else:
            hidden = torch.baddbmm(stacked(layer.bias).unsqueeze(1), hidden, stacked(layer.weight).mT)
    return hidden
