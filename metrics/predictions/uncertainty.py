"""How uncertain class predictions are, whether that finds unknown inputs, and how far two predictions are apart.

With p_s(k | x) the prediction of posterior sample s and p̄ their mean, the *predictive entropy* splits into what
remains when the parameters are known and what the parameters' uncertainty adds (Houlsby et al. 2011, BALD):

    H[p̄]            =  (1/S) Σ_s H[p_s]   +  I(y; θ | x),        H[p] = −Σ_k p_k ln p_k,
    total               expected (aleatoric)   mutual information (epistemic),

all in nats, from 0 to ln K. The mutual information is the mean KL(p_s‖p̄).

An uncertainty is useful if it is larger on inputs from elsewhere (*out-of-distribution*): the AUROC is the probability
that one of them gets the larger score. Two predictive distributions on the same inputs, such as an approximation's and
long HMC's, are compared as in the competition of Wilson et al. (2022, "Evaluating approximate inference in Bayesian
deep learning"): by the agreement of their predicted classes and by the total variation between them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.estimate import Estimate
from metrics.inputs import check_alike, check_tensor
from metrics.precision import full_precision
from metrics.predictions._influence import auroc_influence
from metrics.probabilities import check_probabilities

__all__ = [
    "agreement",
    "categorical_kl",
    "expected_entropy",
    "mutual_information",
    "out_of_distribution_auroc",
    "predictive_entropy",
    "total_variation",
]

Measured = Float[Tensor, ""] | Float[Tensor, " n"]
"""The mean over the inputs or, with `per_point=True`, every input's own value."""

SAMPLES = "[samples, batch, classes]"


@full_precision
def predictive_entropy(probs: Float[Tensor, "samples batch classes"]) -> Float[Tensor, " batch"]:
    """Return the entropy H[p̄] of the mean prediction per input, in nats, [batch].

    Args:
        probs: Class probabilities of each posterior sample, [samples, batch, classes].

    Returns:
        From 0 to ln K; biased downwards by about Σ_k Var_θ(p_k)/(2 S p̄_k) for S samples.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1 over the last dimension.

    >>> predictive_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.6931])
    """
    p = check_probabilities(probs, shape=SAMPLES, ndim=3)
    return _entropy(p.mean(0, dtype=torch.float64)).to(p.dtype)


@full_precision
def expected_entropy(probs: Float[Tensor, "samples batch classes"]) -> Float[Tensor, " batch"]:
    """Return the mean entropy (1/S) Σ_s H[p_s] per input, in nats, [batch]: what more data cannot remove.

    Unbiased over posterior samples. Arguments and errors are those of `predictive_entropy`.

    >>> expected_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.])
    """
    p = check_probabilities(probs, shape=SAMPLES, ndim=3)
    return _entropy_of_each(p).to(p.dtype)


@full_precision
def mutual_information(probs: Float[Tensor, "samples batch classes"]) -> Float[Tensor, " batch"]:
    """Return I(y; θ | x) = H[p̄] − (1/S) Σ_s H[p_s] per input, in nats, [batch] (Houlsby et al. 2011, eq. 2).

    Args:
        probs: Class probabilities of each posterior sample, [samples, batch, classes]; at least 2 samples.

    Returns:
        From 0 to ln K; biased downwards, as the predictive entropy.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1 over the last dimension; a single sample.

    >>> mutual_information(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor([0.6931])
    """
    p = check_probabilities(probs, shape=SAMPLES, ndim=3)
    if len(p) < 2:
        raise ValueError("probs must hold at least 2 posterior samples, got 1; draw more")
    # A difference of equal entropies can round to −1e-16; the true value is ≥ 0 by Jensen's inequality.
    total = _entropy(p.mean(0, dtype=torch.float64))
    return (total - _entropy_of_each(p)).clamp(min=0).to(p.dtype)


@full_precision
def categorical_kl(p: Float[Tensor, "n classes"], q: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    """Return KL(p‖q) = Σ_k p_k ln(p_k/q_k) per row, in nats, [n]; infinite where q_k = 0 < p_k.

    Args:
        p: Class probabilities, [n, classes].
        q: Class probabilities of the same shape.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; shapes, types or devices that differ.

    >>> categorical_kl(torch.tensor([[0.36, 0.48, 0.16]]), torch.full((1, 3), 1 / 3))
    tensor([0.0853])
    """
    a, b = _check_two(p, q, ("p", "q"))
    return (torch.xlogy(a, a) - torch.xlogy(a, b)).sum(1).to(p.dtype)


@full_precision
def agreement(
    probs: Float[Tensor, "n classes"], reference: Float[Tensor, "n classes"], *, per_point: bool = False
) -> Measured:
    """Return the share of inputs on which two predictive distributions have the same most probable class, from 0 to 1.

    Wilson et al. (2022), "agreement"; ties go to the first class. Higher is better.

    Args:
        probs: The predictions to judge, [n, classes].
        reference: The predictions to match, [n, classes].
        per_point: Return 0 or 1 per input instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; shapes, types or devices that differ.

    >>> agreement(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]]))
    tensor(0.5000)
    """
    a, b = _check_two(probs, reference, ("probs", "reference"))
    same = (a.argmax(1) == b.argmax(1)).double()
    return (same if per_point else same.mean()).to(probs.dtype)


@full_precision
def total_variation(
    probs: Float[Tensor, "n classes"], reference: Float[Tensor, "n classes"], *, per_point: bool = False
) -> Measured:
    """Return the mean total variation ½ Σ_k |p_k − q_k| between two predictive distributions, from 0 to 1.

    Wilson et al. (2022), "total variation". Lower is better. Predictions that are themselves means over S posterior
    samples differ by O(1/√S) even from a second such mean of the same posterior: that is the floor.

    Args:
        probs: The predictions to judge, [n, classes].
        reference: The predictions to match, [n, classes].
        per_point: Return the value of every input instead of their mean.

    Raises:
        TypeError, ValueError: Probabilities that do not sum to 1; shapes, types or devices that differ.

    >>> total_variation(torch.tensor([[0.9, 0.1]]), torch.tensor([[0.6, 0.4]]))
    tensor(0.3000)
    """
    a, b = _check_two(probs, reference, ("probs", "reference"))
    gap = 0.5 * (a - b).abs().sum(1)
    return (gap if per_point else gap.mean()).to(probs.dtype)


@full_precision
def out_of_distribution_auroc(*, inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> Estimate:
    """Return P(outside > inside) + ½ P(outside = inside): how well a score tells unknown inputs from known ones.

    The area under the ROC curve, with the standard error of DeLong, DeLong & Clarke-Pearson (1988). With V_j the
    share of inside scores below outside score j (ties count ½) and W_i the share of outside scores above inside
    score i, the area is the mean of either and its variance Var(V)/m + Var(W)/n. Unbiased.

    Args:
        inside: Uncertainty of inputs from the distribution that was trained on, [n]; at least 2.
        outside: Uncertainty of inputs from elsewhere, [m]; at least 2. Larger should mean more unknown.

    Returns:
        Value ± standard error; ½ is no information, 1 perfect; below ½ the score is the wrong way round.

    Raises:
        TypeError, ValueError: Scores that are no finite vectors of one type, or fewer than 2 of them.

    >>> print(out_of_distribution_auroc(inside=torch.tensor([0.1, 0.2, 0.6]), outside=torch.tensor([0.5, 0.9])))
    0.83 ± 0.24
    """
    known = check_tensor(inside, "inside", shape="[n]", ndim=1)
    unknown = check_tensor(outside, "outside", shape="[m]", ndim=1)
    check_alike(known, unknown, ("inside", "outside"))
    for scores, name in ((known, "inside"), (unknown, "outside")):
        if len(scores) < 2:
            raise ValueError(f"{name} must hold at least 2 scores, got 1; pass more")
    a, b = (v.detach().double() for v in (known, unknown))
    value, low, high = auroc_influence(a, b, *(torch.full_like(v, 1 / len(v)) for v in (a, b)))
    return Estimate(
        value=float(value),
        stderr=float(torch.cat([low, high]).norm()),
        better="higher",
        convention="P(outside > inside) + ½ P(=), DeLong's standard error",
        sizes=(len(b), len(a)),
        share=True,
    )


def _entropy(p: Tensor) -> Tensor:
    # A product with ones is many times as fast as a sum over a short last dimension.
    return torch.special.entr(p) @ p.new_ones(p.shape[-1])


def _entropy_of_each(p: Tensor) -> Tensor:
    """The samples' mean entropy: sample by sample, so that no copy of all of them is made."""
    return sum((_entropy(one.double()) for one in p), p.new_zeros(p.shape[1], dtype=torch.float64)) / len(p)


def _check_two(p: object, q: object, names: tuple[str, str]) -> tuple[Tensor, Tensor]:
    a, b = check_probabilities(p, names[0]), check_probabilities(q, names[1])
    if a.shape != b.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same shape, got {list(a.shape)} and {list(b.shape)}; "
            "predict the same inputs and classes"
        )
    check_alike(a, b, names)
    return a.double(), b.double()
