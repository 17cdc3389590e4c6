"""The Fréchet distance of two clouds that come in pieces.

‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), covariances with n − 1, as `metrics.frechet_distance`, from the moments
of `metrics.streaming.moments`: 2d² numbers per cloud, whatever n is.
"""

from jaxtyping import Float
from torch import Tensor

from metrics.gaussians.frechet import frechet_from_factors
from metrics.precision import full_precision
from metrics.streaming.moments import Moments
from metrics.streaming.two_clouds import TwoClouds, TwoSampleAccumulator

__all__ = ["FrechetDistance"]


class FrechetDistance(TwoSampleAccumulator[Moments, Float[Tensor, ""]]):
    """`frechet_distance` in pieces: ‖μ₁−μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), in the squared units of the points.

    It equals the function on the whole clouds up to float64's rounding at the size of the data, about 1e-16 of
    the mean's and the spread's, and has its bias, about (1/n + 1/m)·d(d + 5)/4 for two clouds of N(0, I).

    >>> import torch
    >>> distance = FrechetDistance()
    >>> distance.update(real=torch.tensor([[0.0]]))
    >>> distance.update(real=torch.tensor([[2.0]]), fake=torch.tensor([[0.0], [4.0]]))
    >>> distance.compute()  # (2 − 1)² + (√8 − √2)²
    tensor(3.)
    """

    def __init__(self) -> None:
        super().__init__(TwoClouds(Moments))

    def _settings(self) -> dict[str, object]:
        return {}

    @full_precision
    def _value(self, state: TwoClouds[Moments]) -> Float[Tensor, ""]:
        factors = []
        for side, name in ((state.real, "real"), (state.fake, "fake")):
            if side.count < 2:
                raise ValueError(f"{name} must hold at least 2 samples, got {side.count}; update({name}=...)")
            factors.append(side.factor / (side.count - 1) ** 0.5)
        return self._as_fed(frechet_from_factors(state.real.mean - state.fake.mean, *factors))
