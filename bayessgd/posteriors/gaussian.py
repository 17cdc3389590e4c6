r"""A Gaussian whose covariance is a diagonal plus a few directions, as SWAG fits it.

    θ ~ N(θ̄, Σ),   Σ = s · ( diag(v) + D̂ᵀD̂ / (k − 1) )

θ̄ is the mean, v ≥ 0 the variances [P], D̂ the k deviations [k, P] (the columns of the paper's D̂), s the
*scale*: a factor of the covariance, never of a standard deviation. A draw is

    θ = θ̄ + √s · √v ⊙ z₁ + √(s/(k−1)) · D̂ᵀz₂,   z₁ ~ N(0, I_P),   z₂ ~ N(0, I_k),

with one z₂ for all tensors of the network: it carries the covariance between layers. At s = ½ this is
Maddox et al. (2019), eq. 1; without deviations and at s = 1 their diagonal SWAG.

No P × P matrix is ever formed. With U = D̂/√(k−1) and V = diag(v), the k × k matrix M = I + U V⁻¹ Uᵀ gives
(Woodbury; the matrix determinant lemma)

    xᵀΣ⁻¹x = (xᵀV⁻¹x − ‖M^{−½} U V⁻¹x‖²) / s,   log|Σ| = P log s + log|V| + log|M|.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, Normal

from bayessgd.params import flatten
from bayessgd.posteriors.base import Draws, Packed, Posterior, check_draws, check_named, randn, without_graph
from metrics.inputs import check_generator, check_positive

__all__ = ["LowRankGaussian"]


class LowRankGaussian(Posterior):
    """N(θ̄, s·(diag(v) + D̂ᵀD̂/(k−1))): diagonal plus low rank.

    Args:
        mean: θ̄, from name to [*shape].
        variance: v, from name to [*shape], not negative.
        deviations: D̂, from name to [k, *shape] with k ≥ 2, in any floating type and on any device (bfloat16
            or the CPU save memory); `None` for a diagonal Gaussian.
        scale: s, the factor of the covariance. `SWAG.posterior` passes the paper's ½.

    Raises:
        TypeError: Not a dict of floating tensors.
        ValueError: Names, shapes or values that cannot be a Gaussian.

    Reference: Maddox, Izmailov, Garipov, Vetrov & Wilson 2019, "A simple baseline for Bayesian uncertainty in
    deep learning", section 3.

    >>> import torch
    >>> one = {"w": torch.zeros(2)}
    >>> law = LowRankGaussian(one, {"w": torch.ones(2)}, {"w": torch.tensor([[1.0, 1.0], [-1.0, -1.0]])})
    >>> law.to_distribution().covariance_matrix
    tensor([[3., 2.],
            [2., 3.]])
    """

    def __init__(
        self,
        mean: Mapping[str, Tensor],
        variance: Mapping[str, Tensor],
        deviations: Mapping[str, Tensor] | None = None,
        *,
        scale: float = 1.0,
    ) -> None:
        check_named(mean, "mean")
        check_named(variance, "variance", like=mean)
        if any(bool((v < 0).any()) for v in variance.values()):
            raise ValueError("variance must not be negative; it is a variance, not its logarithm")
        if deviations is not None:
            check_named(deviations, "deviations", like=mean, lead=1)
            if len(next(iter(deviations.values()))) < 2:
                raise ValueError("deviations must have at least 2 rows, for k − 1 divides; or pass None")
        self._mean, self.variance = without_graph(mean), without_graph(variance)
        self.deviations = None if deviations is None else without_graph(deviations)
        self.scale = check_positive(scale, "scale")

    @property
    def mean(self) -> dict[str, Tensor]:
        """θ̄, from name to [*shape]."""
        return self._mean

    @property
    def rank(self) -> int:
        """The number k of deviations; 0 for a diagonal Gaussian."""
        return 0 if self.deviations is None else len(next(iter(self.deviations.values())))

    @property
    def marginal_variance(self) -> dict[str, Tensor]:
        """The diagonal of Σ, from name to [*shape]."""
        found = {name: self.scale * v for name, v in self.variance.items()}
        for name, rows in (self.deviations or {}).items():
            squares = rows.to(found[name]).square().sum(0)
            found[name] = found[name] + self.scale / (self.rank - 1) * squares
        return found

    def rescaled(self, scale: float) -> "LowRankGaussian":
        """Return the same Gaussian with another s; it shares this one's tensors."""
        return LowRankGaussian(self._mean, self.variance, self.deviations, scale=scale)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n independent draws, from name to [n, *shape]."""
        return next(self.stream(check_draws(n), n, generator=generator)).parameters

    def stream(self, n: int, size: int, *, generator: torch.Generator | None = None) -> Iterator[Draws]:
        """Yield n draws, at most `size` at a time, which changes no number; each takes one network's memory."""
        check_generator(generator)
        sizes = {name: mean.numel() for name, mean in self._mean.items()}
        # A row of normals for each draw. Of a multiple of 16 a CPU makes the same numbers at once and one by one.
        row = -(-(self.rank + sum(sizes.values())) // 16) * 16
        for start in range(0, n, size):
            yield Draws(self._some(min(size, n - start), row, sizes, generator), fresh=True)

    def _some(
        self, count: int, row: int, sizes: dict[str, int], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        z = _normals(count, row, next(iter(self._mean.values())), generator)
        shared, *pieces = z[:, : self.rank + sum(sizes.values())].split([self.rank, *sizes.values()], 1)
        return {name: self._draw(name, shared, piece) for name, piece in zip(sizes, pieces, strict=True)}

    def _draw(self, name: str, shared: Tensor, z: Tensor) -> Tensor:
        """Turn normals [n, numel] into draws of one parameter [n, *shape], in their own memory where types allow it."""
        mean = self._mean[name]
        draw = z.to(mean)
        draw.mul_((self.scale * self.variance[name]).sqrt_().flatten()).add_(mean.flatten())
        if self.deviations is not None:
            rows = self.deviations[name].to(mean).reshape(self.rank, -1)
            draw.addmm_(shared.to(mean), rows, alpha=math.sqrt(self.scale / (self.rank - 1)))
        return draw.view(len(z), *mean.shape)

    @property
    def names(self) -> list[str]:
        """The parameters' names, in their order."""
        return list(self._mean)

    @property
    def usual_samples(self) -> int:
        """30, or 1 of a Gaussian without variance: it is a point."""
        moves = any(bool(v.any()) for v in self.variance.values()) or any(
            bool(d.any()) for d in (self.deviations or {}).values()
        )
        return self.USUAL if moves else 1

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return the log density in nats, [...] for a dict of [..., *shape]; float64 inside.

        Raises:
            ValueError: Names or shapes of another network, or a variance of 0, where there is no density.
        """
        self._check_density()
        mean = flatten(self._mean).double()
        centred = flatten(params, self._mean).to(mean) - mean
        precision = flatten(self.variance).to(mean).reciprocal()
        square = (centred.square() * precision).sum(-1)
        log_det = -precision.log().sum() + len(mean) * math.log(self.scale)
        if self.deviations is not None:
            rows = flatten(self.deviations, self._mean).to(mean) / math.sqrt(self.rank - 1)
            inner = (rows * precision) @ rows.T + torch.eye(self.rank, dtype=mean.dtype, device=mean.device)
            root = torch.linalg.cholesky(inner)
            along = (centred * precision) @ rows.T
            solved = torch.linalg.solve_triangular(root, along.unsqueeze(-1), upper=False).squeeze(-1)
            square = square - solved.square().sum(-1)
            log_det = log_det + 2 * root.diagonal().log().sum()
        value = -0.5 * (square / self.scale + log_det + len(mean) * math.log(2 * math.pi))
        return value.to(next(iter(self._mean.values())).dtype)

    def to_distribution(self) -> Distribution:
        """Return a `LowRankMultivariateNormal` over [P], or an independent `Normal` where k = 0.

        Raises:
            ValueError: A variance of 0.
        """
        self._check_density()
        loc, variance = flatten(self._mean), self.scale * flatten(self.variance)
        if self.deviations is None:
            return Independent(Normal(loc, variance.sqrt()), 1)
        rows = flatten(self.deviations, self._mean).to(loc)
        return LowRankMultivariateNormal(loc, math.sqrt(self.scale / (self.rank - 1)) * rows.T, variance)

    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "LowRankGaussian":
        """Return the Gaussian on another device or in another type; the deviations keep their own type."""
        mean, variance = (
            {name: t.to(device=device, dtype=dtype) for name, t in named.items()}
            for named in (self._mean, self.variance)
        )
        rows = self.deviations and {name: t.to(device=device) for name, t in self.deviations.items()}
        return LowRankGaussian(mean, variance, rows, scale=self.scale)

    def pack(self) -> Packed:
        """Return the tensors and the scale."""
        parts = {"mean": self._mean, "variance": self.variance, "deviations": self.deviations or {}}
        tensors = {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()}
        rest: dict[str, object] = {"names": list(self._mean), "scale": self.scale}
        return Packed("low-rank Gaussian", tensors, rest)

    def _check_density(self) -> None:
        dead = sum(int((v == 0).sum()) for v in self.variance.values())
        if dead:
            raise ValueError(
                f"variance must be above 0 for a density, but {dead} parameters never moved; "
                "give SWAG.posterior a min_variance"
            )


def _normals(count: int, row: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return [count, row] normals, the same as `count` times [1, row]."""
    device = like.device if generator is None else generator.device
    if device.type == "cpu":
        return randn((count, row), like, generator)
    return torch.cat([randn((1, row), like, generator) for _ in range(count)])
