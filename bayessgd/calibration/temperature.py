r"""The effective temperature of a cloud of iterates: how far the mean energy is from a posterior's.

For a posterior p ∝ e^{−U} with U quadratic near its minimum θ*, equipartition gives every one of D directions ½ nat of
excess. The number

    T = (2/D)·E[U(θ) − U(θ*)]

is 1 for draws of the posterior, and 1/s* for a Gaussian whose covariance must be multiplied by s* to have its energy.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bayessgd._data import check_of_model, gathered
from bayessgd._inputs import Output, Targets
from bayessgd._over import telling, warn
from bayessgd.batches import Data
from bayessgd.calibration.potential import check_lowest, potential
from bayessgd.likelihoods import Likelihood
from bayessgd.posteriors import Ensemble
from bayessgd.priors import Prior
from metrics.chains import monte_carlo_error
from metrics.precision import full_precision

__all__ = ["Temperature", "effective_temperature"]


@dataclass(frozen=True)
class Temperature:
    """An effective temperature and its standard error.

    Attributes:
        value: T.
        stderr: Its standard error.
        directions: D, the weights that move among the iterates.
        still: The weights that never do (dead units, inputs that are always 0), which D leaves out.

    >>> Temperature(value=4.0, stderr=0.1, directions=2)
    Temperature(value=4.0, stderr=0.1, directions=2, still=0)
    """

    value: float
    stderr: float
    directions: int
    still: int = 0


@full_precision
def effective_temperature(
    model: nn.Module,
    iterates: Ensemble,
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    optimum: Mapping[str, Tensor],
    num_data: int | None = None,
    refresh_batchnorm: Data | None = None,
    output: Output | None = None,
) -> Temperature:
    """Return T = (2/D)·mean(U(θₜ) − U(θ*)) over iterates.

    Args:
        model: The network.
        iterates: Such as `Trajectory(...).posterior()`; what they went through before they were stationary
            left out.
        x: Training inputs: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: Their targets; `None` where x brings them.
        likelihood: From the output to the law of the target.
        prior: The law of θ.
        optimum: θ*, the minimum of U, by name.
        num_data: N, where x is a part of the data.
        refresh_batchnorm: As in `predict`; without it iterates with buffers of their own are taken with them.
        output: Picks the tensor from what the network returns.

    Returns:
        T with a standard error that knows of the iterates' correlation (from 4 iterates per chain on). The
        posterior has 1; plain SGD at a learning rate ε has about ε/ε* (`theory.optimal_learning_rate`).

    Raises:
        TypeError: Not an ensemble, or arguments that are not as above.
        ValueError: An optimum of other parameters, or with U not finite there; data as in `calibrate`.

    Warns:
        UserWarning: Some weights never move, and D leaves them out.

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
        "output": output,
    }
    inputs, targets = gathered(model, x, y, finite=True)
    with telling():
        lowest = potential(model, {name: t[None] for name, t in optimum.items()}, inputs, targets, **laws)
        check_lowest(lowest, "optimum")
        moving, still = _moving(iterates)
        if still:
            warn(
                "still",
                f"{still} of {moving + still} weights never move among the iterates and are left out of the "
                f"{moving} directions",
            )
        energies = potential(model, iterates.draws, inputs, targets, buffers=iterates.buffers, **laws)
    series = (2 / moving) * (energies - lowest)
    by_chain = series.unflatten(0, (iterates.chains, -1))
    stderr = float(monte_carlo_error(by_chain)) if by_chain.shape[1] >= 4 else math.nan
    error = 0.0 if math.isnan(stderr) and len(series) > 1 and not series.std() else stderr
    return Temperature(float(series.mean()), error, moving, still)


def _moving(iterates: Ensemble) -> tuple[int, int]:
    """Return how many weights move among the iterates, and how many do not; all count where nothing tells."""
    total = sum(t[0].numel() for t in iterates.draws.values())
    moving = sum(int((t != t[:1]).any(0).sum()) for t in iterates.draws.values())
    return (moving, total - moving) if moving else (total, 0)
