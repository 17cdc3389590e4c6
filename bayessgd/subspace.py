r"""Inference in a subspace: a few directions of a trajectory, sampled exactly.

The iterates of SGD span what little of a network's space matters. With their mean m and the leading principal
components of their deviations,

    θ(z) = m + Bᵀz,      B = diag(λ_k^½) V   [K, P],      V orthonormal, λ_k the variances along it,

the posterior of z given all the data has K dimensions, and NUTS is at home there (Izmailov et al. 2019, algorithm 1,
with the components scaled so that z is of order one). Its law is

    p(z | x, y) ∝ p(y | x, θ(z))^{1/T} · p(θ(z)),

or with `scaled_prior` p(z) = N(0, I) in place of the network's own prior, as in the paper. P − K directions have no
uncertainty left, so that the temperature T > 1 of the paper stands in for them; T = 1 is the posterior on the
subspace. The components come from the iterates' n × n Gram matrix: no P × P matrix is formed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from bayessgd._data import check_laws, check_of_model, check_targets
from bayessgd._evaluating import evaluating
from bayessgd._functional import functional
from bayessgd._inputs import Output, Targets
from bayessgd.batches import Data, whole
from bayessgd.likelihoods import Likelihood
from bayessgd.params import flatten, named_buffers, unflatten, unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.posteriors.base import check_named
from bayessgd.priors import GaussianPrior, Prior
from bayessgd.reference import nuts
from metrics.inputs import check_count, check_positive, check_tensor
from metrics.precision import with_gradients

__all__ = ["Subspace", "principal_subspace", "subspace_nuts"]


@dataclass(frozen=True)
class Subspace:
    """θ(z) = mean + basisᵀz.

    Attributes:
        mean: m by name.
        basis: B [K, P], rows orthogonal, of length λ_k^½; the flat order is that of `mean`.
        explained: The share of the iterates' total variance along each row, [K].

    Raises:
        TypeError, ValueError: A mean that is no dict of tensors; a basis that is not [K, P].

    >>> space = Subspace({"w": torch.zeros(2), "b": torch.ones(1)}, torch.eye(3)[:1], torch.ones(1))
    >>> space.parameters(torch.tensor([[2.0], [3.0]]))["w"]
    tensor([[2., 0.],
            [3., 0.]])
    """

    mean: Mapping[str, Tensor]
    basis: Float[Tensor, "k p"]
    explained: Float[Tensor, " k"]

    def __post_init__(self):
        check_named(self.mean, "mean")
        check_tensor(self.basis, "basis", shape="[k, p]", ndim=2)
        size = sum(t.numel() for t in self.mean.values())
        if self.basis.shape[1] != size:
            raise ValueError(
                f"basis must have a column for each of the mean's {size} parameters, got {self.basis.shape[1]}; "
                "flatten directions by bayessgd.params.flatten"
            )

    def parameters(self, z: Float[Tensor, "... k"]) -> dict[str, Tensor]:
        """Return θ(z) by name, [..., *shape].

        >>> space = Subspace({"w": torch.ones(2)}, torch.tensor([[3.0, 0.0]]), torch.ones(1))
        >>> space.parameters(torch.tensor([2.0]))
        {'w': tensor([7., 1.])}
        """
        return unflatten(flatten(self.mean) + z @ self.basis, self.mean)


def principal_subspace(iterates: Ensemble, *, rank: int) -> Subspace:
    """Return the mean of the iterates and their leading principal components.

    Args:
        iterates: Such as `Trajectory(...).posterior()`.
        rank: K, below the number of iterates.

    Raises:
        TypeError: Not an ensemble.
        ValueError: A rank above that of the iterates.

    >>> path = Ensemble({"w": torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])})
    >>> space = principal_subspace(path, rank=1)   # variance 18/3 along the first axis
    >>> space.basis.abs(), space.explained
    (tensor([[2.4495, 0.0000]]), tensor([0.9000]))
    """
    if not isinstance(iterates, Ensemble):
        raise TypeError(f"iterates must be an Ensemble, got {type(iterates).__name__}; use Trajectory")
    rank = check_count(rank, "rank", below=len(iterates))
    mean = iterates.mean
    deviations = flatten(iterates.draws, mean).double() - flatten(mean).double()
    values, vectors = torch.linalg.eigh(deviations @ deviations.T)
    values, vectors = values.flip(0), vectors.flip(1)
    if not float(values[rank - 1]) > 1e-12 * float(values[0]):
        found = int((values > 1e-12 * values[0]).sum())
        if not found:
            raise ValueError(
                f"iterates must move, got {len(iterates)} that are all alike; collect while SGD steps"
            )
        raise ValueError(f"rank must be at most that of the iterates, {found}, got {rank}")
    # With deviations D = UΛ^½V the rows of UᵀD are Λ^½V, of variance Λ/(n − 1).
    basis = vectors[:, :rank].T @ deviations / (len(iterates) - 1) ** 0.5
    kind = next(iter(mean.values())).dtype
    return Subspace(mean, basis.to(kind), (values[:rank] / values.sum()).to(kind))


@with_gradients
def subspace_nuts(
    model: nn.Module,
    subspace: Subspace,
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    temperature: float | int = 1.0,
    scaled_prior: bool = False,
    num_samples: int = 500,
    num_chains: int = 2,
    seed: int = 0,
    cache: str | Path | None = None,
    output: Output | None = None,
    progress: bool = True,
) -> Ensemble:
    """Sample the posterior on a subspace by NUTS, and return whole networks.

    Args:
        model: The network, whose parameters `subspace.mean` names.
        subspace: Such as `principal_subspace(...)`.
        x: All the inputs.
        y: All the targets.
        likelihood: From the output to the law of the target.
        prior: The law of θ; it is evaluated at θ(z).
        temperature: T of the likelihood.
        scaled_prior: Take N(0, I) for z instead of `prior`.
        num_samples: Draws per chain.
        num_chains: Chains.
        seed: As `reference.nuts`.
        cache: As `reference.nuts`.
        output: As `reference.nuts`.
        progress: Show a bar.

    Returns:
        θ(zᵢ), chain after chain; `origin` as `reference.nuts`.

    Raises:
        TypeError, ValueError: As `reference.nuts`; no subspace, or one of another network; a temperature that is not
            above 0.

    Reference: Izmailov, Maddox, Kirichenko, Garipov, Vetrov & Wilson 2019, "Subspace inference for Bayesian deep
    learning", UAI.

    >>> from bayessgd.likelihoods import Gaussian
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(3, 1)
    >>> space = Subspace({"weight": torch.zeros(1, 1)}, torch.ones(1, 1), torch.ones(1))
    >>> laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    >>> law = subspace_nuts(line, space, x, x, **laws, num_samples=400, num_chains=1, progress=False)  # N(3/4, 1/4)
    >>> bool((law.mean["weight"] - 0.75).abs() < 0.1)
    True
    """
    network = unwrap(model)
    if not isinstance(subspace, Subspace):
        raise TypeError(f"subspace must be a Subspace, got {type(subspace).__name__}; use principal_subspace")
    check_of_model(subspace.mean, network, "subspace")
    check_laws(likelihood, prior)
    t = check_positive(temperature, "temperature")
    inputs, targets = whole(x, y, network)
    check_targets(likelihood, targets)
    with evaluating(network):
        found = nuts(
            _Inside(network, subspace),
            inputs,
            targets,
            likelihood=likelihood if t == 1 else _Tempered(likelihood, t),
            prior=GaussianPrior(1.0) if scaled_prior else _PriorInside(prior, subspace),
            num_samples=num_samples,
            num_chains=num_chains,
            seed=seed,
            cache=cache,
            output=output,
            progress=progress,
        )
    with torch.no_grad():
        draws = subspace.parameters(found.draws["z"])
    buffers = {n: b.detach().expand(len(found), *b.shape).clone() for n, b in named_buffers(network).items()}
    origin = {**found.origin, "subspace": len(subspace.basis)}
    return Ensemble(draws, buffers=buffers, chains=found.chains, origin=origin)


class _Inside(nn.Module):
    """The network as a function of z."""

    def __init__(self, network: nn.Module, subspace: Subspace) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros_like(subspace.basis[:, 0]))
        self._network, self._subspace = [network], subspace  # in a list: its parameters are not this one's

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return functional(self._network[0], self._subspace.parameters(self.z), args, kwargs)

    def extra_repr(self) -> str:
        # The cache's key is made of words: the network's are not enough, its subspace belongs to it.
        flat = torch.cat([flatten(self._subspace.mean), self._subspace.basis.flatten()]).double()
        return f"{self._network[0]!r}, {flat.sum().item()!r}, {flat.square().sum().item()!r}"


@dataclass(frozen=True, repr=False)
class _PriorInside:
    prior: Prior
    subspace: Subspace

    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return log p(θ(z))."""
        return self.prior.log_prob(self.subspace.parameters(params["z"]))

    def __repr__(self) -> str:
        return f"{self.prior!r} on a subspace"


@dataclass(frozen=True)
class _Tempered:
    likelihood: Likelihood
    temperature: float

    def __call__(self, output: Tensor) -> Distribution:
        return self.likelihood(output)

    def log_prob(self, output: Tensor, target: Targets) -> Tensor:
        return self.likelihood.log_prob(output, target) / self.temperature
