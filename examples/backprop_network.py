"""Backpropagation by hand, as on the blackboard.

A layer takes the activations a of the one before it and makes

    z_j = Σ_k w_jk a_k + b_j            a'_j = σ(z_j)

The cost C of one image compares the last activations with the label y. Going backwards, the chain rule gives in turn

    ∂C/∂z_j  = σ'(z_j) ∂C/∂a'_j         how the cost feels the weighted sum
    ∂C/∂b_j  = ∂C/∂z_j                  the bias shifts it one to one
    ∂C/∂w_jk = a_k ∂C/∂z_j              a weight counts as much as the activation it hangs on
    ∂C/∂a_k  = Σ_j w_jk ∂C/∂z_j         what the layer before hears: the sum over all that it feeds

The *wish* of a number is minus the slope of the cost in it: where it would like to go. The gradient of the mean cost
over many images is the mean of their slopes. Shapes: `[..., n, width]` for activations, where the leading dimensions
are independent networks and n counts images; all parameters of a network are one vector θ `[..., P]`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

__all__ = [
    "COSTS",
    "CROSS_ENTROPY",
    "RELU",
    "SIGMOID",
    "SOFTMAX",
    "SQUARED",
    "STOCHASTIC",
    "TANH",
    "UNITS",
    "Cost",
    "Model",
    "Slopes",
    "Step",
    "Unit",
]


@dataclass(frozen=True)
class Unit:
    """A kind of neuron.

    Attributes:
        name: What a person types for it.
        fire: The activations a = σ(z); stochastic units draw from the generator.
        pull: From z, a and ∂C/∂a to ∂C/∂z.
    """

    name: str
    fire: Callable[[Tensor, Generator | None], Tensor]
    pull: Callable[[Tensor, Tensor, Tensor], Tensor]


def _draw(z: Tensor, generator: Generator | None) -> Tensor:
    noise = torch.rand(z.shape, generator=generator, dtype=z.dtype)
    return (noise < z.sigmoid()).to(z.dtype)


def _pull_softmax(z: Tensor, a: Tensor, slope: Tensor) -> Tensor:
    # ∂a_i/∂z_j = a_i (1[i = j] − a_j): softmax is the one unit whose outputs hear each other.
    return a * (slope - (a * slope).sum(-1, keepdim=True))


SIGMOID = Unit("sigmoid", lambda z, _: z.sigmoid(), lambda z, a, slope: a * (1 - a) * slope)
TANH = Unit("tanh", lambda z, _: z.tanh(), lambda z, a, slope: (1 - a * a) * slope)
RELU = Unit("relu", lambda z, _: z.clamp(min=0), lambda z, a, slope: (z > 0) * slope)
SOFTMAX = Unit("softmax", lambda z, _: z.softmax(-1), _pull_softmax)
STOCHASTIC = Unit("stochastic", _draw, lambda z, a, slope: z.sigmoid() * (-z).sigmoid() * slope)
"""Fires 1 with probability σ(z), else 0. A drawn bit has no slope; the straight-through rule takes that of its mean."""

UNITS = {unit.name: unit for unit in (SIGMOID, TANH, RELU, SOFTMAX, STOCHASTIC)}


@dataclass(frozen=True)
class Cost:
    """The cost of one image.

    Attributes:
        name: What a person types for it.
        value: C from the last unit, z, a and y; summed over the outputs.
        slope: ∂C/∂a from the last unit, a and y.
        plain: The output units with which ∂C/∂z is a − y, the σ' having cancelled.
    """

    name: str
    value: Callable[[Unit, Tensor, Tensor, Tensor], Tensor]
    slope: Callable[[Unit, Tensor, Tensor], Tensor]
    plain: tuple[Unit, ...] = ()


def _entropy(unit: Unit, z: Tensor, a: Tensor, y: Tensor) -> Tensor:
    # From z and not from a: log σ(z) is −∞ in floating point long before z is.
    if unit is SOFTMAX:
        return -(y * z.log_softmax(-1)).sum(-1)
    return (softplus(z) - y * z).sum(-1)


def _entropy_slope(unit: Unit, a: Tensor, y: Tensor) -> Tensor:
    return -y / a if unit is SOFTMAX else (a - y) / (a * (1 - a))


SQUARED = Cost("squared", lambda _u, _z, a, y: ((a - y) ** 2).sum(-1), lambda _u, a, y: 2 * (a - y))
"""C = Σ_j (a_j − y_j)²."""
CROSS_ENTROPY = Cost("cross-entropy", _entropy, _entropy_slope, plain=(SOFTMAX, SIGMOID))
"""C = −Σ_j y_j log a_j with softmax; −Σ_j [y_j log a_j + (1 − y_j) log(1 − a_j)] with sigmoids."""

COSTS = {cost.name: cost for cost in (SQUARED, CROSS_ENTROPY)}


@dataclass(frozen=True)
class Step:
    """One layer's way forward: its weights, what came in, the weighted sums and what went out."""

    W: Tensor
    b: Tensor
    a_in: Tensor
    z: Tensor
    a: Tensor


@dataclass(frozen=True)
class Slopes:
    """One layer's slopes of the cost, image by image: in its activations and its weighted sums, `[..., n, width]`."""

    step: Step
    a: Tensor
    z: Tensor

    def W(self) -> Tensor:
        """∂C/∂w_jk = a_k ∂C/∂z_j, averaged over the images, `[..., out, in]`."""
        return self.z.mT @ self.step.a_in / self.z.shape[-2]

    def b(self) -> Tensor:
        """∂C/∂b_j = ∂C/∂z_j, averaged over the images, `[..., out]`."""
        return self.z.mean(-2)

    def a_in(self) -> Tensor:
        """∂C/∂a_k = Σ_j w_jk ∂C/∂z_j, image by image, `[..., n, in]`."""
        return self.z @ self.step.W


@dataclass(frozen=True)
class Model:
    """A fully connected network with its cost; its parameters live outside, in a vector θ.

    >>> Model((784, 16, 16, 10), SIGMOID, SIGMOID, SQUARED).size
    13002
    """

    sizes: tuple[int, ...]
    hidden: Unit
    output: Unit
    cost: Cost

    def __post_init__(self) -> None:
        if self.hidden is SOFTMAX:
            raise ValueError(
                "softmax must be the output unit, got it in a hidden layer; take sigmoid, tanh or relu"
            )
        if self.output is STOCHASTIC:
            raise ValueError(
                "stochastic units must be hidden, got them as outputs; take sigmoid or softmax there"
            )
        if self.cost is CROSS_ENTROPY and self.output not in CROSS_ENTROPY.plain:
            raise ValueError(
                f"cross-entropy must see probabilities, got {self.output.name} outputs; "
                "take sigmoid or softmax outputs, or the squared cost"
            )

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum((fan_in + 1) * width for fan_in, width in pairwise(self.sizes))

    @property
    def kind(self) -> str:
        """What it is made of, in words."""
        return f"{self.hidden.name} hidden, {self.output.name} output, {self.cost.name} cost"

    def smooth(self) -> "Model":
        """The same network with every stochastic unit replaced by its mean."""
        return replace(self, hidden=SIGMOID) if self.hidden is STOCHASTIC else self

    def start(self, *runs: int, generator: Generator) -> Tensor:
        """Draw θ `[*runs, P]`: weights N(0, 1/fan-in), biases 0."""
        blocks = []
        for fan_in, width in pairwise(self.sizes):
            weight = torch.randn(*runs, width * fan_in, generator=generator, dtype=torch.float64)
            blocks += [weight / math.sqrt(fan_in), torch.zeros(*runs, width, dtype=torch.float64)]
        return torch.cat(blocks, -1)

    def layers(self, theta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the weights `[..., out, in]` and biases `[..., out]` of each layer, as views of θ."""
        place = 0
        for fan_in, width in pairwise(self.sizes):
            middle, end = place + fan_in * width, place + (fan_in + 1) * width
            yield theta[..., place:middle].unflatten(-1, (width, fan_in)), theta[..., middle:end]
            place = end

    def forward(self, theta: Tensor, x: Tensor, generator: Generator | None = None) -> list[Step]:
        """Run the images x `[..., n, pixels]` through all layers."""
        steps, a = [], x
        for l, (W, b) in enumerate(self.layers(theta), start=2):
            z = a @ W.mT + b[..., None, :]
            unit = self.output if l == len(self.sizes) else self.hidden
            steps.append(Step(W, b, a, z, unit.fire(z, generator)))
            a = steps[-1].a
        return steps

    def backward(self, steps: list[Step], y: Tensor) -> list[Slopes]:
        """Carry the slopes of every image's cost back from the last layer to the first."""
        z, a = steps[-1].z, steps[-1].a
        slope = self.cost.slope(self.output, a, y)
        plain = self.output in self.cost.plain
        slopes = [Slopes(steps[-1], slope, a - y if plain else self.output.pull(z, a, slope))]
        for step in reversed(steps[:-1]):
            slope = slopes[-1].a_in()
            slopes.append(Slopes(step, slope, self.hidden.pull(step.z, step.a, slope)))
        return slopes[::-1]

    def gradient(
        self, theta: Tensor, x: Tensor, y: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean cost `[...]` over the images and its gradient `[..., P]`, laid out as θ."""
        steps = self.forward(theta, x, generator)
        cost = self.cost.value(self.output, steps[-1].z, steps[-1].a, y).mean(-1)
        slopes = self.backward(steps, y)
        return cost, torch.cat([part for s in slopes for part in (s.W().flatten(-2), s.b())], -1)

    def loss(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cost `[...]` alone."""
        last = self.forward(theta, x)[-1]
        return self.cost.value(self.output, last.z, last.a, y).mean(-1)

    def predict(self, theta: Tensor, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Return the last activations `[..., n, outputs]`."""
        return self.forward(theta, x, generator)[-1].a
