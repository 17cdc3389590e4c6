"""Strangers told from known inputs by an uncertainty: AUROC and FPR95 as numbers with terms.

Both sets are finite, and both add to the error: the terms are those of the known inputs followed by those of the
strangers.
"""

import torch
from torch import Tensor

from metrics.evaluation.predictions.halves import halves
from metrics.evaluation.predictions.numbers import Number, undefined
from metrics.predictions._influence import auroc_influence
from metrics.predictions.binning import binomial_stderr

__all__ = ["errors_auroc", "outside_auroc", "outside_fpr"]

RECALL = 0.95


def outside_auroc(inside: Tensor, outside: Tensor, weight: Tensor) -> Number:
    """Return P(outside > inside) + ½ P(=) with DeLong's error; weights are those of the known inputs."""
    uniform = torch.full_like(outside, 1 / len(outside))
    value, low, high = auroc_influence(inside, outside, weight, uniform)
    return Number(
        float(value),
        torch.cat([low, high]),
        "higher",
        "P(entropy outside > inside) + ½ P(=), DeLong",
        (len(outside), len(inside)),
        bounded=True,
    )


def outside_fpr(inside: Tensor, outside: Tensor, weight: Tensor) -> Number:
    """Return the share of strangers at or below the threshold that 95 % of known inputs keep to.

    The threshold's part of the error is told by balanced halves of the known inputs, the strangers' by their share.
    """
    ordered, order = inside.sort()
    w, strangers = weight[order], outside.sort().values
    m = len(outside)

    def passed(masses: Tensor) -> Tensor:
        """Share of strangers that pass for every row of weights [rows, n]."""
        reached = masses.cumsum(1)
        at = (reached < RECALL * reached[:, -1:] - 1e-12).sum(1).clamp(max=len(ordered) - 1)
        return torch.searchsorted(strangers, ordered[at], right=True).double() / m

    value = passed(w[None])[0]
    parts = halves(len(inside), inside.device)
    inner = []
    for sign in parts.signs[:, parts.group[order]].split(32):
        half = (sign + 1) / 2 * w
        inner.append(passed(half) - passed(w - half))
    known = torch.cat(inner) / (2 * len(parts.signs) ** 0.5)
    at = ordered[int((w.cumsum(0) < RECALL * w.sum() - 1e-12).sum().clamp(max=len(ordered) - 1))]
    spread = ((outside <= at).double() - value) / m
    if not bool(spread.any()):  # all strangers pass or none: that is no certainty about the next one
        total = torch.tensor(float(m), dtype=torch.float64, device=outside.device)
        spread = torch.full_like(spread, 1 / m**0.5) * binomial_stderr(value * m, total)
    return Number(
        float(value),
        torch.cat([known, spread]),
        "lower",
        "share of strangers below the entropy that 95 % of known inputs keep to",
        (m, len(inside)),
        dof=parts.dof,
        bounded=True,
    )


def errors_auroc(confidence: Tensor, right: Tensor, weight: Tensor) -> Number:
    """Return P(a right prediction is more confident than a wrong one) + ½ P(=); undefined without two of each."""
    told = "P(confidence of a right > of a wrong prediction) + ½ P(=), DeLong"
    n, good = len(right), right == 1
    if min(int(good.sum()), int((~good).sum())) < 2:
        return undefined(confidence, "higher", told, (n, n))
    masses = [weight[part] / weight[part].sum() for part in (~good, good)]
    value, low, high = auroc_influence(confidence[~good], confidence[good], *masses)
    terms = torch.empty_like(confidence)
    terms[~good], terms[good] = low, high
    return Number(float(value), terms, "higher", told, (n, n), bounded=True)
