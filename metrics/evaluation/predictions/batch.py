"""What users pass, checked and reduced to columns: one batch of predictions and their outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from metrics.evaluation.predictions.classes import Classes
from metrics.evaluation.predictions.labels import Labels
from metrics.evaluation.predictions.predicted import Likelihood
from metrics.evaluation.predictions.regression import Regression
from metrics.evaluation.predictions.state import Key, PointState
from metrics.inputs import as_tensor, check_tensor, from_array

__all__ = ["Batch", "Settings", "checked_batch", "reduced_batch"]

Kind = Classes | Labels | Regression


@dataclass(frozen=True)
class Settings:
    """What does not change from batch to batch; see `evaluate_predictions`."""

    chains: int = 1
    bins: int = 15
    level: float = 0.9
    likelihood: Likelihood | None = None
    ordinal: bool = False
    ignore_index: int | None = None

    def kind(self, y: Tensor) -> Kind:
        """Return the rows that outcomes like these have."""
        if y.dtype.is_floating_point:
            return Regression(self.level, self.likelihood)
        return Labels(self.bins) if y.ndim == 2 else Classes(self.bins, self.ordinal)


@dataclass(frozen=True)
class Batch:
    """Arguments of one call."""

    predictions: Mapping[str, object]
    y: Tensor
    reference: object | None
    outside: Mapping[str, Mapping[str, object]]
    weights: Tensor
    groups: Tensor | None


def reduced_batch(batch: Batch, settings: Settings, groups: Tensor | None = None) -> PointState:
    """Return the columns of a batch; `groups` in place of the batch's own."""
    groups = batch.groups if groups is None else groups
    y, keep = batch.y, None
    kind = settings.kind(y)
    if settings.ignore_index is not None:
        if not isinstance(kind, Classes):
            raise ValueError(
                "ignore_index must be None unless y holds one class per point; drop the points instead"
            )
        kept = y != settings.ignore_index
        if not bool(kept.any()):
            raise ValueError(
                f"y must hold a label other than ignore_index={settings.ignore_index}, got none; leave this batch out"
            )
        keep = None if bool(kept.all()) else kept
    picked = y if keep is None else y[keep]
    outcome = kind.outcomes(picked)
    state: dict[Key, Tensor] = {
        ("y",): outcome.to(torch.float64, copy=True),
        ("weight",): (batch.weights if keep is None else batch.weights[keep]).to(torch.float64, copy=True),
        ("kind",): torch.tensor([float(_number(kind))], dtype=torch.float64),
    }
    if groups is not None:
        state["groups",] = (groups.to(y.device) if keep is None else groups.to(y.device)[keep]).double()

    def ready(value: object, name: str, pick: Tensor | None) -> object:
        value = _prediction(value, kind, y, name)
        return value[:, pick] if pick is not None and isinstance(value, Tensor) else value

    own = batch.reference if isinstance(batch.reference, str) else None
    if own is not None and own not in batch.predictions:
        raise ValueError(
            f"reference must name one of {list(batch.predictions)}, got {own!r}; or pass its predictions"
        )
    source = batch.predictions[own] if own is not None else batch.reference
    reference = None if source is None else ready(source, "reference", keep)
    against = None if reference is None else kind.prepared(reference, outcome)
    if reference is not None and settings.chains > 1:
        one, other = (kind.prepared(part, outcome) for part in _halves(reference, settings.chains))
        state |= {("floor", column): value for column, value in kind.gaps(one, other).items()}
    for name, prediction in batch.predictions.items():
        value = ready(prediction, name, keep)
        columns = kind.columns(value, outcome, against, name)
        if name == own:
            # Of itself a reference says nothing; its chains against each other are the floor.
            columns |= {
                column: torch.full_like(columns[column], torch.nan) for column in columns if column in OWN
            }
        state |= {("models", name, column): one for column, one in columns.items()}
        state["draws", name] = torch.tensor([float(_samples(value, y))], dtype=torch.float64)
    for label, models in batch.outside.items():
        missing = set(batch.predictions) ^ set(models)
        if missing:
            raise ValueError(
                f"outside[{label!r}] must hold a prediction of every model, {list(batch.predictions)}, got "
                f"{list(models)}; predict the set with each"
            )
        for name, prediction in models.items():
            value = ready(prediction, f"outside[{label!r}][{name!r}]", None)
            found = kind.strangers(value, f"outside[{label!r}][{name!r}]")
            state |= {("outside", label, name, column): one for column, one in found.items()}
    return PointState(state)


OWN = ("agreement", "total_variation", "w1")


def checked_batch(
    predictions: object,
    y: object,
    *,
    reference: object | None,
    outside: object | None,
    weights: object | None,
    groups: object | None,
) -> tuple[Batch, list[object]]:
    """Return the arguments as tensors, and the labels of the groups that the batch's numbers stand for."""
    bare = not isinstance(predictions, Mapping)
    models = {"predictions": predictions} if bare else {str(k): v for k, v in predictions.items()}
    if not models:
        raise ValueError(
            "predictions must hold at least one model, got none; pass {name: [samples, n, classes]}"
        )
    sets: dict[str, Mapping[str, object]] = {}
    if outside is not None:
        if not isinstance(outside, Mapping):
            raise TypeError(
                f"outside must be a mapping from a set's name to its predictions, got {type(outside).__name__}; "
                'pass {"name": ...}'
            )
        for label, value in outside.items():
            sets[str(label)] = value if isinstance(value, Mapping) else {next(iter(models)): value}
    outcome = _outcomes(y, next(iter(models.values())))
    n = len(outcome)
    w = torch.ones(n, dtype=torch.float64, device=outcome.device)
    if weights is not None:
        w = check_tensor(as_tensor(weights, "weights"), "weights", shape="[n]", ndim=1).double()
        if len(w) != n or bool((w < 0).any()) or not float(w.sum()) > 0:
            raise ValueError(
                f"weights must have one number that is not negative per point, {n} of a positive sum, got {len(w)} "
                f"with a minimum of {float(w.min()):.3g}"
            )
    codes, labels = _groups(groups, n)
    return Batch(models, outcome, reference, sets, w, codes), labels


def _outcomes(y: object, first: object) -> Tensor:
    outcome = from_array(y, "y").detach()
    if outcome.ndim == 0 or outcome.numel() == 0:
        raise ValueError(f"y must hold at least one outcome, [n, ...], got shape {list(outcome.shape)}")
    if outcome.dtype == torch.bool:
        outcome = outcome.long()
    if outcome.dtype in (torch.float16, torch.bfloat16):
        outcome = outcome.float()
    if outcome.dtype.is_floating_point:
        check_tensor(outcome, "y", shape="[n, ...]", ndim=outcome.ndim)
        shape = getattr(first, "shape", ())
        if len(shape) == outcome.ndim + 2 and bool((outcome == outcome.round()).all()):
            raise TypeError(
                f"y must be int64 labels for predictions [samples, n, classes], got {outcome.dtype}; "
                "convert with y.long()"
            )
        if _of_labels(outcome, first):
            raise TypeError(
                f"y must be bool or int64 for probabilities of class 1, got {outcome.dtype} of 0 and 1, which are "
                "outcomes of a regression; convert with y.long()"
            )
        return outcome
    if outcome.dtype != torch.int64:
        raise TypeError(
            f"y must be int64 labels or float outcomes, got {outcome.dtype}; convert with y.long()"
        )
    if outcome.ndim > 2 or len(getattr(first, "shape", ())) == outcome.ndim + 2 == 4:
        raise ValueError(
            f"y must have shape [n] or [n, labels], got {list(outcome.shape)}; flatten the points of y, y.flatten(), "
            "and of predictions: p.flatten(1, -2), of maps [samples, n, classes, ...] p.movedim(2, -1).flatten(1, -2)"
        )
    if _one_hot(outcome, first):
        raise ValueError(
            f"y must have shape [n] for predictions that sum to 1 over classes, got one-hot labels "
            f"{list(outcome.shape)}; pass y.argmax(1)"
        )
    return outcome


def _one_hot(outcome: Tensor, first: object) -> bool:
    """Whether each point has one label of several, and the probabilities of all of them are one distribution."""
    if outcome.ndim != 2 or outcome.shape[1] < 2 or not isinstance(first, Tensor | np.ndarray):
        return False
    if tuple(first.shape[1:]) != tuple(outcome.shape) or not bool(((outcome == 0) | (outcome == 1)).all()):
        return False
    sums = torch.as_tensor(first).detach().double().sum(-1)
    return bool((outcome.sum(1) == 1).all()) and bool(((sums - 1).abs() < 1e-2).all())


def _of_labels(outcome: Tensor, first: object) -> bool:
    """Whether floats are 0 and 1 alone beside numbers in [0, 1] that are not: labels, and not draws of them."""
    if not isinstance(first, Tensor | np.ndarray) or tuple(first.shape[1:]) != tuple(outcome.shape):
        return False
    p = torch.as_tensor(first).detach()
    if not bool(((outcome == 0) | (outcome == 1)).all()) or not bool(((p >= 0) & (p <= 1)).all()):
        return False
    return bool(((p > 0) & (p < 1)).any())


def _prediction(value: object, kind: Kind, y: Tensor, name: str) -> object:
    """A prediction as its kind takes it: arrays as tensors, two classes from the probability of one."""
    if isinstance(kind, Regression):
        if isinstance(getattr(value, "variance", None), Tensor) and not isinstance(value, Distribution):
            raise TypeError(
                f"{name} must be draws, a pair (mean, std) or a distribution, got {type(value).__name__}; of a mean "
                f"and a variance of the target, its noise included, pass ({name}.mean, {name}.variance.sqrt())"
            )
        return value if isinstance(value, Distribution | tuple) else as_tensor(value, name)
    tensor = from_array(value, name)
    if isinstance(kind, Classes) and tensor.ndim == 2 and tensor.shape[1] == len(y):
        p = check_tensor(tensor, name, shape="[samples, n] of probabilities", ndim=2)
        least, most = float(p.min()), float(p.max())
        if least < 0 or most > 1:
            counts = least >= 0 and int(y.max()) > 1
            remedy = "of draws of counts pass y.double()" if counts else "take logits through .sigmoid()"
            raise ValueError(
                f"{name} must hold the probability of class 1, got {least:.3g} to {most:.3g}; {remedy}"
            )
        return torch.stack([1 - p, p], -1)
    return tensor


def _halves(reference: object, chains: int) -> tuple[object, object]:
    """Either half of a reference's chains, which follow each other among its samples."""
    if not isinstance(reference, Tensor):
        raise TypeError(
            "reference must be a tensor for chains= to split, got a distribution; leave chains out or pass draws"
        )
    if len(reference) % chains or len(reference) < 2 * chains:
        raise ValueError(
            f"reference must hold {chains} chains of one length, at least 2 draws each, got {len(reference)} samples; "
            "pass the number of chains that it has"
        )
    cut = len(reference) // chains * (chains // 2)
    return reference[:cut], reference[cut:]


def _groups(groups: object | None, n: int) -> tuple[Tensor | None, list[object]]:
    if groups is None:
        return None, []
    values = groups.tolist() if isinstance(groups, Tensor | np.ndarray) else groups
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != n:
        told = len(values) if isinstance(values, Sequence) else repr(groups)
        raise ValueError(f"groups must have one label per point, {n}, got {told}; pass a list or a vector")
    labels = sorted(set(values), key=lambda label: (str(type(label)), label))
    code = {label: k for k, label in enumerate(labels)}
    return torch.tensor([code[value] for value in values]), labels


def _samples(value: object, y: Tensor) -> int:
    """How many posterior samples a prediction has; 1 where it is one distribution per point."""
    if isinstance(value, Tensor):
        return len(value)
    shape = value[0].shape if isinstance(value, tuple) else (*value.batch_shape, *value.event_shape)  # pyright: ignore[reportAttributeAccessIssue]
    return shape[0] if len(shape) > y.ndim else 1


def _number(kind: Kind) -> int:
    return (Classes, Labels, Regression).index(type(kind))
