r"""The one loss that every sampler descends: the mean negative log joint per datum.

With N data, a batch B of S of them, a prior p(θ) and a temperature T it is

    L(θ) = (1/T) [ −(1/S) Σ_{i∈B} log p(y_i | x_i, θ) − (1/N) log p(θ) ],                                 (1)

so that the target of every sampler is ∝ exp(−N·L(θ)), and its gradient is comparable with that of an
ordinary mean loss. N, T and mean-versus-sum are decided here and nowhere else: the batch's loss is a mean,
the prior enters with 1/N, and `log_joint` is −N·L, in which a batch's likelihood counts N/S times. Temper
once: where a sampler has a temperature of its own, such as `optim.SGLD`, leave it at 1 here.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bayessgd._functional import unfused
from bayessgd._inputs import Output, Targets, call, size, wide
from bayessgd.batches import Data, whole
from bayessgd.params import clean_name, unwrap
from bayessgd.priors import Prior
from metrics.inputs import check_object, check_positive

__all__ = ["Likelihood", "log_joint", "mean_negative_log_joint"]


@runtime_checkable
class Likelihood(Protocol):
    """What the library asks of a likelihood.

    One that has `check_targets(target)` too refuses impossible values by it, in the functions that see all the data.
    """

    def __call__(self, output: Tensor) -> Distribution:
        """Return the law of the target, of batch shape `[n]`."""
        ...

    def log_prob(self, output: Tensor, target: Any) -> Tensor:
        """Return log p(target | output) of each datum `[n]`."""
        ...


def mean_negative_log_joint(
    model: nn.Module,
    params: Mapping[str, Tensor],
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: float | int,
    temperature: float | int = 1.0,
    output: Output | None = None,
) -> Float[Tensor, ""]:
    """L(θ), the mean negative log joint per datum over its temperature: equation (1) of this module.

    An unbiased estimate, over iid batches, of L on all N data. Differentiable; works under `vmap` over
    `params`.

    Args:
        model: The network, bare, compiled or in DDP; it is called with `params` and never changed.
        params: θ, from parameter names to tensors, such as `dict(model.named_parameters())`; what is left
            out keeps the model's own value. What a wrapper puts into a name is taken off.
        x: The inputs of a batch, first dimension S; a tuple is several arguments, a dict keyword arguments.
        y: The targets of the batch, first dimension S; `None` where a dict x holds them (`bayessgd.batches`).
        likelihood: Such as `Gaussian(scale=0.1)`.
        prior: Such as `GaussianPrior(precision=1.0)`. It sees `params`, and nothing that is left out.
        num_data: N, the size of the whole data set, not of the batch.
        temperature: T; leave it at 1 where the sampler has one.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.

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
    check_object(likelihood, "likelihood")
    check_object(prior, "prior")
    network, theta = _of_network(model, params)
    n, t = check_positive(num_data, "num_data"), check_positive(temperature, "temperature")
    inputs, targets = whole(x, y, network)
    if size(targets) == 0:
        raise ValueError(
            "y must hold at least one datum, got an empty batch; leave it out: its mean is no number"
        )
    state = {own: theta[name] for own, name in _own_names(network, theta).items()}
    with unfused():
        found = wide(call(network, state, inputs, output))
    count = size(targets)
    _check_whole(likelihood, count, n)
    terms = likelihood.log_prob(found, targets)
    return -(_mean_term(likelihood, terms, count) + prior.log_prob(theta) / n) / t


def log_joint(
    model: nn.Module,
    params: Mapping[str, Tensor],
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: float | int,
    temperature: float | int = 1.0,
    output: Output | None = None,
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
        model,
        params,
        x,
        y,
        likelihood=likelihood,
        prior=prior,
        num_data=num_data,
        temperature=temperature,
        output=output,
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


def _of_network(model: nn.Module, params: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the bare network and θ by its bare names."""
    # DDP is called itself: its forward prepares the exchange of gradients.
    network = model if isinstance(model, DistributedDataParallel) else unwrap(model)
    if not isinstance(params, Mapping):
        kind = type(params).__name__
        raise TypeError(f"params must map names to tensors, got {kind}; use dict(model.named_parameters())")
    # DDP and DataParallel put "module." in front, which a network of one's own may have too.
    wrapped = isinstance(model, DataParallel | DistributedDataParallel)
    theta = {
        clean_name(name).removeprefix("module." if wrapped else ""): value for name, value in params.items()
    }
    own = set(_own_names(network, None).values())
    strangers = sorted(set(theta) - own)
    if strangers:
        raise ValueError(f"params must name parameters of the model, got {strangers}; it has {sorted(own)}")
    return network, theta


def _own_names(network: nn.Module, params: Mapping[str, Tensor] | None) -> dict[str, str]:
    """Return from the network's names, with those of compiled parts, to the bare ones, of these parameters."""
    lead = "module." if isinstance(network, DistributedDataParallel) else ""
    names = {
        name: clean_name(name).removeprefix(lead)
        for name, _ in network.named_parameters(remove_duplicate=False)
    }
    return {own: name for own, name in names.items() if params is None or name in params}
