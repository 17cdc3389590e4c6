r"""Empirical Bayes while SGD runs: the iterates set the prior's precision and the noise.

The evidence p(y | λ, σ) = ∫ p(y | θ, σ) p(θ | λ) dθ is what the data say about the prior N(0, λ⁻¹I) and the noise
N(0, σ²). EM climbs it (Dempster, Laird & Rubin 1977): with q the posterior at the present λ and σ, the M-steps are

    λ = D / E_q‖θ‖²,        σ² = (1/N) Σₙ E_q[(yₙ − f(xₙ, θ))²],

and their fixed points are the stationary points of the evidence. SGD that samples the posterior (Mandt, Hoffman &
Blei 2017, section 4, where it is variational EM) gives one draw of q per step; the expectations become running
means with falling weights ρₜ = (t + 1)^{−κ}, t = 1, 2, …, ½ < κ ≤ 1 (Delyon, Lavielle & Moulines 1999), and λ and σ
are those of the running means. The start counts as the draw before the first, t = 0: its share after t updates is
Π(1 − ρₛ), 2e-5 after 100 of them at κ = 0.7. Were the first update to forget it, as ρ₁ = 1 would, one iterate that no
sampler drew, near zero after a fresh start, would set λ alone: thousands, that hold the weights where they are.

The same without sampling, a joint minimum over θ and λ, does not exist: λ → ∞, θ → 0. And an optimizer that wanders
too far or too little (`bayessgd.effective_temperature` ≠ 1) biases λ: its ‖θ‖² is not the posterior's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd.likelihoods import Gaussian
from bayessgd.params import named_parameters
from bayessgd.priors import GaussianPrior
from metrics.inputs import check_fraction, check_positive, check_tensor

__all__ = ["EmpiricalBayes"]


class EmpiricalBayes:
    """The prior's precision λ and the noise's σ as running M-steps over an optimizer's iterates.

    Args:
        model: The network that is trained, under `likelihoods.mean_negative_log_joint` with this object's `prior`
            and `likelihood`, both read anew at every step.
        precision: λ to start from; it counts as one draw.
        scale: σ to start from, likewise; `None` where the likelihood has none to learn.
        per_tensor: One λ for each parameter tensor in place of one for all.
        decay: κ, in (½, 1): how fast the weights fall. Near ½ forgets the start and early iterates sooner, and ends
            noisier.

    Raises:
        TypeError, ValueError: Arguments that are not as above.

    Bias: of λ, that of the iterates' ‖θ‖², and O(ρₜ) noise; none at the fixed point for exact draws.

    >>> net = nn.Linear(2, 1)
    >>> em = EmpiricalBayes(net, precision=1.0, scale=0.5)
    >>> em.prior, em.likelihood
    (GaussianPrior(precision=1.0, mean=0.0), Gaussian(scale=0.5))
    >>> em.update(torch.ones(8, 1))   # after a step, with the residuals y − f of its batch
    >>> round(em.scale ** 2, 3)       # 0.25 + (1 − 0.25)·2^−0.7
    0.712
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        precision: float | int = 1.0,
        scale: float | int | None = None,
        per_tensor: bool = False,
        decay: float = 0.7,
    ) -> None:
        self._parameters = named_parameters(model)
        self._sizes = {name: p.numel() for name, p in self._parameters.items()}
        first = check_positive(precision, "precision")
        if check_fraction(decay, "decay") <= 0.5:
            raise ValueError(f"decay must be above 1/2, got {decay}; else the running means never settle")
        self.per_tensor, self.decay, self.num_updates = bool(per_tensor), decay, 0
        # The running means of ‖θ‖² by tensor, and of the squared residual.
        self._squares = {name: size / first for name, size in self._sizes.items()}
        self._residual = None if scale is None else check_positive(scale, "scale") ** 2

    @property
    def precision(self) -> float | dict[str, float]:
        """λ, or λ by parameter name with `per_tensor`."""
        if self.per_tensor:
            return {name: size / self._squares[name] for name, size in self._sizes.items()}
        return sum(self._sizes.values()) / sum(self._squares.values())

    @property
    def scale(self) -> float | None:
        """σ, a standard deviation; None where it is not learned."""
        return None if self._residual is None else self._residual**0.5

    @property
    def prior(self) -> GaussianPrior:
        """The prior at the present λ."""
        return GaussianPrior(self.precision)

    @property
    def likelihood(self) -> Gaussian:
        """The likelihood at the present σ.

        Raises:
            ValueError: There is no noise to learn.
        """
        if self.scale is None:
            raise ValueError("scale must be given to have a Gaussian likelihood, got None; pass scale=1.0")
        return Gaussian(self.scale)

    @torch.no_grad()
    def update(self, residuals: Tensor | None = None) -> None:
        """Take in the parameters as they are now, after a step.

        Args:
            residuals: y − f(x, θ) of a batch drawn at random, of any shape; needed where σ is learned. At the
                parameters *before* the step on the same batch they are as good and come with the loss.

        Raises:
            ValueError: Residuals missing or not asked for; parameters or residuals that are not finite.
        """
        if (residuals is None) != (self._residual is None):
            state = "is" if self._residual is None else "is not"
            raise ValueError(
                f"residuals must be given exactly where scale is learned; here scale {state} None"
            )
        if residuals is not None:
            check_tensor(residuals, "residuals", shape="[...]", ndim=getattr(residuals, "ndim", 0))
        squares = torch.stack([p.detach().double().square().sum() for p in self._parameters.values()])
        values = squares.tolist()
        if not all(value < float("inf") for value in values):
            raise ValueError("the model's parameters must be finite; did the training diverge?")
        weight = (self.num_updates + 2) ** -self.decay  # this update is number t = num_updates + 1
        if residuals is not None and self._residual is not None:
            self._residual += weight * (float(residuals.detach().double().square().mean()) - self._residual)
        for name, value in zip(self._squares, values, strict=True):
            self._squares[name] += weight * (value - self._squares[name])
        self.num_updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state, of plain numbers."""
        return {"num_updates": self.num_updates, "squares": dict(self._squares), "residual": self._residual}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one stopped.

        Raises:
            ValueError: The state of another network, or with noise where this one has none to learn.
        """
        lacking = [key for key in self.state_dict() if key not in state]
        if lacking:
            raise ValueError(f"state must be what state_dict() returns, got one without {lacking}")
        if set(state["squares"]) != set(self._squares):
            raise ValueError(
                f"state must be of the parameters {list(self._squares)}, got {list(state['squares'])}"
            )
        if (state["residual"] is None) != (self._residual is None):
            raise ValueError(
                "state must have a scale exactly where this one has; make it with or without scale="
            )
        self.num_updates = int(state["num_updates"])
        self._squares, self._residual = dict(state["squares"]), state["residual"]
