r"""Priors put together by parameters' names, and priors of positive numbers on a logarithmic scale.

    NamedPriors({name or pattern: prior})   log p(θ) = Σ_k log p_k(θ_k), each parameter under the first that fits it
    LogScalePrior(law)                      the parameter is s = log σ and σ ~ law:  log p(s) = log p_σ(eˢ) + s
    HalfStudentT(df, scale)                 |scale · t_df|: half-Cauchy at df = 1, half-normal as df → ∞

The term +s is the Jacobian dσ/ds. Without it a law that was meant for σ is one of another parameter: a flat prior of
log σ is p(σ) ∝ 1/σ. On 46 data that moves the mean of log σ by 0.11 of its standard deviation.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, StudentT, constraints

from bayessgd._densities import log_density
from bayessgd.priors import Prior, check_params
from bayessgd.selection import matches
from metrics.inputs import check_object, check_positive

__all__ = ["HalfStudentT", "LogScalePrior", "NamedPriors"]


@dataclass(frozen=True)
class NamedPriors:
    """Independent parts of θ, each under a prior of its own.

    Args:
        priors: From a parameter's name, or a pattern as `bayessgd.selection` has them ("head", "*bias", "*"), to a
            prior or to a `torch.distributions` object whose shape broadcasts to the parameter's: one number for all its
            entries, or a law per coefficient. A name goes before patterns, and patterns in their order.

    Raises:
        TypeError: Not such a mapping.
        ValueError: (when used) A parameter that nothing fits, a key that fits nothing, or a law of another shape.

    >>> from torch.distributions import HalfCauchy, Normal
    >>> from bayessgd.priors import GaussianPrior
    >>> prior = NamedPriors({"log_scale": LogScalePrior(HalfCauchy(1.0)), "*": GaussianPrior(1.0)})
    >>> prior.log_prob({"weight": torch.zeros(1), "log_scale": torch.zeros(1)})  # −½ log 2π − log π
    tensor(-2.0637)
    """

    priors: Mapping[str, Prior | Distribution]

    def __post_init__(self):
        if not isinstance(self.priors, Mapping) or not self.priors:
            raise TypeError(
                f"priors must map names or patterns to priors, got {type(self.priors).__name__}; such as "
                "{'log_scale': LogScalePrior(HalfCauchy(1.0)), '*': GaussianPrior(1.0)}"
            )
        for key, prior in self.priors.items():
            check_object(prior, f"priors[{key!r}]")
            if not isinstance(prior, Distribution) and not isinstance(prior, Prior):
                raise TypeError(
                    f"priors[{key!r}] must be a prior or a torch.distributions.Distribution, got "
                    f"{type(prior).__name__}"
                )

    def log_prob(self, params: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return log p(θ), a 0-dim tensor; normalised where all parts are proper."""
        check_params(params)
        parts: dict[str, dict[str, Tensor]] = {key: {} for key in self.priors}
        for name, value in params.items():
            parts[self._key(name)][name] = value
        idle = [key for key, part in parts.items() if not part]
        if idle:
            raise ValueError(
                f"priors must each have a parameter, got none for {idle}; there are {list(params)}: mend the name or "
                "drop it"
            )
        return torch.stack([_log_prob(self.priors[key], part, key) for key, part in parts.items()]).sum()

    def _key(self, name: str) -> str:
        if name in self.priors:
            return name
        for key in self.priors:
            if matches(name, key):
                return key
        raise ValueError(
            f"priors must have one for every parameter, got none for {name!r}; name it, or add '*' for the rest"
        )


def _log_prob(prior: Prior | Distribution, part: Mapping[str, Tensor], key: str) -> Tensor:
    if not isinstance(prior, Distribution):
        return prior.log_prob(part)
    shape = prior.batch_shape + prior.event_shape
    for name, value in part.items():
        ends = zip(reversed(shape), reversed(value.shape), strict=False)
        if len(shape) > value.ndim or any(own not in (1, given) for own, given in ends):
            raise ValueError(
                f"priors[{key!r}] must have a shape that broadcasts to {list(value.shape)} of {name}, got "
                f"{list(shape)}; one law for all entries, or one for each"
            )
    return torch.stack([log_density(prior, v, f"priors[{key!r}]").sum() for v in part.values()]).sum()


@dataclass(frozen=True)
class LogScalePrior:
    """The prior of parameters s = log σ whose exponentials have a given law: log p(s) = log p_σ(eˢ) + s.

    Args:
        law: Of σ > 0, such as `torch.distributions.HalfCauchy(1.0)`; `None` is flat in σ, which is improper.

    Raises:
        TypeError: Not a distribution.

    >>> LogScalePrior().log_prob({"log_scale": torch.tensor([2.0])})
    tensor(2.)
    """

    law: Distribution | None = None

    def __post_init__(self):
        if self.law is not None and not isinstance(self.law, Distribution):
            raise TypeError(
                f"law must be a torch.distributions.Distribution of σ, or None, got {type(self.law).__name__}"
            )

    def log_prob(self, params: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """Return log p(s), a 0-dim tensor; normalised where the law is."""
        check_params(params)
        terms = [
            (s if self.law is None else log_density(self.law, s.exp(), "law") + s).sum()
            for s in params.values()
        ]
        return torch.stack(terms).sum()


class HalfStudentT(Distribution):
    """|scale·t|, t Student's with df degrees of freedom; torch has its two ends, `HalfCauchy` and `HalfNormal`.

    Args:
        df: Degrees of freedom, above 0.
        scale: In the unit of the number.

    >>> from torch.distributions import HalfCauchy
    >>> HalfStudentT(1.0, 2.0).log_prob(torch.tensor(0.0)), HalfCauchy(2.0).log_prob(torch.tensor(0.0))
    (tensor(-1.1447), tensor(-1.1447))
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.nonnegative  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, df: float | int, scale: float | int = 1.0) -> None:
        self.df, self.scale = check_positive(df, "df"), check_positive(scale, "scale")
        self._whole = StudentT(self.df, 0.0, self.scale, validate_args=False)
        super().__init__(validate_args=False)

    def __repr__(self) -> str:
        return f"HalfStudentT(df={self.df}, scale={self.scale})"

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log density, −∞ below 0."""
        wide = StudentT(
            value.new_tensor(self.df), value.new_zeros(()), value.new_tensor(self.scale), validate_args=False
        )
        return torch.where(value < 0, -math.inf, wide.log_prob(value) + math.log(2))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return draws, from torch's default generator."""
        return self._whole.sample(torch.Size(sample_shape)).abs()
