r"""The one loss that every sampler descends: the mean negative log joint per datum.

With N data, a batch B of S of them, a prior p(θ) and a temperature T it is

    L(θ) = (1/T) [ −(1/S) Σ_{i∈B} log p(y_i | x_i, θ) − (1/N) log p(θ) ],                                 (1)

so that the target of every sampler is ∝ exp(−N·L(θ)), and its gradient is comparable with that of an
ordinary mean loss. N, T and mean-versus-sum are decided here and nowhere else: the batch's loss is a mean,
the prior enters with 1/N, and `log_joint` is −N·L, in which a batch's likelihood counts N/S times. Temper
once: where a sampler has a temperature of its own, such as `optim.SGLD`, leave it at 1 here.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from bayessgd.params import clean_name, unwrap
from bayessgd.priors import Prior
from metrics.inputs import check_positive

__all__ = ["Likelihood", "log_joint", "mean_negative_log_joint"]


@runtime_checkable
class Likelihood(Protocol):
    """What the library asks of a likelihood."""

    def __call__(self, output: Tensor) -> Distribution:
        """Return the law of the target, of batch shape `[n]`."""
        ...

    def log_prob(self, output: Tensor, target: Tensor) -> Tensor:
        """Return log p(target | output) of each datum `[n]`."""
        ...


def mean_negative_log_joint(
    model: nn.Module,
    params: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: float | int,
    temperature: float | int = 1.0,
) -> Float[Tensor, ""]:
    """L(θ), the mean negative log joint per datum over its temperature: equation (1) of this module.

    An unbiased estimate, over iid batches, of L on all N data. Differentiable; works under `vmap` over
    `params`.

    Args:
        model: A plain network; it is called with `params` and never changed.
        params: θ, from parameter names to tensors, such as `dict(model.named_parameters())`; what is left
            out keeps the model's own value.
        x: The inputs of a batch, first dimension S.
        y: The targets of the batch, first dimension S.
        likelihood: Such as `Gaussian(scale=0.1)`.
        prior: Such as `GaussianPrior(precision=1.0)`. It sees `params`, and nothing that is left out.
        num_data: N, the size of the whole data set, not of the batch.
        temperature: T; leave it at 1 where the sampler has one.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> import torch
    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> x = y = torch.ones(4, 1)
    >>> w, laws = {"weight": torch.ones(1, 1)}, {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> mean_negative_log_joint(model, w, x, y, num_data=100, **laws)  # ½ log 2π
    tensor(0.9189)
    """
    theta, named = _bare(model, params)
    n, t = check_positive(num_data, "num_data"), check_positive(temperature, "temperature")
    _check_whole(likelihood, len(y), n)
    terms = likelihood.log_prob(functional_call(unwrap(model), named, (x,)), y)
    return -(_mean_term(likelihood, terms, len(y)) + prior.log_prob(theta) / n) / t


def log_joint(
    model: nn.Module,
    params: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: float | int,
    temperature: float | int = 1.0,
) -> Float[Tensor, ""]:
    """−N·L(θ): with all the data [log p(y | x, θ) + log p(θ)] / T; with a batch its unbiased estimate.

    Arguments and errors are those of `mean_negative_log_joint`.

    >>> import torch
    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import GaussianPrior
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> x = y = torch.ones(4, 1)
    >>> w, laws = {"weight": torch.ones(1, 1)}, {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    >>> log_joint(model, w, x, y, num_data=4, **laws)  # −5/2 log 2π − ½
    tensor(-5.0947)
    """
    loss = mean_negative_log_joint(
        model, params, x, y, likelihood=likelihood, prior=prior, num_data=num_data, temperature=temperature
    )
    return -num_data * loss


def _check_whole(likelihood: Likelihood, size: int, num_data: float) -> None:
    if getattr(likelihood, "joint", False) and size != num_data:
        raise ValueError(
            f"likelihood must have one term per datum where data come in batches, got {type(likelihood).__name__} with "
            f"{size} of {num_data:g} data, whose dependence a batch would cut; pass all the data, as reference.nuts "
            "does"
        )


def _mean_term(likelihood: Likelihood, terms: Tensor, size: int) -> Tensor:
    """Return the mean log-likelihood per datum of a batch, or of all the data where they are dependent."""
    joint = getattr(likelihood, "joint", False)
    if terms.shape != (() if joint else (size,)):
        wanted = "one number for all the data, []" if joint else f"one number for each datum, [{size}]"
        raise ValueError(
            f"likelihood must return {wanted}, got {list(terms.shape)} of {type(likelihood).__name__}; sum over what "
            "belongs to one datum, and where the data are dependent wrap their law in likelihoods.JointLikelihood"
        )
    return terms / size if joint else terms.mean()


def _bare(model: nn.Module, params: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return θ under the bare network's names, for the prior, and under those that the network has inside."""
    if not isinstance(params, Mapping):
        kind = type(params).__name__
        raise TypeError(f"params must map names to tensors, got {kind}; use dict(model.named_parameters())")
    own = {clean_name(name): name for name, _ in unwrap(model).named_parameters(remove_duplicate=False)}
    theta = {clean_name(name): value for name, value in params.items()}
    strangers = sorted(set(theta) - set(own))
    if strangers:
        raise ValueError(f"params must name parameters of the model, got {strangers}; it has {sorted(own)}")
    return theta, {own[name]: value for name, value in theta.items()}
