"""Does confidence find the errors? Predictions that may be withheld, and errors that are to be detected.

A model that answers only its most confident share c of the inputs, the *coverage*, makes errors on a share R(c) of
them, the *selective risk* (El-Yaniv & Wiener 2010). With the points ordered by confidence, the most confident first,

    R_k = (1/k) Σ_{j ≤ k} wrong_j,      AURC = (1/n) Σ_k R_k,

the area under the risk-coverage curve (Geifman, Uziel & El-Yaniv 2019); points of equal confidence count as in the
mean over their orders, so that the value does not hang on the order of the data. AURC falls with the error rate as
well as with better ranking; the AUROC of telling wrong predictions from right ones by their confidence, "error
detection", is free of the error rate (Hendrycks & Gimpel 2017). FPR95 reads one point of a ROC curve: the share of
strangers that pass a threshold which 95 % of known inputs pass (Liang et al. 2018).
"""

from dataclasses import dataclass
from typing import SupportsFloat

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metrics.estimate import Estimate
from metrics.inputs import check_alike, check_fraction, check_tensor
from metrics.precision import full_precision
from metrics.predictions._influence import auroc_influence, risk_coverage_influence
from metrics.predictions.calibration import top_label
from metrics.probabilities import check_labels, check_probabilities

__all__ = [
    "RiskCoverage",
    "error_detection_auroc",
    "false_positive_rate",
    "risk_coverage",
]


@dataclass(frozen=True)
class RiskCoverage:
    """The selective risk at every coverage.

    Attributes:
        coverage: k/n, the share of inputs that are answered, [n].
        risk: R_k, the share of errors among them, [n].
        area: AURC, the mean of R_k, a 0-dim tensor; lower is better, 0 is without errors.
        stderr: One standard error of it, from its influence function.
    """

    coverage: Float[Tensor, " n"]
    risk: Float[Tensor, " n"]
    area: Float[Tensor, ""]
    stderr: Float[Tensor, ""]


@full_precision
def risk_coverage(probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> RiskCoverage:
    """Return the risk-coverage curve by the confidence max_k p_k, and the area under it (AURC).

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].

    Returns:
        Curve and area ± standard error. The area estimates E R(C) with a bias of order (ln n)/n.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; labels that are not int64 or out of range.

    >>> curve = risk_coverage(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 1, 0]))
    >>> curve.risk, curve.area  # (0 + 1/2 + 1/3)/3
    (tensor([0.0000, 0.5000, 0.3333]), tensor(0.2778))
    """
    p = check_probabilities(probs).detach()
    confidence, right = (column[:, 0].double() for column in top_label(p, check_labels(labels, p)))
    n = len(p)
    area, terms = risk_coverage_influence(confidence, 1 - right, torch.full_like(right, 1 / n))
    coverage, risk = selective_risk(confidence, 1 - right, torch.full_like(right, 1 / n))
    return RiskCoverage(*(v.to(p.dtype) for v in (coverage, risk, area, terms.norm())))


def selective_risk(confidence: Tensor, loss: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return coverages and the risk at each, [n] each; ties have their mean loss.

    >>> selective_risk(torch.tensor([0.9, 0.6]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]))[1]
    tensor([0.0000, 0.5000])
    """
    order = confidence.argsort(descending=True, stable=True)
    w, raw = weight[order], loss[order]
    _, tie, size = confidence[order].unique_consecutive(return_inverse=True, return_counts=True)
    total = torch.zeros(len(size), dtype=w.dtype, device=w.device)
    mean = total.index_add(0, tie, w * raw) / total.index_add(0, tie, w).clamp(min=torch.finfo(w.dtype).tiny)
    covered = w.cumsum(0)
    return covered, (w * mean[tie]).cumsum(0) / covered.clamp(min=torch.finfo(w.dtype).tiny)


@full_precision
def error_detection_auroc(probs: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> Estimate:
    """Return P(a right prediction is more confident than a wrong one) + ½ P(equal), ± its standard error.

    Args:
        probs: Predicted probabilities, [n, classes].
        labels: The outcomes, from 0 to classes − 1, [n].

    Returns:
        The area under the ROC curve, as scikit-learn's, with the error of DeLong et al. (1988); ½ is no information.

    Raises:
        TypeError, ValueError: As `risk_coverage`; fewer than two right or two wrong predictions.

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    >>> print(error_detection_auroc(p, torch.tensor([0, 0, 1, 1])))
    1.000 ± 0.000
    """
    p = check_probabilities(probs).detach()
    confidence, right = (column[:, 0].double() for column in top_label(p, check_labels(labels, p)))
    good, bad = confidence[right == 1], confidence[right == 0]
    if min(len(good), len(bad)) < 2:
        raise ValueError(
            f"probs must hold at least 2 right and 2 wrong predictions, got {len(good)} and {len(bad)}; "
            "predict more points"
        )
    weights = (torch.full_like(part, 1 / len(part)) for part in (bad, good))
    value, low, high = auroc_influence(bad, good, *weights)
    return Estimate(
        value=float(value),
        stderr=float(torch.cat([low, high]).norm()),
        better="higher",
        convention="P(confidence of a right > of a wrong prediction) + ½ P(=), DeLong's standard error",
        sizes=(len(good), len(bad)),
        share=True,
    )


@full_precision
def false_positive_rate(
    *, inside: Float[Tensor, " n"], outside: Float[Tensor, " m"], recall: SupportsFloat = 0.95
) -> Float[Tensor, ""]:
    """Return the share of outside inputs at or below the threshold that a share `recall` of inside inputs keep to.

    FPR95 for 0.95 (Liang et al. 2018): inside inputs count as positive and pass where their uncertainty is at most t,
    the ⌈recall·n⌉-th smallest of theirs. Others take outside inputs as positive: swap the two with their signs.

    Args:
        inside: Uncertainty of inputs from the distribution that was trained on, [n].
        outside: Uncertainty of inputs from elsewhere, [m]. Larger should mean more unknown.
        recall: The share of inside inputs that must pass, between 0 and 1.

    Returns:
        From 0 (all outside inputs are found) to 1; recall is no information.

    Raises:
        TypeError, ValueError: Scores that are no finite vectors of one type; a recall outside (0, 1).

    >>> false_positive_rate(inside=torch.tensor([0.1, 0.2, 0.6]), outside=torch.tensor([0.5, 0.9]))
    tensor(0.5000)
    """
    known = check_tensor(inside, "inside", shape="[n]", ndim=1)
    unknown = check_tensor(outside, "outside", shape="[m]", ndim=1)
    check_alike(known, unknown, ("inside", "outside"))
    count = round(check_fraction(recall, "recall") * len(known), 9)
    threshold = known.sort().values[max(0, int(-(-count // 1)) - 1)]
    return (unknown <= threshold).double().mean().to(known.dtype)
