"""Several networks of one architecture as one: their weights stacked `[runs, ...]`, their passes under `torch.vmap`.

A run's loss depends on its own slice of the weights alone, so the gradient of the sum of all losses holds each run's
own gradient in its slice, and an optimizer that works elementwise moves every run as it would by itself.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

__all__ = ["Lent", "Stacked"]


class Lent:
    """One run's critic inside `torch.vmap`: a network with the weights of this run.

    Args:
        network: The architecture.
        state: The run's parameters and buffers by name.
    """

    def __init__(self, network: nn.Module, state: dict[str, Tensor]) -> None:
        self.network, self.state = network, state

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return functional_call(self.network, self.state, (x,))

    def slopes(self, x: Tensor) -> Tensor:
        """The gradient of each score by its own sample, one row a score; differentiable in the weights."""

        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            scores = self(x)
            return scores.sum(), scores

        slope, scores = grad(total, has_aux=True)(x.detach())
        return slope.reshape(len(scores), -1)


class Stacked(nn.Module):
    """Networks of one architecture with stacked parameters; called with stacked inputs.

    Args:
        networks: At least one; they are not changed.

    >>> nets = [nn.Linear(2, 1) for _ in range(3)]
    >>> stacked = Stacked(nets)
    >>> x = torch.ones(3, 5, 2)
    >>> torch.allclose(stacked(x), torch.stack([net(each) for net, each in zip(nets, x)]))
    True
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(networks))
        self.names = list(parameters)
        self.values = nn.ParameterList(
            nn.Parameter(each.detach(), requires_grad=each.requires_grad) for each in parameters.values()
        )
        self.fixed = buffers
        # In a tuple, so that its weights are not counted among these parameters.
        self.network = (copy.deepcopy(networks[0]),)

    def state(self) -> dict[str, Tensor]:
        """The stacked parameters and buffers by name."""
        return dict(zip(self.names, self.values, strict=True)) | self.fixed

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the outputs `[runs, ...]` of inputs `[runs, ...]`."""
        return vmap(lambda state, *each: functional_call(self.network[0], state, each))(self.state(), *inputs)

    def lend(self, state: dict[str, Tensor]) -> Lent:
        """One run's network, inside `torch.vmap` over `state()`."""
        return Lent(self.network[0], state)

    @torch.no_grad()
    def write(self, run: int, network: nn.Module) -> None:
        """Copy one run's parameters into a network."""
        parameters = dict(network.named_parameters())
        for name, value in zip(self.names, self.values, strict=True):
            parameters[name].copy_(value[run])
