r"""The potential U of a posterior, the number that every width here is measured against.

    U(θ) = −(N/n)·Σⱼ log p(yⱼ | xⱼ, θ) − log p(θ),   p(θ | data) ∝ e^{−U(θ)},

of n data that stand for N: the whole set where n = N, an unbiased estimate where they are a random part of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from bayessgd._data import Inputs, check_finite_inputs, check_laws, check_of_model, rows
from bayessgd.likelihoods import Likelihood
from bayessgd.params import named_parameters
from bayessgd.posteriors import Ensemble
from bayessgd.predict import predict
from bayessgd.priors import Prior
from metrics.inputs import check_count

__all__ = ["check_lowest", "potential"]


@torch.no_grad()
def potential(
    model: nn.Module,
    draws: Mapping[str, Tensor],
    x: Inputs,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: int | None = None,
    refresh_batchnorm: Iterable[Any] | None = None,
    batch_size: int = 512,
) -> Float[Tensor, " draws"]:
    """Return U(θᵢ) = −(N/n)·Σⱼ log p(yⱼ | xⱼ, θᵢ) − log p(θᵢ) of every draw, in float64 nats; n the data given.

    Args:
        model: The network.
        draws: From parameter name to [draws, *shape].
        x: Inputs [n, ...]; a tuple is several arguments of the network.
        y: Their targets.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        num_data: N, where x is a part of the data; `None` is n.
        refresh_batchnorm: As in `predict`.
        batch_size: Data per forward pass.

    Raises:
        TypeError, ValueError: Data, draws, likelihood or prior that are not as above.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    >>> potential(line, {"weight": torch.tensor([[[0.0]], [[1.0]]])}, x, x, **laws)  # log 2π + 1, log 2π
    tensor([2.8379, 1.8379], dtype=torch.float64)
    """
    check_finite_inputs(x, y)
    check_laws(likelihood, prior)
    n = len(y) if num_data is None else check_count(num_data, "num_data")
    check_of_model(draws, model, "posterior", lead=1)
    own = named_parameters(model)
    bank = Ensemble({name: draws[name].to(own[name]) for name in draws})
    total = torch.zeros(len(bank), dtype=torch.float64, device=y.device)
    for start in range(0, len(y), batch_size):
        some = slice(start, start + batch_size)
        outputs = predict(
            model, bank, rows(x, some), num_samples=len(bank), refresh_batchnorm=refresh_batchnorm
        )
        terms = vmap(likelihood.log_prob, (0, None))(outputs, y[some])
        total -= terms.double().sum(1)
    return total * (n / len(y)) - vmap(prior.log_prob)(bank.draws).double()


def check_lowest(lowest: Tensor, name: str) -> None:
    """Refuse a point of no finite potential: every excess is counted from there."""
    if not bool(lowest.isfinite()):
        raise ValueError(
            f"{name} must have a finite potential, got U = {float(lowest)}; did the training diverge, or are "
            "targets impossible under the likelihood?"
        )
