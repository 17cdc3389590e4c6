"""Classification accuracy score: does a classifier that learned from generated pairs (x, y) know the real ones?

Ravuri & Vinyals (2019), "Classification accuracy score for conditional generative models", section 3: a classifier is
trained on samples with the classes that they were asked for, and tested on real data,

    CAS = P_real( ŷ(x; trained on generated) = y ).

It is high only if the samples of each class look like that class *and* are as diverse: it judges p(x | y), where
measures of the marginal p(x) cannot see labels that were swapped. What a classifier trained on as many real samples
scores is its floor.

**Error.** Given the trained classifier the test points are independent trials, and the error is binomial (Agresti &
Coull 1998, so that it is never 0). It does not hold the chance of the training; train with several seeds to see that.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_dense, check_pair, from_array, repeatable
from metrics.neighbours.two_sample import Classifier
from metrics.precision import full_precision
from metrics.predictions.binning import binomial_stderr

__all__ = ["ClassificationAccuracy", "check_classes", "class_numbers", "classification_accuracy_score"]


@dataclass(frozen=True)
class ClassificationAccuracy:
    """The outcome of `classification_accuracy_score`, in float64.

    Attributes:
        accuracy: The share of real points whose class is named rightly; a 0-dim tensor.
        stderr: Its binomial standard error; a 0-dim tensor.
        per_class: The same share within each real class, [classes]; NaN for a class without a real point.
        per_class_stderr: Their errors, [classes].
    """

    accuracy: Float[Tensor, ""]
    stderr: Float[Tensor, ""]
    per_class: Float[Tensor, " k"]
    per_class_stderr: Float[Tensor, " k"]


@full_precision
def classification_accuracy_score(
    samples: Float[Tensor, "n d"],
    labels: object,
    reference: Float[Tensor, "m d"],
    reference_labels: object,
    *,
    classifier: object = None,
    generator: torch.Generator | None = None,
) -> ClassificationAccuracy:
    """Train a classifier on generated pairs and return how many real pairs it names rightly.

    Args:
        samples: Generated samples [n, d].
        labels: The classes they were asked for, [n], whole numbers from 0; two classes or more.
        reference: Real samples [m, d] that neither the generator nor anything else was trained on.
        reference_labels: Their classes [m].
        classifier: Anything with scikit-learn's `fit` and `predict`, which is trained by this call. None is a network
            with one hidden layer of 128 units. It sees points minus the samples' mean over the root of their mean
            variance: one scale for all columns, so that a pixel which hardly varies among the samples stays small.
        generator: For the default classifier's initial weights and batches; None is seeded with 0.

    Raises:
        ValueError: Clouds that cannot be compared, labels of another length, a single class.
        TypeError: Labels that are no whole numbers, a classifier that is none.

    Reference: Ravuri & Vinyals 2019, arXiv 1905.10887, section 3.

    >>> y = torch.arange(200) % 2
    >>> x = 4.0 * y[:, None] + torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    >>> right = classification_accuracy_score(x, y, x + 0.1, y)
    >>> swapped = classification_accuracy_score(x, 1 - y, x + 0.1, y)
    >>> bool(right.accuracy > 0.9), bool(swapped.accuracy < 0.1)
    (True, True)
    """
    check_pair(samples, reference, ("samples", "reference"))
    y, real_y = (
        check_classes(given, len(x), name).cpu()
        for given, x, name in (
            (labels, samples, "labels"),
            (reference_labels, reference, "reference_labels"),
        )
    )
    if len(y.unique()) < 2:
        raise ValueError(
            f"labels must hold two classes or more, got {int(y[0])} alone; with one class metrics.evaluate says all"
        )
    model = _checked_classifier(classifier, generator)
    rows, real_rows = (x.detach().double().cpu().numpy() for x in (samples, reference))
    mean, scale = rows.mean(0), float(np.sqrt(rows.var(0).mean())) or 1.0
    _fit(model, (rows - mean) / scale, y.numpy())
    right = torch.as_tensor(np.asarray(model.predict((real_rows - mean) / scale)) == real_y.numpy())
    classes = 1 + int(torch.cat([y, real_y]).max())
    counts = real_y.bincount(minlength=classes).double()
    hits = real_y[right].bincount(minlength=classes).double()
    return ClassificationAccuracy(
        right.double().mean(),
        binomial_stderr(hits.sum(), counts.sum()),
        hits / counts,
        binomial_stderr(hits, counts).where(counts > 0, torch.nan),
    )


def check_classes(labels: object, n: int, name: str) -> Tensor:
    """Return classes [n], whole numbers from 0, as int64.

    >>> check_classes(np.array([0, 2], dtype=np.int32), 2, "labels")
    tensor([0, 2])
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "iub":
        raise TypeError(
            f"{name} must be whole numbers, got {labels.dtype}; number the classes, numpy.unique(labels, "
            "return_inverse=True)[1]"
        )
    classes = check_dense(from_array(labels, name), name)
    if classes.shape != (n,):
        remedy = class_numbers(classes, name)
        raise ValueError(f"{name} must be [{n}], one a sample, got {list(classes.shape)}; {remedy}")
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise TypeError(f"{name} must be whole numbers, got {classes.dtype}; {class_numbers(classes, name)}")
    # Unsigned types of more than 8 bits have no order in torch.
    classes = classes.long()
    if bool((classes < 0).any()):
        raise ValueError(f"{name} must be 0 or more, got {int(classes.min())}; number the classes from 0")
    return classes


def class_numbers(labels: Tensor, name: str) -> str:
    """What makes class numbers of labels in another form, for a message.

    A column has one number a sample, whose largest is always the first; only a wider matrix is one of unit vectors.

    >>> class_numbers(torch.zeros(5, 1), "labels"), class_numbers(torch.tensor([0.0, 1.0]), "labels")
    ('drop the last dimension, labels[:, 0]', 'convert with .long()')
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        return f"drop the last dimension, {name}[:, 0]"
    if labels.ndim == 2:
        return "of unit vectors take .argmax(1)"
    if labels.ndim == 1 and not labels.is_floating_point() and labels.dtype != torch.bool:
        return "pass one for each sample"
    whole = labels.dtype == torch.bool or (
        labels.is_floating_point() and bool((labels == labels.round()).all())
    )
    return "convert with .long()" if whole and labels.ndim == 1 else "give the index of each class"


def _checked_classifier(classifier: object, generator: torch.Generator | None) -> Classifier:
    if classifier is not None:
        if not isinstance(classifier, Classifier):
            raise TypeError(
                f"classifier must have fit and predict, got {type(classifier).__name__}; see scikit-learn"
            )
        return classifier
    from sklearn.neural_network import MLPClassifier

    random = repeatable(generator)
    seed = int(torch.randint(2**31, (), generator=random, device=random.device))
    return MLPClassifier((128,), alpha=1e-3, learning_rate_init=3e-3, max_iter=200, random_state=seed)


def _fit(model: Classifier, rows: Any, labels: Any) -> None:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # A network that stopped early is still a classifier.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, labels)
