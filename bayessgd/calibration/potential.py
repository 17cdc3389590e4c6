r"""The potential U of a posterior, the number that every width here is measured against.

    U(θ) = −(N/n)·Σⱼ log p(yⱼ | xⱼ, θ) − log p(θ),   p(θ | data) ∝ e^{−U(θ)},

of n data that stand for N: the whole set where n = N, an unbiased estimate where they are a random part of it.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap

from bayessgd._bank import stream, warn_of_statistics
from bayessgd._data import check_laws, check_of_model, check_targets, gathered
from bayessgd._inputs import Output, Targets, rows, size, wide
from bayessgd._over import telling
from bayessgd.batches import Data
from bayessgd.likelihoods import Likelihood
from bayessgd.params import named_parameters, unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.priors import Prior
from metrics.inputs import check_count
from metrics.precision import full_precision

__all__ = ["check_lowest", "potential"]


@full_precision
@torch.no_grad()
def potential(
    model: nn.Module,
    draws: Mapping[str, Tensor],
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_data: int | None = None,
    refresh_batchnorm: Data | None = None,
    batch_size: int = 512,
    output: Output | None = None,
    buffers: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, " draws"]:
    """Return U(θᵢ) = −(N/n)·Σⱼ log p(yⱼ | xⱼ, θᵢ) − log p(θᵢ) of every draw, in float64 nats; n the data given.

    Args:
        model: The network.
        draws: From parameter name to [draws, *shape].
        x: Inputs [n, ...]: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: Their targets; `None` where x brings them.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        num_data: N ≥ n, where x is a part of the data; `None` is n.
        refresh_batchnorm: As in `predict`.
        batch_size: Data per forward pass.
        output: Picks the tensor from what the network returns.
        buffers: The draws' own buffers, [draws, *shape] by name; `None` are the network's.

    Raises:
        TypeError, ValueError: Data, draws, likelihood or prior that are not as above.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    >>> potential(line, {"weight": torch.tensor([[[0.0]], [[1.0]]])}, x, x, **laws)  # log 2π + 1, log 2π
    tensor([2.8379, 1.8379], dtype=torch.float64)
    """
    inputs, targets = gathered(model, x, y, finite=True)
    check_laws(likelihood, prior)
    check_targets(likelihood, targets)
    length = size(targets)
    n = length if num_data is None else check_count(num_data, "num_data", least=length)
    check_of_model(draws, model, "posterior", lead=1)
    own = named_parameters(model)
    bank = Ensemble({name: draws[name].to(own[name]) for name in draws}, buffers=buffers)
    starts = range(0, length, batch_size)
    parts = [rows(inputs, slice(i, i + batch_size)) for i in starts]
    held = [rows(targets, slice(i, i + batch_size)) for i in starts]
    total = torch.zeros(len(bank), dtype=torch.float64, device=next(iter(own.values())).device)
    at = [0] * len(parts)
    with telling():
        if refresh_batchnorm is None:
            warn_of_statistics(unwrap(model), bank.buffers)
        for i, _, outputs in stream(
            unwrap(model), bank, parts, count=len(bank), refresh=refresh_batchnorm, output=output
        ):
            terms = vmap(likelihood.log_prob, (0, None))(wide(outputs), held[i])
            total[at[i] : at[i] + len(outputs)] -= terms.double().sum(1)
            at[i] += len(outputs)
    return total * (n / length) - vmap(prior.log_prob)(bank.draws).double()


def check_lowest(lowest: Tensor, name: str) -> None:
    """Refuse a point of no finite potential: every excess is counted from there."""
    if not bool(lowest.isfinite()):
        raise ValueError(
            f"{name} must have a finite potential, got U = {float(lowest)}; did the training diverge, or are "
            "targets impossible under the likelihood?"
        )
