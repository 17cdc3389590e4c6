"""Measures as `evaluate` takes them that ask whether a model repeats its training data.

The samples are compared with the training data and with the reference, which stands for the held-out data: a model that
generalises is as near to the one as to the other. `copying_measures` look at nearest neighbours and need no more than
distances; `feature_likelihood_measure`, FLD, fits a density to features. None has a floor: training points in the
samples' place are copies.
"""

from jaxtyping import Float
from torch import Tensor

from metrics.evaluation.measures import Measure, ReportRow, Work
from metrics.evaluation.pair import Pair
from metrics.gaussians.feature_likelihood import CENTRES, EPOCHS, KEPT, feature_likelihood_divergence
from metrics.inputs import check_cloud
from metrics.neighbours.authenticity import authenticity
from metrics.neighbours.copying import data_copying_test
from metrics.neighbours.memorisation import memorisation

__all__ = ["copying_measures", "feature_likelihood_measure"]

COPIED = 50_000
"""Points of either cloud that are searched for copies at most."""


def copying_measures(train: Float[Tensor, "k d"]) -> list[Measure]:
    """Return measures of copying the training data; the reference of `evaluate` is the held-out data.

    Args:
        train: What the model was trained on, [k, d], as the measures see the points: features where they see features.

    Returns:
        nearer_train (share of samples nearer to training than to held-out points; its chance is the best value),
        authenticity, and C_T with Z scores in three cells of k-means. They have no floor: true samples that come from
        the training set are copies.

    >>> import torch
    >>> [row.name for measure in copying_measures(torch.zeros(5, 2)) for row in measure.rows]
    ['nearer_train', 'authenticity', 'data_copying']
    """
    check_cloud(train, "train", least=2)

    def nearer(pair: Pair) -> tuple[Tensor, Tensor]:
        found = memorisation(pair.x, train=train.to(pair.x), held_out=pair.y)
        # The chance depends on the sizes: the row is the share over its expectation.
        return (found.nearer_train / found.expected)[None], (found.stderr / found.expected)[None]

    def authentic(pair: Pair) -> tuple[Tensor, Tensor]:
        found = authenticity(pair.x, train=train.to(pair.x))
        return found.share[None], found.stderr[None]

    def copied(pair: Pair) -> tuple[Tensor, Tensor]:
        found = data_copying_test(pair.x, train=train.to(pair.x), held_out=pair.y)
        return found.statistic[None], found.stderr[None]

    def search(work: Work) -> float:
        return work.n * (work.m + len(train)) * (1e-8 + 1e-10 * work.d)

    rows = (
        ReportRow("nearer_train", 1.0, "share of samples nearest to a training point / its chance"),
        ReportRow(
            "authenticity",
            "neither",
            "share farther from the data than those are from each other",
            share=True,
        ),
        ReportRow("data_copying", 0.0, "C_T, far below 0 for copies, above for samples far away; 3 cells"),
    )
    tests = (
        lambda pair: memorisation(pair.x, train=train.to(pair.x), held_out=pair.y).p_value[None],
        None,
        lambda pair: data_copying_test(pair.x, train=train.to(pair.x), held_out=pair.y).p_value[None],
    )
    return [
        Measure(
            (row,),
            lambda pair, both=both: both(pair)[0],
            on_points=True,
            with_stderr=both,
            p_values=test,
            floor=False,
            most=COPIED,
            seconds=search,
        )
        for row, both, test in zip(rows, (nearer, authentic, copied), tests, strict=True)
    ]


def feature_likelihood_measure(train: Float[Tensor, "k d"]) -> Measure:
    """Return FLD of the samples with its error; the reference of `evaluate` is the held-out data.

    Args:
        train: What the model was trained on, [k, d], as the measures see the points: features where they see features.
            No column may be constant in the reference, as the corners of pictures are: FLD is a number of features.

    >>> import torch
    >>> feature_likelihood_measure(torch.zeros(5, 2)).rows[0].name
    'feature_likelihood'
    """
    check_cloud(train, "train", least=2)

    def with_stderr(pair: Pair) -> tuple[Tensor, Tensor]:
        found = feature_likelihood_divergence(pair.x, train=train.to(pair.x), held_out=pair.y)
        return found.value[None], found.stderr[None]

    row = ReportRow("feature_likelihood", "lower", "FLD, hundredths of a nat a dimension; 0 for true samples")
    return Measure(
        (row,),
        lambda pair: with_stderr(pair)[0],
        on_points=True,
        with_stderr=with_stderr,
        floor=False,
        most=COPIED,
        seconds=lambda w: len(train) * min(w.n, CENTRES) * (2e-8 * EPOCHS + 2e-10 * w.d),
        bytes=lambda w: 8 * min(len(train) * min(w.n, CENTRES), KEPT),
    )
