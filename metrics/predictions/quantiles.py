"""Are the predicted quantiles the outcomes' own? The probability integral transform of regressions.

If y has the predicted distribution function F, then F(y) is uniform on [0, 1]: the *PIT* (Dawid 1984; Gneiting,
Balabdaoui & Raftery 2007). Its histogram is flat for a calibrated prediction, a ∪ for one too narrow, a ∩ for
one too wide, a slope for one that is shifted. Of M samples, F(y) is told to 1/(M + 1): with k of them below y and t
equal to it

    PIT = (k + ½t + ½)/(M + 1).

The *quantile calibration error* is the mean gap between the shares that were predicted and found,

    (1/99) Σ_q |(1/n) #{i : PIT_i ≤ q} − q|,      q = 0.01, …, 0.99

(Kuleshov, Fenner & Ermon 2018, in l1; the uncertainty-toolbox's "mean absolute calibration error"). It is biased
upwards: a calibrated prediction scores √(2/πn)·π/8 or so. It is no proper score: predicting the marginal
distribution of y everywhere has an error of 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_tensor
from metrics.precision import full_precision
from metrics.predictions._scores import check_ensemble

__all__ = ["pit_values", "quantile_calibration_error"]


def levels(device: torch.device | str = "cpu") -> Float[Tensor, " levels"]:
    """Return 0.01, …, 0.99 in float64.

    >>> len(levels())
    99
    """
    return torch.arange(1, 100, dtype=torch.float64, device=device) / 100


@full_precision
def pit_values(samples: Float[Tensor, "samples n ..."], y: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Return the probability integral transform of every outcome, in (0, 1): uniform where calibrated.

    Args:
        samples: Samples of every prediction, [samples, n, ...], as `bayessgd.predict` returns them.
        y: The outcomes, [n, ...].

    Raises:
        TypeError, ValueError: Shapes, types or devices that do not match.

    >>> pit_values(torch.arange(9.0)[:, None], torch.tensor([3.5]))
    tensor([0.4500])
    """
    x, outcome = check_ensemble(samples, y)
    below = torch.zeros(outcome.shape, dtype=torch.float64, device=outcome.device)
    for draw in x.detach():
        below += (draw < outcome).double() + 0.5 * (draw == outcome).double()
    return ((below + 0.5) / (len(x) + 1)).to(x.dtype)


@full_precision
def quantile_calibration_error(pit: Float[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Return the mean over q = 0.01 … 0.99 of |share of PIT values ≤ q − q|, from 0 to ½; biased upwards.

    Args:
        pit: From `pit_values`, or F(y) of any predicted distribution function, [n, ...]; several outputs are pooled.

    Raises:
        TypeError, ValueError: Values that are no floats, or outside [0, 1].

    >>> quantile_calibration_error(torch.full((10,), 0.5))
    tensor(0.2525)
    """
    u = check_tensor(
        pit, "pit", shape="[n, ...]", ndim=max(1, pit.ndim if isinstance(pit, Tensor) else 1)
    ).detach()
    least, most = float(u.min()), float(u.max())
    if least < 0 or most > 1:
        raise ValueError(
            f"pit must be from 0 to 1, got {least:.3g} to {most:.3g}; pass pit_values(samples, y), not the samples"
        )
    at = levels(u.device)
    ordered = u.double().flatten().sort().values
    share = torch.searchsorted(ordered, at, right=True).double() / ordered.numel()
    return (share - at).abs().mean().to(u.dtype)
