"""Two-sample tests by classification: can a classifier tell two clouds apart?

If P = Q no classifier beats chance on points that it has not seen (Friedman 2003; Lopez-Paz & Oquab 2017).
Accuracies here are *balanced*, the mean of the two clouds' own shares of correct answers, so that chance is
½ whatever n and m are.

*Leave-one-out nearest neighbour* (Xu et al. 2018): each point of the pooled cloud is given the label of its
nearest other point. For exchangeable points the expectation is exactly (n + m − 2)/2(n + m − 1), just below
½. Near 1 the clouds are apart; near 0 the points of one sit on those of the other: a model that has
memorised its data. Where several nearest points are equally far, the share of them with the right label
counts, so that no order of the points matters.

*Classifier test* (Lopez-Paz & Oquab 2017): a classifier is trained on one half of each cloud and asked
about the other half. Given its answers on N held-out points, a of which it gave to x, and n of which are
from x, the number h of right answers among these is hypergeometric(N, n, a) under P = Q, since every
assignment of the labels to the held-out points is equally likely. So P(H ≥ h) is an exact p-value (Fisher's
exact test, one-sided) at any sample size, with no simulation.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_pair, repeatable
from metrics.neighbours.search import nearest_pairs
from metrics.precision import full_precision

__all__ = [
    "Classifier",
    "ClassifierTest",
    "classifier_two_sample_test",
    "nearest_neighbour_accuracy",
]


@runtime_checkable
class Classifier(Protocol):
    """What scikit-learn's classifiers are."""

    def fit(self, X: Any, y: Any) -> Any:
        """Learn labels y from rows X."""
        ...

    def predict(self, X: Any) -> Any:
        """Return a label per row."""
        ...


@dataclass(frozen=True)
class ClassifierTest:
    """The outcome of a classifier two-sample test.

    Attributes:
        accuracy: Balanced accuracy on the held-out halves, ½ by chance; a 0-dim tensor.
        p_value: Probability of at least this accuracy if both clouds have one distribution; a 0-dim tensor.
    """

    accuracy: Float[Tensor, ""]
    p_value: Float[Tensor, ""]


@full_precision
def nearest_neighbour_accuracy(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Return the balanced leave-one-out accuracy of the 1-nearest-neighbour classifier between two clouds.

    Args:
        x: Samples, [n, d], n ≥ 2.
        y: Samples, [m, d], m ≥ 2.

    Returns:
        A 0-dim tensor in [0, 1]: ½ for equal distributions, 1 for clouds apart, 0 where each point's nearest is of
        the other cloud, as for a cloud and its copy. Not differentiable. Memory is O(block), not O((n + m)²).

    Raises:
        ValueError: Clouds that cannot be compared, or a single point.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> nearest_neighbour_accuracy(x, x + 9), nearest_neighbour_accuracy(x, x)
    (tensor(1.), tensor(0.))
    """
    check_pair(x, y, least=2)
    with torch.no_grad():
        rows, columns = nearest_pairs(torch.cat([x, y]))
        own = (rows < len(x)) == (columns < len(x))
        share = rows[own].bincount(minlength=len(x) + len(y)).double() / rows.bincount()
        value = (share[: len(x)].mean() + share[len(x) :].mean()) / 2
    return value.to(x.dtype)


@full_precision
def classifier_two_sample_test(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"],
    *,
    generator: torch.Generator | None = None,
    classifier: Classifier | None = None,
) -> ClassifierTest:
    """Train a classifier on half of each cloud and test on the other half whether it can tell them apart.

    Args:
        x: Samples, [n, d], n ≥ 4.
        y: Samples, [m, d], m ≥ 4.
        generator: For the split and the default classifier's initial weights; `None` is seeded with 0.
        classifier: Anything with scikit-learn's `fit` and `predict`, labels 0 for x and 1 for y. `None` is
            a network with one hidden layer of 32 units on standardised columns, which also sees differences
            of spread and of dependence that a linear rule cannot.

    Returns:
        Balanced accuracy on the held-out halves and its exact one-sided p-value. The p-value holds for any
        classifier; its power does not. Both are 0-dim tensors without a gradient.

    Raises:
        ValueError: Clouds that cannot be compared, or fewer than four points in one.

    >>> x, y = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0)).unbind()
    >>> bool(classifier_two_sample_test(x, y + 2).p_value < 1e-6)
    True
    """
    from scipy.stats import hypergeom
    from sklearn.exceptions import ConvergenceWarning

    check_pair(x, y, least=4)
    if classifier is not None and not isinstance(classifier, Classifier):
        raise TypeError(
            f"classifier must have fit and predict, got {type(classifier).__name__}; see scikit-learn"
        )
    random = repeatable(generator)
    (train_x, held_x), (train_y, held_y) = (_halve(cloud, random) for cloud in (x, y))
    seed = int(torch.randint(2**31, (), generator=random, device=random.device))
    model = _default_classifier(seed) if classifier is None else classifier
    train = np.concatenate([train_x, train_y])
    mean, scale = train.mean(0), train.std(0)
    # A constant column's standard deviation is a rounding of its mean.
    scale[scale <= 1e-12 * np.abs(train).max(0)] = 1
    with warnings.catch_warnings():
        # A network that stopped early is still a valid classifier: only power is lost.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((train - mean) / scale, np.repeat([0, 1], [len(train_x), len(train_y)]))
    said_x, said_y = (np.asarray(model.predict((held - mean) / scale)) == 0 for held in (held_x, held_y))
    right_x, right_y = int(said_x.sum()), int((~said_y).sum())
    accuracy = (right_x / len(said_x) + right_y / len(said_y)) / 2
    total = len(said_x) + len(said_y)
    p_value = hypergeom.sf(right_x - 1, total, len(said_x), right_x + int(said_y.sum()))
    return ClassifierTest(x.new_tensor(accuracy), x.new_tensor(float(p_value)))


def _halve(cloud: Tensor, random: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = torch.randperm(len(cloud), generator=random, device=random.device).cpu()
    rows = cloud.detach().double().cpu()[order].numpy()
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def _default_classifier(seed: int) -> Classifier:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((32,), alpha=1e-3, learning_rate_init=1e-2, max_iter=100, random_state=seed)
