"""The smooth calibration error: what calibration is without bins.

With confidences c_i, outcomes h_i ∈ {0, 1} and a Gaussian kernel K_σ on [0, 1] that is reflected at both ends,

    r_σ(t) = (1/n) Σ_i K_σ(c_i, t) (h_i − c_i),      smECE_σ = ∫_0^1 |r_σ(t)| dt,

and SmoothECE is the value at its own width, the σ where smECE_σ = σ (Błasiok & Nakkiran 2024, "Smooth ECE"): smECE_σ
falls with σ, so that there is one. It is continuous in the predictions, where a binned error jumps, and has no number
of bins to choose. It is biased upwards for a calibrated model, as every calibration error.

The reflected kernel is the heat kernel of the interval with insulated ends, which the cosines diagonalise:
r_σ = Σ_k e^{−(πkσ)²/2} r̂_k cos(πkt). The residuals are put on a grid of cells once and then every σ costs one cosine
transform; the spread h²/12 within a cell of width h is taken off σ².
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.precision import full_precision
from metrics.predictions.calibration import top_label
from metrics.probabilities import check_labels, check_probabilities

__all__ = ["smooth_calibration_error"]

CELLS = 4096

HALVINGS = 30
"""Bisections of σ in [0, 1]: to 1e-9."""


@full_precision
def smooth_calibration_error(
    probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Return the top-label SmoothECE, from 0 to 1 (Błasiok & Nakkiran 2024); biased upwards where calibrated.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].

    Returns:
        The σ with smECE_σ = σ, to 1e-4 of the exact one or better; not differentiable.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> smooth_calibration_error(torch.tensor([[0.7, 0.3]]).expand(10, 2), torch.zeros(10, dtype=torch.int64))
    tensor(0.3000)
    """
    p = check_probabilities(probs).detach()
    confidence, right = (column[:, 0].double() for column in top_label(p, check_labels(labels, p)))
    cells = residual_cells(confidence, (right - confidence) / len(p))
    return smooth_error_of_cells(cells[None])[0].to(p.dtype)


def residual_cells(confidence: Tensor, residual: Tensor, *, cells: int = CELLS) -> Tensor:
    """Return the sums of residuals in equal cells of [0, 1], [cells].

    >>> residual_cells(torch.tensor([0.1, 0.9]), torch.tensor([1.0, 2.0]), cells=2)
    tensor([1., 2.])
    """
    index = (confidence * cells).long().clamp(0, cells - 1)
    return torch.zeros(cells, dtype=residual.dtype, device=residual.device).index_add(0, index, residual)


def smooth_error_of_cells(
    cells: Float[Tensor, "rows cells"], *, halvings: int = HALVINGS
) -> Float[Tensor, " rows"]:
    """Return the σ with smECE_σ = σ for each row of summed residuals, by bisection to 2^−halvings.

    >>> smooth_error_of_cells(torch.tensor([[0.0, 0.25]], dtype=torch.float64)).item() < 0.26
    True
    """
    from scipy.fft import dct, idct

    count = cells.shape[1]
    modes = dct(cells.cpu().double().numpy(), axis=1)
    rate = (math.pi * np.arange(count)) ** 2 / 2
    low, high = np.zeros(len(modes)), np.ones(len(modes))
    for _ in range(halvings):
        sigma = (low + high) / 2
        spread = np.maximum(sigma**2 - 1 / (12 * count**2), 0.0)
        smoothed = np.abs(np.asarray(idct(modes * np.exp(-spread[:, None] * rate), axis=1))).sum(1)
        above = smoothed > sigma
        low, high = np.where(above, sigma, low), np.where(above, high, sigma)
    return torch.from_numpy((low + high) / 2).to(cells.device)
