"""Measures as `evaluate` takes them, beyond the standard ones: what papers and other tools report.

`published_measures` compare samples with the reference: KID, of all points and over its published subsets, CMMD, MIND,
FD∞, and the accuracy of a small network that is trained to tell the clouds apart. `inception_measure` asks a
classifier. What asks for copies of the training data is in `copying.py`.
Their numbers hang on the features: KID, MIND and FD∞ are quoted in Inception's, CMMD in CLIP's.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metrics.evaluation.influence import frechet_influence, sliced_influence
from metrics.evaluation.measures import Measure, ReportRow, Work
from metrics.evaluation.pair import Pair
from metrics.evaluation.permutation import polynomial_permuted
from metrics.evaluation.shared import kernel_sums_of, once
from metrics.gaussians.extrapolated import frechet_distance_infinity
from metrics.kernels.aggregated import AggregatedTest, aggregated_mmd_test
from metrics.kernels.inception_distance import kernel_inception_distance
from metrics.kernels.kernel import Gaussian, Polynomial
from metrics.neighbours.two_sample import ClassifierTest, classifier_two_sample_test
from metrics.predictions.binning import binomial_stderr
from metrics.predictions.inception_score import inception_score
from metrics.transport.mind import monge_inception_distance

__all__ = ["inception_measure", "published_measures"]

CLASSIFIED = 5000
"""Points of either cloud that the network is trained and tested on at most."""

AGGREGATED = 1000
"""Points of either cloud that MMDAgg takes at most: 2000 relabellings of 20 kernels of so many take some 10 s."""

CLIP = Gaussian(10.0)


def published_measures() -> list[Measure]:
    """Return the measures that are reported elsewhere, for `evaluate` beside or in place of the standard ones.

    | row | what | error | p-value |
    |---|---|---|---|
    | mmd2_aggregated | MMD² of the kernel of 20 that tells the clouds apart best, 1000 points | both orders | MMDAgg |
    | kid | U-statistic of all points, kernel (⟨x, y⟩/d + 1)³ | both orders of its variance | permutations |
    | kid_subsets | mean over 100 subsets of 1000, as published | that of `kid` and of the subsets | |
    | cmmd | 1000 × V-statistic, Gaussian of σ = 10 | both orders of its variance | |
    | mind | 3d·SW_2², 1000 directions | Kantorovich potentials on the lines | |
    | frechet_infinity | intercept of 15 Fréchet distances in 1/n | quadratic potentials, and the subsets | |
    | classifier_accuracy | a network's balanced accuracy on held-out halves | binomial | exact |

    >>> [row.name for measure in published_measures() for row in measure.rows]
    ['mmd2_aggregated', 'kid', 'kid_subsets', 'cmmd', 'mind', 'frechet_infinity', 'classifier_accuracy']
    """
    return [
        Measure(
            (
                ReportRow(
                    "mmd2_aggregated", "lower", "MMD², U-statistic, the best of 20 kernels; p by MMDAgg"
                ),
            ),
            lambda pair: _best_kernel(pair)[0],
            with_stderr=_best_kernel,
            root_variance=lambda pair: kernel_sums_of(pair, _aggregated(pair).kernel).root_variance()[None],
            p_values=lambda pair: _aggregated(pair).p_value[None],
            most=AGGREGATED,
            seconds=lambda w: (w.n + w.m) ** 2 * (20 * 4e-8 + 4e-9 * w.d) * (1 if w.n == w.m else 4),
        ),
        Measure(
            (ReportRow("kid", "lower", "MMD², U-statistic of all points, kernel (⟨x, y⟩/d + 1)³"),),
            lambda pair: _kid(pair)[0],
            with_stderr=_kid,
            root_variance=lambda pair: kernel_sums_of(pair, Polynomial()).root_variance()[None],
            permuted=polynomial_permuted,
            kernels=lambda pair: ([Polynomial()], [Polynomial()]),
            seconds=lambda w: _pairs(w) * (1e-10 * w.d + 6e-11 * w.permutations + 1e-8),
        ),
        Measure(
            (ReportRow("kid_subsets", "lower", "mean over 100 subsets of 1000, kernel (⟨x, y⟩/d + 1)³"),),
            lambda pair: _kid_subsets(pair)[0],
            with_stderr=_kid_subsets,
            kernels=lambda pair: ([Polynomial()], []),
            seconds=lambda w: 100 * 2 * min(w.n, w.m, 1000) ** 2 * (1e-10 * w.d + 1e-8),
        ),
        Measure(
            (ReportRow("cmmd", "lower", "1000 × V-statistic of MMD², Gaussian kernel of σ = 10"),),
            lambda pair: _cmmd(pair)[0],
            with_stderr=_cmmd,
            kernels=lambda pair: ([CLIP], []),
            seconds=lambda w: _pairs(w) * (1e-10 * w.d + 1e-8),
        ),
        Measure(
            (ReportRow("mind", "lower", "3d·SW_2², 1000 projections"),),
            lambda pair: _mind(pair)[0],
            with_stderr=_mind,
            seconds=lambda w: 1100 * (w.n + w.m) * (3e-7 + 1e-10 * w.d),
        ),
        Measure(
            (ReportRow("frechet_infinity", "lower", "intercept of a line in 1/n, 15 sizes from n/10"),),
            lambda pair: _infinity(pair)[0],
            on_features=True,
            with_stderr=_infinity,
            seconds=lambda w: 15 * (1e-10 * (w.n + w.m) * w.d**2 + 2e-9 * w.d**3),
        ),
        Measure(
            (
                ReportRow(
                    "classifier_accuracy",
                    0.5,
                    "one hidden layer of 32, balanced, held-out halves",
                    share=True,
                ),
            ),
            lambda pair: _classified(pair).accuracy[None],
            with_stderr=_classifier,
            p_values=lambda pair: _classified(pair).p_value[None],
            most=CLASSIFIED,
            seconds=lambda w: 50 * (w.n + w.m) * (1e-5 + 1e-7 * w.d),
        ),
    ]


@runtime_checkable
class Scorer(Protocol):
    """Whatever gives class scores for the points of a cloud: an `ImageClassifier`, or `InceptionFeatures`."""

    @property
    def name(self) -> str:
        """What it is, for reports."""
        ...

    def logits(self, x: Tensor, /) -> Tensor:
        """Return scores [n, classes] whose softmax are probabilities."""
        ...


def inception_measure(classifier: Scorer) -> Measure:
    """Return the Inception score of the samples by a classifier of their points: of all samples, with its error.

    Args:
        classifier: An `ImageClassifier` of images; `InceptionFeatures` where the clouds are its features already.

    >>> from metrics.features.classifier import digits_classifier
    >>> inception_measure(digits_classifier()).rows[0].name
    'inception_score'
    """

    def with_stderr(pair: Pair) -> tuple[Tensor, Tensor]:
        found = inception_score(classifier.logits(pair.x).double().softmax(1), splits=1)
        return found.value[None], found.stderr[None]

    row = ReportRow(
        "inception_score", "higher", f"exp of the mutual information of image and class, {classifier.name}"
    )
    return Measure((row,), lambda pair: with_stderr(pair)[0], on_points=True, with_stderr=with_stderr)


def _aggregated(pair: Pair) -> AggregatedTest:
    return once(pair, "aggregated", lambda: aggregated_mmd_test(pair.x.double(), pair.y.double()))


def _best_kernel(pair: Pair) -> tuple[Tensor, Tensor]:
    sums = kernel_sums_of(pair, _aggregated(pair).kernel)
    return sums.value()[None], sums.stderr()[None]


def _kid(pair: Pair) -> tuple[Tensor, Tensor]:
    sums = kernel_sums_of(pair, Polynomial())
    return sums.value()[None], sums.stderr()[None]


def _kid_subsets(pair: Pair) -> tuple[Tensor, Tensor]:
    size = min(1000, *pair.sizes)
    found = kernel_inception_distance(pair.x.double(), pair.y.double(), subset_size=size)
    whole = kernel_sums_of(pair, Polynomial()).stderr()
    subsets = found.values.var() / len(found.values)
    return found.mean[None], (whole.square() + subsets).sqrt()[None]


def _cmmd(pair: Pair) -> tuple[Tensor, Tensor]:
    sums = kernel_sums_of(pair, CLIP)
    return 1000 * sums.v_statistic(own=1.0)[None], 1000 * sums.shrunk().stderr()[None]


def _mind(pair: Pair) -> tuple[Tensor, Tensor]:
    d = pair.x.shape[1]
    normal = torch.randn(128, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = sliced_influence(pair.x, pair.y, (normal / normal.norm(dim=1, keepdim=True)).to(pair.x.device))
    value = monge_inception_distance(pair.x, pair.y).double()
    return value[None], 3 * d * found.stderr[None]


def _infinity(pair: Pair) -> tuple[Tensor, Tensor]:
    """The line's value; its error from the potentials f and g, and from the choice of independent random subsets.

    To first order FD of the subset k is its mean of f: Σ w_k = 1 leaves Var f/n, and given the points the subsets have
    the variances Var f·(1/n_k − 1/n).
    """
    found, whole = frechet_distance_infinity(pair.x, pair.y), frechet_influence(pair.x, pair.y)
    n, m = pair.sizes
    w, sizes = found.weights.double(), found.sizes.double().to(pair.x.device)
    of_x = 1 / n + (w.square() * (1 / sizes - 1 / n)).sum()
    stderr = (whole.x.var() * of_x + whole.y.var() / m).sqrt()
    return found.value.double()[None], stderr[None]


def _classified(pair: Pair) -> ClassifierTest:
    return once(pair, "classifier", lambda: classifier_two_sample_test(pair.x.double(), pair.y.double()))


def _classifier(pair: Pair) -> tuple[Tensor, Tensor]:
    accuracy = _classified(pair).accuracy
    held = torch.tensor([n - n // 2 for n in pair.sizes], dtype=torch.float64)
    # Each cloud's share of right answers has its own error; both are near the mean of the two.
    errors = binomial_stderr(accuracy.cpu() * held, held)
    return accuracy[None], (errors.square().sum().sqrt() / 2)[None]


def _pairs(work: Work) -> float:
    return (work.n + work.m) ** 2 / 2
