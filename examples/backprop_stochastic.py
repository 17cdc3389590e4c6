"""The slope of a coin: straight-through against REINFORCE, with the truth beside them.

The second hidden layer draws bits h_k = 1 with probability p_k = σ(z_k). A drawn bit does not move with z, but the mean
cost E C(h) does, and 16 bits have only 2¹⁶ states, so that sum and slope are exact:

    ∂/∂z_k E C = Σ_h P(h) C(h) (h_k − p_k)

From draws of h it can be estimated by

    straight-through   p_k (1 − p_k) ∂C/∂h_k      backpropagation as if h_k were p_k
    REINFORCE          C(h) (h_k − p_k)           no backpropagation (Williams 1992)
    with a baseline    (C(h) − C̄) (h_k − p_k)     C̄ the mean cost of the *other* draws

The first is biased: what a bit does is C(h_k = 1) − C(h_k = 0), and it takes the slope at the end where h_k is instead,
which is the same only if C is linear in h_k. The others have no bias, but noise, since they do not look at slopes.
(Bengio, Léonard & Courville 2013 compare such estimators; what they call straight-through copies ∂C/∂h_k without the
factor p_k (1 − p_k), and is biased too.) The slopes in z_k averaged over images are those in the biases
of the layer. Bias β and total variance τ² of one draw are summed over all states; n draws miss the truth by
√(‖β‖² + τ²/n), root mean square. The baseline's line is that of the exact mean cost, which n draws know to O(1/n).
"""

from dataclasses import dataclass

import torch
from backprop_network import CROSS_ENTROPY, SIGMOID, SOFTMAX, STOCHASTIC, Model
from backprop_parts import BATCH_SIZE, RATES, Part, Setting, seeded, train
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import logsigmoid
from tqdm import tqdm

from metrics.plots import COLOURS

__all__ = ["Coin", "Law", "estimate", "stochastic"]

ESTIMATORS = ("straight-through", "REINFORCE", "with a baseline")
NAMES = ("straight-through", "REINFORCE", "REINFORCE with a baseline")
IMAGES = 10
DRAWS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
REPEATS = 8


@dataclass(frozen=True)
class Law:
    """An estimator's bias `[units]` and total variance, for one draw per image."""

    bias: Tensor
    variance: float

    def error(self, n: Tensor) -> Tensor:
        """Root mean square distance from the truth after n draws."""
        return (self.bias.square().sum() + self.variance / n).sqrt()


@dataclass(frozen=True)
class Coin:
    """A stochastic layer and what follows it: z `[images, units]`, weights and biases of the softmax, labels."""

    z: Tensor
    W: Tensor
    b: Tensor
    y: Tensor

    def cost(self, h: Tensor) -> Tensor:
        """Cross-entropy `[..., images]` of bits `[..., images, units]`."""
        return -(self.y * (h @ self.W.mT + self.b).log_softmax(-1)).sum(-1)

    def slope(self, h: Tensor) -> Tensor:
        """∂C/∂h `[..., images, units]`, as for any layer."""
        return ((h @ self.W.mT + self.b).softmax(-1) - self.y) @ self.W

    def states(self) -> Tensor:
        """All states of the layer, `[2^units, units]`."""
        units = self.z.shape[-1]
        return (torch.arange(2**units)[:, None] >> torch.arange(units) & 1).to(self.z.dtype)

    def exact(self) -> tuple[Tensor, dict[str, Law]]:
        """Return the slope of the mean cost in the biases `[units]`, and the law of each estimator, by summation."""
        h, truth = self.states(), torch.zeros_like(self.z[0])
        means: dict[str, Tensor] = {name: torch.zeros_like(truth) for name in ESTIMATORS}
        variances: dict[str, float] = dict.fromkeys(ESTIMATORS, 0.0)
        for i in range(len(self.z)):
            one = Coin(self.z[[i]], self.W, self.b, self.y[[i]])
            weight = (h * logsigmoid(one.z) + (1 - h) * logsigmoid(-one.z)).sum(-1).exp()[:, None]
            told = one.terms(h[:, None], (weight * one.cost(h[:, None])).sum())
            truth += weight[:, 0] @ told["REINFORCE"][:, 0] / len(self.z)
            for name, values in told.items():
                mean = weight[:, 0] @ values[:, 0]
                means[name] += mean / len(self.z)
                variances[name] += (
                    float((weight[:, 0] @ (values[:, 0] - mean).square()).sum()) / len(self.z) ** 2
                )
        return truth, {name: Law(means[name] - truth, variances[name]) for name in ESTIMATORS}

    def terms(self, h: Tensor, baseline: Tensor) -> dict[str, Tensor]:
        """Return each estimator's slope in z for drawn bits, `[..., images, units]`."""
        p, cost = self.z.sigmoid(), self.cost(h)
        return {
            "straight-through": p * (1 - p) * self.slope(h),
            "REINFORCE": cost[..., None] * (h - p),
            "with a baseline": (cost - baseline)[..., None] * (h - p),
        }


def estimate(coin: Coin, draws: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return each estimator's mean over draws and images, `[units]`, from the same draws, two at least."""
    h = STOCHASTIC.fire(coin.z.expand(draws, *coin.z.shape), generator)
    cost = coin.cost(h)
    others = (cost.sum(0) - cost) / (draws - 1)
    return {name: values.mean((0, 1)) for name, values in coin.terms(h, others).items()}


def stochastic(setting: Setting) -> Part:
    """Compare the estimators before and after training."""
    model = Model(setting.model.sizes, STOCHASTIC, SOFTMAX, CROSS_ENTROPY)
    start = model.start(generator=seeded(setting, 50))
    with tqdm(total=setting.steps, desc="stochastic", disable=not setting.bars) as bar:
        end = train(
            model,
            start,
            setting.x,
            setting.y,
            rate=RATES["stochastic"],
            steps=setting.steps,
            batch_size=BATCH_SIZE,
            generator=seeded(setting, 51),
            bar=bar,
        )
    rows, numbers = [], {}
    figure = Figure(figsize=(13, 5.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, when, theta in zip(axes, ("before training", "after training"), (start, end), strict=True):
        coin = _coin(setting, model, theta)
        truth, laws = coin.exact()
        size = truth.norm()
        _draw(axis, coin, truth, laws, seeded(setting, 52))
        axis.set_title(when)
        for name, law in laws.items():
            bias, noise = float(law.bias.norm() / size), law.variance**0.5 / float(size)
            rows.append(
                (f"{when}, {name}: bias, noise of a draw (of the slope's length)", f"{bias:.2f}, {noise:.2f}")
            )
            numbers[f"{when}, {name}"] = {"bias": bias, "noise": noise}
    # The lines are above in one panel and cross in the other: the legend stands in neither.
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return Part(
        title="The slope of a coin",
        text=f"Three estimates of the slope of the mean cost in the 16 biases of a layer of stochastic units, "
        f"{IMAGES} images, the layer before passing its means on: distance from the exact slope, summed over all 2^16 "
        f"states, in lengths of it. Lines are the "
        f"r.m.s. from exact bias and variance, dots are {REPEATS} simulations each. Above 1, zero would be closer.",
        rows=rows,
        numbers=numbers,
        figure=figure,
    )


def _coin(setting: Setting, model: Model, theta: Tensor) -> Coin:
    # The first layer passes its means on, so that the sum over the second one's states is the whole truth.
    steps = Model(model.sizes, SIGMOID, SOFTMAX, CROSS_ENTROPY).forward(theta, setting.x[:IMAGES])
    return Coin(steps[-2].z, steps[-1].W, steps[-1].b, setting.y[:IMAGES])


def _draw(axis: Axes, coin: Coin, truth: Tensor, laws: dict[str, Law], generator: torch.Generator) -> None:
    n = torch.logspace(0.3, 4, 100, dtype=torch.float64)
    for colour, name, label in zip((3, 0, 2), ESTIMATORS, NAMES, strict=True):
        axis.plot(n, laws[name].error(n) / truth.norm(), color=COLOURS[colour], label=label)
    counts = [draws for draws in DRAWS for _ in range(REPEATS)]
    found = [estimate(coin, draws, generator) for draws in counts]
    for colour, name in zip((3, 0, 2), ESTIMATORS, strict=True):
        missed = [float((each[name] - truth).norm() / truth.norm()) for each in found]
        axis.scatter(counts, missed, s=9, color=COLOURS[colour], alpha=0.4, lw=0)
    axis.scatter([], [], s=9, color="0.4", label=f"{REPEATS} simulations each")
    axis.axhline(1, color="0.6", lw=1, label="no better than zero")
    axis.set(xscale="log", yscale="log", xlabel="draws per image")
    axis.set_ylabel("distance from the exact slope, in lengths of it")
    axis.tick_params(labelleft=True)
