"""How far a generator of classes is from the truth: class by class, and as a distribution of pairs (x, y).

*Per class* every measure of `evaluate` compares the samples of a class with the real points of that class,
p(x | y = c); the mean over classes counts each class alike, with the error √(Σ_c se_c²)/C of C independent numbers.

*The joint distribution* of (x, y) is compared through the clouds of pairs

    (x, κ·e_y),     e_y the unit vector of the class,

so that a change of class is a move by √2·κ. κ² is twice the real points' total variance V, as in `gan`'s conditional
sample losses: that move squared is 4V, twice the mean squared distance 2V of independent points. Labels that are
swapped or ignored are seen here, and by the classification accuracy score, though the marginal of x is right.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, SupportsIndex

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm.auto import tqdm

from metrics.estimate import Estimate
from metrics.evaluation.classification import check_classes, classification_accuracy_score
from metrics.evaluation.conditional_report import ConditionalReport, mean_of_classes
from metrics.evaluation.evaluate import LEAST, Features, Measures, evaluate
from metrics.evaluation.labelled import Labelled
from metrics.evaluation.measures import Measure
from metrics.evaluation.report import Report
from metrics.evaluation.standard import standard_measures
from metrics.features.sources import identity
from metrics.inputs import check_cloud, check_count, check_positive, repeatable

__all__ = ["evaluate_conditional", "joint_cloud"]

ACCURACY = "classification_accuracy"
JOINT = ("sinkhorn_divergence", "mmd2", "energy_distance", "nn_accuracy")
"""The standard measures that the joint distribution is compared by."""


def evaluate_conditional(
    samples: object,
    reference: object,
    *,
    labels: object,
    reference_labels: object,
    classes: Iterable[int] | None = None,
    kappa: float | None = None,
    measures: Measures | None = None,
    joint: Sequence[Measure] | None = None,
    classifier: object = None,
    features: Features | None = None,
    features_for: Literal["frechet", "all"] = "frechet",
    train: object = None,
    train_labels: object = None,
    generator: torch.Generator | None = None,
    splits: SupportsIndex = 40,
    permutations: SupportsIndex = 199,
    memory: float | int = 2**30,
    progress: bool = True,
) -> ConditionalReport:
    """Measure how far generated pairs (x, y) are from real ones, class by class and jointly.

    Args:
        samples: Generated samples [n, ...], as for `evaluate`; tensors and arrays.
        reference: Real ones, held out [m, ...].
        labels: The class of each sample, [n], whole numbers from 0.
        reference_labels: Those of the reference, [m].
        classes: Which classes are judged one by one, each with 20 samples and 20 real points or more; None is every
            class that occurs in either. The joint measures always see all pairs.
        kappa: κ; None is √2 times the root of the reference's total variance.
        measures: For each class; None is `standard_measures()`.
        joint: For the pairs; None is Sinkhorn divergence, MMD², energy distance and 1-NN accuracy.
        classifier: For the classification accuracy score; None is its own default.
        features: As for `evaluate`. With `features_for="all"` the joint measures and the classifier see them too.
        features_for: As for `evaluate`.
        train: Training samples, for floors: of each class at least as many as samples are needed.
        train_labels: Their classes.
        generator: As for `evaluate`; also for the classifier.
        splits: As for `evaluate`.
        permutations: As for `evaluate`.
        memory: As for `evaluate`.
        progress: Show a bar over the classes, where there is a terminal.

    Raises:
        TypeError, ValueError: What `evaluate` refuses, and labels that are none, a class with too few points.

    >>> y = torch.arange(300) % 3
    >>> x, real = 3.0 * y[:, None] + torch.randn(2, 300, 1, generator=torch.Generator().manual_seed(0))
    >>> report = evaluate_conditional(x, real, labels=(y + 1) % 3, reference_labels=y)
    >>> report.joint["energy_distance"].p_value, evaluate(x, real)["energy_distance"].p_value > 0.05
    (0.005, True)
    """
    if (train is None) != (train_labels is None):
        raise ValueError("train and train_labels must be given together; pass both or neither")
    parts = [Labelled.of(samples, labels, "samples"), Labelled.of(reference, reference_labels, "reference")]
    parts += [] if train is None else [Labelled.of(train, train_labels, "train")]
    options: dict[str, Any] = {"splits": splits, "permutations": permutations, "memory": memory}
    options |= {"generator": generator, "progress": False}
    found: dict[int, Report] = {}
    for label in tqdm(_wanted(classes, *parts[:2]), disable=None if progress else True, unit="class"):
        seen = {"measures": measures, "features": features, "features_for": features_for}
        seen |= {"train": parts[2].part(label)} if train is not None else {}
        try:
            found[label] = evaluate(parts[0].part(label), parts[1].part(label), **seen, **options)
        except (ValueError, TypeError) as error:
            raise type(error)(f"class {label}: {error}") from error
    through = features if features_for == "all" else None
    parts = [part.seen(through) for part in parts]
    scale = _kappa(kappa, parts[1])
    count = 1 + max(int(part.labels.max()) for part in parts)
    pairs = [joint_cloud(part.given, part.labels, num_classes=count, kappa=scale) for part in parts]
    chosen = _joint_measures() if joint is None else joint
    of_pairs = evaluate(
        pairs[0], pairs[1], measures=chosen, train=pairs[2] if train is not None else None, **options
    )
    estimates = {**of_pairs.estimates, ACCURACY: _accuracy(parts, classifier, generator)}
    names = tuple(estimates) if through else ()
    of_pairs = replace(of_pairs, estimates=estimates, features=identity(through), on_features=names)
    return ConditionalReport(found, mean_of_classes(list(found.values())), of_pairs, scale)


def joint_cloud(
    x: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], *, num_classes: SupportsIndex, kappa: float | int
) -> Float[Tensor, "n k"]:
    """Return the pairs (x, κ·e_y), [n, d + classes]: what any measure of clouds sees as a distribution of pairs.

    >>> joint_cloud(torch.zeros(2, 1), torch.tensor([0, 1]), num_classes=2, kappa=3.0)
    tensor([[0., 3., 0.],
            [0., 0., 3.]])
    """
    cloud, count = check_cloud(x), check_count(num_classes, "num_classes")
    y = check_classes(labels, len(cloud), "labels").to(cloud.device)
    if int(y.max()) >= count:
        raise ValueError(f"labels must be below num_classes = {count}, got {int(y.max())}; count all classes")
    return torch.cat([cloud, check_positive(kappa, "kappa") * one_hot(y, count).to(cloud)], 1)


def _wanted(classes: Iterable[int] | None, made: Labelled, real: Labelled) -> list[int]:
    """The classes that are judged one by one; each must have enough points."""
    if classes is not None and not isinstance(classes, Iterable):
        raise TypeError(f"classes must be several, got {type(classes).__name__}; write classes=[{classes}]")
    present = torch.cat([made.labels.cpu(), real.labels.cpu()]).unique().tolist()
    wanted = present if classes is None else [check_count(label, "classes", least=0) for label in classes]
    counts = {c: [int((part.labels == c).sum()) for part in (made, real)] for c in {*wanted, *present}}
    few = [c for c in wanted if min(counts[c]) < LEAST]
    if few or not wanted:
        told = ", ".join(f"{counts[c][0]} and {counts[c][1]} of class {c}" for c in few[:5]) or "no class"
        enough = [c for c in present if min(counts[c]) >= LEAST]
        fewer = f", or pass classes={enough}" if enough else ""
        raise ValueError(
            f"classes must have at least {LEAST} samples and {LEAST} points of reference each, got {told}; give "
            f"more of them{fewer}"
        )
    return wanted


def _kappa(kappa: float | None, reference: Labelled) -> float:
    if kappa is not None:
        return check_positive(kappa, "kappa")
    variance = float(reference.given.double().var(0, unbiased=False).sum())
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(
            f"kappa must be given where the reference has no finite variance above 0, got {variance:g}; pass kappa=1.0"
        )
    return math.sqrt(2 * variance)


def _joint_measures() -> list[Measure]:
    return [each for each in standard_measures() if each.rows[0].name in JOINT]


def _accuracy(parts: Sequence[Labelled], classifier: object, generator: torch.Generator | None) -> Estimate:
    """The classification accuracy score, and that of training points in the samples' place."""
    made, real = parts[:2]

    def score(points: Tensor, labels: Tensor) -> tuple[float, float]:
        found = classification_accuracy_score(
            points, labels, real.given, real.labels, classifier=classifier, generator=generator
        )
        return float(found.accuracy), float(found.stderr)

    told, sizes = (
        "share of the reference named rightly by a classifier of the samples",
        (len(made.given), len(real.given)),
    )
    estimate = Estimate(*score(made.given, made.labels), "higher", told, sizes, share=True)
    if len(parts) < 3:
        return estimate
    random = repeatable(generator)
    points, labels = parts[2].given, parts[2].labels
    pick = torch.randperm(len(points), generator=random, device=random.device)[: len(made.given)].to(
        points.device
    )
    floor, floor_stderr = score(points[pick], labels[pick])
    return replace(estimate, floor=floor, floor_stderr=floor_stderr)
