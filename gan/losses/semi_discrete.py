"""Semi-discrete transport as a loss: the data's potentials are learned while the generator is trained.

Entropic transport between the n data points x_j and the generator's whole distribution has the semi-dual

    OT_ε = max_ψ  mean_j ψ_j + E_y φ_ψ(y),   φ_ψ(y) = −ε log 1/n Σ_j exp((ψ_j − ‖y − x_j‖²)/ε)

(Genevay, Cuturi, Peyré & Bach 2016, section 4), an expectation over generated samples y, so that ψ is learned from
batches of them. A batch of *real* points is never drawn: what holds the batchwise Sinkhorn loss back, that two batches
of one distribution differ, is gone on the real side and averaged away on the generated one. The slope for a sample is
∇_y φ_ψ(y) = 2(y − T(y)) with

    P_j(y) ∝ exp((ψ_j − ‖y − x_j‖²)/ε),   Σ_j P_j(y) = 1,   T(y) = Σ_j P_j(y) x_j.

With m_j = n · (the batch's mean of P_j), which is 1 at the optimum, each batch moves the potentials by

    ψ_j ← ψ_j − α ε log m_j + η (1 − (S m)_j).

The first part is a Sinkhorn step, damped by α (Mensch & Peyré 2020); it keeps the shape within a mode. It is too short
to move mass between modes that are many √ε apart; the second part is a step along the dual's gradient, averaged over
neighbours by S_jk ∝ exp(−‖x_j − x_k‖²/h), so long that it is, and harmless within a mode since it is smooth there. At
the start, at the largest ε, it is left out and several Sinkhorn steps are taken on each batch; where there are many
modes a single step a batch falls behind the generator later too, and `steps_per_batch` takes more of them.

ε falls from `first_eps` to `eps` over the run, and α from 1. A self-term is not subtracted, so that the best generator
is the data with a Gaussian of variance ε/2 in each coordinate taken out of it (Rigollet & Weed 2018): ε/2 is to be
small beside the variance of the data's finest detail, or details shrink to points.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gan.losses.protocols import InRun
from metrics.inputs import check_count, check_positive
from metrics.transport import sinkhorn

__all__ = ["Potentials", "SemiDiscrete"]

START, END = 0.1, 0.8
"""The fractions of the run between which ε and α fall."""

SEVERAL = 8
"""Sinkhorn steps on a batch before ε falls, when the samples still move fast: with fewer, or with η in play before the
potentials have caught up, both swing and some runs never settle."""

FINAL_DAMPING = 0.05
"""α at the end."""

LONGEST = 3.0
"""The most that a Sinkhorn step raises a potential, in units of αε: a point that no sample is near would leap."""


@dataclass(frozen=True)
class SemiDiscrete:
    """Entropic transport between all data points and the generator, by potentials of the data.

    Called on two clouds it is their OT_ε, by a whole solve. In a run it `begin`s with the data, and each generated
    batch moves the potentials and is moved by them.

    Args:
        eps: The last ε, in units of the cost ‖x−y‖²; a variance of ε/2 in each coordinate is what is lost.
        first_eps: The first ε, at which mass still finds its way between modes.
        smoothing: h, a squared length: wider than a mode, narrower than the gaps between modes; None is .3·first_eps.
        balance: η, a cost: how fast mass is moved between modes; None is .5·first_eps.
        steps_per_batch: Sinkhorn steps on each batch once ε falls (eight before), each a pass over all data points.

    >>> SemiDiscrete(eps=0.1, first_eps=1.0)(torch.zeros(4, 2), torch.ones(4, 2))
    tensor(2.)
    """

    eps: float | int
    first_eps: float | int
    smoothing: float | int | None = None
    balance: float | int | None = None
    steps_per_batch: int = 1

    learned_cost = False
    most = 5000
    """Data points that have potentials; of more a part of so many at most, evenly spaced."""

    def __post_init__(self) -> None:
        for name in ("eps", "first_eps"):
            check_positive(getattr(self, name), name)
        for name in ("smoothing", "balance"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name)
        check_count(self.steps_per_batch, "steps_per_batch")
        if self.first_eps < self.eps:
            raise ValueError(
                f"first_eps must be at least eps, from which it falls to it, got {self.first_eps} and {self.eps}; "
                "exchange them"
            )

    def __call__(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return OT_ε(real, fake) at the last ε, differentiable in both; nothing is drawn."""
        return sinkhorn(real, fake, eps=self.eps).value

    def begin(self, points: Float[Tensor, "n d"]) -> "Potentials":
        """Return the loss of one run: potentials of these data points, 0 at first."""
        smoothing = 0.3 * self.first_eps if self.smoothing is None else self.smoothing
        balance = 0.5 * self.first_eps if self.balance is None else self.balance
        return Potentials(
            points, self.eps, self.first_eps, smoothing, balance, steps_per_batch=self.steps_per_batch
        )


class SemiDual(NamedTuple):
    """The value, T(y) of every sample `[m, d]`, and the plan's marginals m `[n]`."""

    value: Tensor
    targets: Tensor
    marginal: Tensor


class Potentials(InRun):
    """A run's potentials ψ of the data points; a sample loss whose every call is a step of them.

    Args:
        points: The data, all of them or so many as shall have potentials.
        eps: The last ε.
        first_eps: The first ε.
        smoothing: h.
        balance: η.
        steps_per_batch: Sinkhorn steps on a batch once ε falls.

    Attributes:
        potentials: ψ `[n]`, in units of the cost, with mean 0: the state that a checkpoint keeps.
    """

    potentials: Tensor
    centre: Tensor
    points: Tensor
    squares: Tensor
    smooth: Tensor

    def __init__(
        self,
        points: Float[Tensor, "n d"],
        eps: float,
        first_eps: float,
        smoothing: float,
        balance: float,
        *,
        steps_per_batch: int = 1,
    ) -> None:
        super().__init__()
        self.eps, self.first_eps, self.balance = eps, first_eps, balance
        self.steps_per_batch = steps_per_batch
        self.register_buffer("potentials", points.new_zeros(len(points)))
        # Around their mean, so that squares lose no digits.
        self.register_buffer("centre", points.mean(0), persistent=False)
        self.register_buffer("points", points - points.mean(0), persistent=False)
        self.register_buffer("squares", self.points.square().sum(1), persistent=False)
        near = torch.cdist(points, points).square_().div_(-smoothing).exp_()
        self.register_buffer("smooth", near.div_(near.sum(1, keepdim=True)), persistent=False)

    def schedule(self) -> tuple[float, float, int]:
        """ε, α and the potentials' steps on a batch at this point of the run."""
        fallen = min(1.0, max(0.0, (self.progress - START) / (END - START)))
        eps = self.first_eps * (self.eps / self.first_eps) ** fallen
        return eps, FINAL_DAMPING**fallen, SEVERAL if self.progress < START else self.steps_per_batch

    def forward(
        self,
        real: Float[Tensor, "n d"],
        fake: Float[Tensor, "m d"],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Move the potentials by the batch; return the semi-dual's value, of slope (2/m)(y − T(y)) in each sample.

        `real` is not looked at: the data are in the potentials.
        """
        eps, damping, steps = self.schedule()
        y = fake - self.centre
        found = self.semi_dual(y.detach(), eps)
        for _ in range(steps - 1):
            self._move(found.marginal, eps, damping)
            found = self.semi_dual(y.detach(), eps)
        self._move(found.marginal, eps, damping)
        pulled = (y - found.targets).square().sum(1).mean()
        return found.value + pulled - pulled.detach()

    @torch.no_grad()
    def semi_dual(self, y: Float[Tensor, "m d"], eps: float) -> "SemiDual":
        """The semi-dual at the potentials as they are, for samples around the data's mean."""
        n = len(self.points)
        scores = torch.addmm(self.potentials - self.squares, y, self.points.T, alpha=2.0).div_(eps)
        top = scores.amax(1)
        plan = torch.softmax(scores, 1)
        # The largest score less the logarithm of its share is that of the sum.
        total = top - plan.amax(1).log()
        value = self.potentials.mean() + (y.square().sum(1) - eps * (total - math.log(n))).mean()
        return SemiDual(value, plan @ self.points, plan.sum(0).mul_(n / len(y)))

    def _move(self, marginal: Tensor, eps: float, damping: float) -> None:
        step = marginal.log().clamp(min=-LONGEST).mul_(-damping * eps)
        if self.progress >= START:
            step += self.balance * (1 - self.smooth @ marginal)
        self.potentials += step
        self.potentials -= self.potentials.mean()
