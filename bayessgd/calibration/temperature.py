r"""The effective temperature of a cloud of iterates: how far the mean energy is from a posterior's.

For a posterior p ∝ e^{−U} with U quadratic near its minimum θ*, equipartition gives every one of D directions ½ nat of
excess. The number

    T = (2/D)·E[U(θ) − U(θ*)]

is 1 for draws of the posterior, and 1/s* for a Gaussian whose covariance must be multiplied by s* to have its energy.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bayessgd._data import Inputs, check_of_model
from bayessgd.calibration.potential import check_lowest, potential
from bayessgd.likelihoods import Likelihood
from bayessgd.posteriors import Ensemble
from bayessgd.priors import Prior
from metrics.chains import monte_carlo_error

__all__ = ["Temperature", "effective_temperature"]


@dataclass(frozen=True)
class Temperature:
    """An effective temperature and its standard error.

    >>> Temperature(value=4.0, stderr=0.1)
    Temperature(value=4.0, stderr=0.1)
    """

    value: float
    stderr: float


def effective_temperature(
    model: nn.Module,
    iterates: Ensemble,
    x: Inputs,
    y: Tensor,
    *,
    likelihood: Likelihood,
    prior: Prior,
    optimum: Mapping[str, Tensor],
    num_data: int | None = None,
    refresh_batchnorm: Iterable[Any] | None = None,
) -> Temperature:
    """Return T = (2/D)·mean(U(θₜ) − U(θ*)) over iterates.

    Args:
        model: The network.
        iterates: Such as `Trajectory(...).posterior()`; what they went through before they were stationary
            left out.
        x: Training inputs.
        y: Their targets.
        likelihood: From the output to the law of the target.
        prior: The law of θ.
        optimum: θ*, the minimum of U, by name.
        num_data: N, where x is a part of the data.
        refresh_batchnorm: As in `predict`.

    Returns:
        T with a standard error that knows of the iterates' correlation (from 4 iterates per chain on). The
        posterior has 1; plain SGD at a learning rate ε has about ε/ε* (`theory.optimal_learning_rate`).

    Raises:
        TypeError: Not an ensemble, or arguments that are not as above.
        ValueError: An optimum of other parameters, or with U not finite there; data as in `calibrate`.

    >>> import torch
    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(100, 1)
    >>> path = Ensemble({"weight": 0.2 * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]})
    >>> laws = {"likelihood": Gaussian(1.0), "prior": FlatPrior()}
    >>> found = effective_temperature(line, path, x, 0 * x, **laws, optimum={"weight": torch.zeros(1, 1)})
    >>> round(found.value, 3)
    4.0
    """
    if not isinstance(iterates, Ensemble):
        raise TypeError(f"iterates must be an Ensemble, got {type(iterates).__name__}; use Trajectory")
    if set(optimum) != set(iterates.draws):
        raise ValueError(f"optimum must have the names {list(iterates.draws)}, got {list(optimum)}")
    check_of_model(iterates.draws, model, "iterates", lead=1)
    check_of_model(optimum, model, "optimum")
    laws = {
        "likelihood": likelihood,
        "prior": prior,
        "num_data": num_data,
        "refresh_batchnorm": refresh_batchnorm,
    }
    lowest = potential(model, {name: t[None] for name, t in optimum.items()}, x, y, **laws)
    check_lowest(lowest, "optimum")
    size = sum(t.numel() for t in optimum.values())
    series = (2 / size) * (potential(model, iterates.draws, x, y, **laws) - lowest)
    by_chain = series.unflatten(0, (iterates.chains, -1))
    stderr = float(monte_carlo_error(by_chain)) if by_chain.shape[1] >= 4 else math.nan
    return Temperature(float(series.mean()), 0.0 if math.isnan(stderr) and not series.std() else stderr)
