"""Predictions of many models judged in one call, or batch by batch.

A prediction is a bank of posterior samples' predictions; what is judged is their mixture, p(y | x) = (1/S) Σ_s p(y
| x, θ_s). Errors are those over fresh test points, of the predictions as they are: another training gives another
model, whose scatter is in no error here.
"""

from collections.abc import Mapping, Sequence
from typing import SupportsFloat, SupportsIndex

import torch
from torch import Tensor

from metrics.evaluation.predictions.batch import Settings, checked_batch, reduced_batch
from metrics.evaluation.predictions.comparison import PredictionComparison
from metrics.evaluation.predictions.numbers import difference
from metrics.evaluation.predictions.points import Points
from metrics.evaluation.predictions.predicted import Likelihood
from metrics.evaluation.predictions.state import PointState
from metrics.evaluation.report import Report
from metrics.inputs import check_count, check_fraction
from metrics.precision import full_precision
from metrics.streaming.accumulator import Accumulator

__all__ = ["PredictionAccumulator", "evaluate_predictions"]


@full_precision
def evaluate_predictions(
    predictions: object,
    y: object,
    *,
    reference: object | None = None,
    outside: Mapping[str, object] | None = None,
    baseline: str | None = None,
    likelihood: Likelihood | None = None,
    chains: SupportsIndex = 1,
    weights: object | None = None,
    groups: object | None = None,
    ignore_index: int | None = None,
    ordinal: bool = False,
    bins: SupportsIndex = 15,
    level: SupportsFloat = 0.9,
) -> PredictionComparison:
    """Judge predictions of the same test points: scores with errors, paired differences, floors, pictures.

    What y is decides the rows:

    - int64 [n], labels from 0: probabilities [samples, n, classes]; of two classes also [samples, n], of class 1;
    - int64 or bool [n, labels], 0 or 1: probabilities [samples, n, labels];
    - float [n] or [n, d]: draws of the target [samples, n(, d)], a pair (mean, std), a
      `torch.distributions.Distribution` over y's shape or over [samples, *y's shape], or, with `likelihood=`, a
      network's outputs [samples, n, ...].

    Classes: NLL, accuracy, Brier and its decomposition, calibration error of the top label, of all classes and
    without bins, each with the floor of a calibrated model, AURC and error detection, entropy and its epistemic
    part, AUROC and FPR95 of `outside` inputs. Regressions: NLL where there are densities, RMSE, MAE, CRPS, energy
    score of several outputs, coverage, width and score of central intervals, quantile calibration. With a
    reference: agreement and total variation, for regressions W₁.

    Args:
        predictions: A mapping from names to predictions, or one prediction.
        y: The outcomes.
        reference: What is taken for the truth, such as long HMC: a name of `predictions`, or its predictions.
        outside: From the name of a set of inputs from elsewhere to each model's predictions of it, or to those of
            one model.
        baseline: The model that others are compared to, point by point; None is the first.
        likelihood: From outputs [n, ...] to a `torch.distributions.Distribution` of y, such as
            `bayessgd.likelihoods.Gaussian(0.1)`.
        chains: How many chains follow each other among the reference's samples; from two on, their halves against
            each other are the floor of the distances to the reference.
        weights: Of the test points, [n], not negative.
        groups: A label per point: the same comparison in every group, `.groups` and `.by_group(row)`; `groups=y`
            is per class.
        ignore_index: Points with this label are left out.
        ordinal: The classes have an order: adds the ranked probability score and the distance of classes.
        bins: Of the calibration errors and of the decomposition.
        level: Of the central intervals.

    Returns:
        A comparison: `reports[name][row]` is an `Estimate`, `differences[name][row]` the paired one to the
        baseline; `.to_markdown()`, `.table()`, `.to_json()`, `.plot()`, `.reliability()`, `.risk_coverage()`,
        `.entropy()`, `.pit()`, `.bands(x)`.

    Raises:
        TypeError, ValueError: Predictions that are none (logits, rows that do not sum to 1), labels out of range,
            NaN, lengths or names that do not fit.

    >>> p = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])
    >>> found = evaluate_predictions({"sure": p, "even": torch.full_like(p, 0.5)}, torch.tensor([0, 1, 1]))
    >>> print(found.differences["even"]["nll"])  # the same three points
    0.28 ± 0.25
    """
    settings = Settings(
        check_count(chains, "chains"),
        check_count(bins, "bins"),
        check_fraction(level, "level"),
        likelihood,
        ordinal,
        ignore_index,
    )
    with torch.no_grad():
        batch, labels = checked_batch(
            predictions, y, reference=reference, outside=outside, weights=weights, groups=groups
        )
        _check_baseline(baseline, batch.predictions)
        return _compared(reduced_batch(batch, settings), settings, baseline, labels)


class PredictionAccumulator(Accumulator[PointState, PredictionComparison]):
    """`evaluate_predictions` in pieces, over batches and ranks: for test sets whose predictions do not fit.

    What is kept is one prediction per point and a few numbers, never the samples: n · (classes + 2) float64 a
    model, where [samples, n, classes] were fed; ranks (AUROC, AURC) need every point. The comparison is that of all
    points at once, to the rounding of float64.

    >>> p, y = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]]), torch.tensor([0, 1, 1])
    >>> pieces = PredictionAccumulator()
    >>> for k in range(3):
    ...     pieces.update({"model": p[:, k : k + 1]}, y[k : k + 1])
    >>> pieces.compute().reports["model"]["nll"] == evaluate_predictions({"model": p}, y).reports["model"]["nll"]
    True
    """

    def __init__(
        self,
        *,
        baseline: str | None = None,
        likelihood: Likelihood | None = None,
        chains: SupportsIndex = 1,
        ignore_index: int | None = None,
        ordinal: bool = False,
        bins: SupportsIndex = 15,
        level: SupportsFloat = 0.9,
    ) -> None:
        """Make it with the settings of `evaluate_predictions`."""
        super().__init__(PointState({}))
        self._baseline = baseline
        self._chosen = Settings(
            check_count(chains, "chains"),
            check_count(bins, "bins"),
            check_fraction(level, "level"),
            likelihood,
            ordinal,
            ignore_index,
        )

    @full_precision
    def update(
        self,
        predictions: object,
        y: object,
        *,
        reference: object | None = None,
        outside: Mapping[str, object] | None = None,
        weights: object | None = None,
        groups: object | None = None,
    ) -> None:
        """Take in a batch; the arguments are those of `evaluate_predictions`, groups whole numbers.

        Raises:
            TypeError, ValueError: As `evaluate_predictions`; models, samples or arguments other than in the first
                batch.
        """
        with torch.no_grad():
            numbers = _whole(groups)
            batch, _ = checked_batch(
                predictions, y, reference=reference, outside=outside, weights=weights, groups=None
            )
            if numbers is not None:
                checked_batch(predictions, y, reference=None, outside=None, weights=None, groups=groups)
            _check_baseline(self._baseline, batch.predictions)
            state = reduced_batch(batch, self._chosen, numbers)
        first = next(iter(batch.predictions.values()))
        dtype = first.dtype if isinstance(first, Tensor) else torch.float64
        self._absorb(
            state, dtype if dtype in (torch.float32, torch.float64) else torch.float32, batch.y.device
        )

    def _settings(self) -> dict[str, object]:
        chosen = self._chosen
        return {
            "baseline": self._baseline,
            "chains": chosen.chains,
            "bins": chosen.bins,
            "level": chosen.level,
            "likelihood": None if chosen.likelihood is None else repr(type(chosen.likelihood).__name__),
            "ordinal": chosen.ordinal,
            "ignore_index": chosen.ignore_index,
        }

    def _value(self, state: PointState) -> PredictionComparison:
        names = state.keys()
        if not names:
            raise ValueError("compute needs at least 2 points, got 0; call update(predictions, y)")
        labels: Sequence[object] = []
        if ("groups",) in names:
            labels = list(range(int(state.column(("groups",)).max()) + 1))
        return _compared(state, self._chosen, self._baseline, labels)


def _whole(groups: object | None) -> Tensor | None:
    if groups is None:
        return None
    numbers = torch.as_tensor(groups)
    if numbers.dtype.is_floating_point or numbers.ndim != 1 or bool((numbers < 0).any()):
        raise TypeError(
            "groups must be whole numbers from 0 where they come in batches, got others; number their labels"
        )
    return numbers


def _check_baseline(baseline: str | None, models: Mapping[str, object]) -> None:
    if baseline is not None and baseline not in models:
        raise ValueError(f"baseline must name one of {list(models)}, got {baseline!r}")


def _compared(
    state: PointState, settings: Settings, baseline: str | None, labels: Sequence[object]
) -> PredictionComparison:
    integers = int(state.column(("kind",))[0]) != 2
    points = state.points(integers)
    found = _comparison(points, settings, baseline)
    if ("groups",) not in list(state.keys()):
        return found
    codes, groups = state.column(("groups",)), {}
    for code, label in enumerate(labels):
        pick = (codes == code).nonzero()[:, 0]
        if len(pick) == 1:
            raise ValueError(
                f"groups must hold at least 2 points each, got 1 of {label!r}; join it with another"
            )
        if len(pick):
            groups[label] = _comparison(points.subset(pick), settings, baseline)
    return PredictionComparison(
        found.reports, found.baseline, found.differences, found.points, groups, settings.bins
    )


def _comparison(points: Points, settings: Settings, baseline: str | None) -> PredictionComparison:
    if len(points.y) < 2:
        raise ValueError(
            f"y must hold at least 2 outcomes for an error, got {len(points.y)}; predict more points"
        )
    kind, ordered = settings.kind(points.y), points.in_order()
    numbers = {name: kind.rows(ordered, name) for name in points.models}
    reports = {name: Report({row: n.estimate() for row, n in rows.items()}) for name, rows in numbers.items()}
    first = baseline if baseline is not None else next(iter(numbers))
    differences = {
        name: {row: difference(number, numbers[first][row]) for row, number in rows.items()}
        for name, rows in numbers.items()
        if name != first
    }
    told = first if len(numbers) > 1 else None
    return PredictionComparison(reports, told, differences, points, bins=settings.bins)
