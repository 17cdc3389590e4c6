"""Rows for regressions: an outcome per point, or a vector of d."""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Normal

from metrics.evaluation.predictions.classes import reference_rows
from metrics.evaluation.predictions.halves import halves
from metrics.evaluation.predictions.numbers import Number, mean_number, root_number
from metrics.evaluation.predictions.points import Columns, Points
from metrics.evaluation.predictions.predicted import Likelihood, Predicted, predicted
from metrics.predictions.crps import crps_ensemble, crps_gaussian
from metrics.predictions.energy_score import energy_score
from metrics.predictions.intervals import interval_coverage
from metrics.predictions.quantiles import levels

__all__ = ["Regression"]

CELLS = 200
"""Of every point's grid on which densities are compared: over both means ± 6 standard deviations."""


@dataclass(frozen=True)
class Regression:
    """Outcomes [n] or [n, d] of draws, distributions, or outputs with a likelihood.

    Attributes:
        level: Of the central intervals.
        likelihood: From network outputs to a distribution of the target; None for draws and distributions.
    """

    level: float = 0.9
    likelihood: Likelihood | None = None

    shape = "[samples, n, ...]"

    def outcomes(self, y: Tensor) -> Tensor:
        """Return the targets as they are kept."""
        return y

    def prepared(self, reference: object, y: Tensor) -> Predicted:
        """Return what models are held against: the reference's prediction."""
        return predicted(reference, tuple(y.shape), self.likelihood, "reference")

    def columns(self, prediction: object, y: Tensor, against: object, name: str) -> Columns:
        """Return a model's columns: every score of every point, its moments and its PIT."""
        told = predicted(prediction, tuple(y.shape), self.likelihood, name)
        flat = y.double().reshape(len(y), -1)
        draws = told.draws
        mean, std = told.moments()
        held = interval_coverage(draws, flat, level=self.level)
        columns = {
            "mean": mean,
            "std": std,
            "squares": (mean - flat).square().mean(1),
            "absolute": (_median(draws) - flat).abs().mean(1),
            "crps": _crps(told, flat).mean(1),
            "inside": held.inside.double().mean(1),
            "width": (held.upper - held.lower).mean(1),
            "interval_score": held.scores.mean(1),
            "pit": told.pit(y),
        }
        if told.density is not None:
            columns["nll"] = -told.log_density(y)
        if flat.shape[1] > 1:
            columns["energy"] = energy_score(draws, flat, fair=told.density is None, per_point=True)
        return columns if against is None else columns | self.gaps(told, against, name)

    def gaps(self, one: object, other: object, name: str = "reference") -> Columns:
        """Return W₁ and, of densities of one output, the total variation of two predictions per point."""
        assert isinstance(one, Predicted)
        assert isinstance(other, Predicted)
        columns = {"w1": _w1(one.draws, other.draws).mean(1)}
        if one.density is not None and other.density is not None and math.prod(one.shape[1:]) == 1:
            columns["total_variation"] = _total_variation(one, other)
        return columns

    def strangers(self, prediction: object, name: str) -> Columns:
        """Refuse: strangers are told by the entropy of classes."""
        raise ValueError(
            "outside must be None for regressions, got sets; entropy tells strangers from known inputs of classes only"
        )

    def rows(self, points: Points, name: str) -> dict[str, Number]:
        """Return a model's numbers."""
        columns, w, n = points.models[name], points.weight, len(points.y)
        mean = partial(mean_number, weight=w)
        rows: dict[str, Number] = {}
        if all("nll" in one for one in points.models.values()):
            rows["nll"] = mean(columns["nll"], better="lower", convention="−ln p(y), nats")
        rows["rmse"] = root_number(columns["squares"], w, "lower", "of the predicted mean, in y's units")
        rows["mae"] = mean(
            columns["absolute"], better="lower", convention="of the predicted median, in y's units"
        )
        rows["crps"] = mean(columns["crps"], better="lower", convention="in y's units, mean over outputs")
        if "energy" in columns:
            rows["energy_score"] = mean(
                columns["energy"], better="lower", convention="of the vector of outputs, in y's units"
            )
        percent = f"central {self.level:.0%} interval".replace("%", " %")
        single = bool(((columns["inside"] == 0) | (columns["inside"] == 1)).all())
        rows["coverage"] = mean(
            columns["inside"], better=self.level, convention=f"share inside the {percent}", share=single
        )
        rows["width"] = mean(columns["width"], better="neither", convention=f"of the {percent}, y's units")
        rows["interval_score"] = mean(
            columns["interval_score"], better="lower", convention=f"of the {percent}, y's units"
        )
        rows["quantile_calibration_error"] = _quantile_error(columns["pit"], w, n)
        return rows | reference_rows(points, name)


def _median(draws: Tensor) -> Tensor:
    """Half-way between the two middle draws of an even number: torch's own is the lower one, of two draws the least."""
    return (draws.median(0).values - (-draws).median(0).values) / 2


def _crps(told: Predicted, y: Tensor) -> Tensor:
    """Of every output, [n, d]; in closed form for one Gaussian per point."""
    if told.samples == 1:
        base = getattr(told.density, "base_dist", told.density)
        if isinstance(base, Normal):
            mean, std = (part.double().expand(base.batch_shape).flatten() for part in (base.loc, base.scale))
            return crps_gaussian(mean, std, y.flatten(), per_point=True).reshape(y.shape)
    # Draws by quantiles stand for the distribution itself: they are charged for no scatter.
    return crps_ensemble(told.draws, y, fair=told.density is None, per_point=True)


def _quantile_error(pit: Tensor, w: Tensor, n: int) -> Number:
    """The l1 gap of PIT's distribution function, by halves; d outputs are pooled, each with an equal share."""
    parts, at = halves(n, w.device), levels(w.device)
    cell = torch.searchsorted(at, pit.contiguous())
    share = w[:, None] / pit.shape[1]
    sums = parts.sums(share, cell, len(at) + 1)

    def error(sums: Tensor) -> Tensor:
        below = sums.cumsum(1)
        return (below[:, :-1] / below[:, -1:] - at).abs().mean(1)

    random = torch.Generator(w.device).manual_seed(0)
    cells = [
        torch.searchsorted(at, torch.rand(pit.shape, generator=random, dtype=at.dtype, device=w.device))
        for _ in range(100)
    ]
    drawn = error(torch.cat([parts.sums(share, c, len(at) + 1).sum(0, keepdim=True) for c in cells]))
    return Number(
        float(error(sums.sum(0, keepdim=True))[0]),
        parts.terms(error, sums),
        "lower",
        "mean over q of |share of F(y) ≤ q − q|",
        (n, n),
        dof=parts.dof,
        floor=(float(drawn.mean()), float(drawn.std())),
        bounded=True,
        scatter=float(drawn.std()),
    )


def _w1(one: Tensor, other: Tensor) -> Tensor:
    """W₁ = ∫|F − G| of draws [M, n, d] and [M', n, d], per output, [n, d]."""
    found = []
    for a, b in zip(one.split(512, 1), other.split(512, 1), strict=True):
        both, order = torch.cat([a, b]).sort(0)
        step = torch.where(order < len(a), 1 / len(a), -1 / len(b))
        found.append((step.cumsum(0)[:-1].abs() * both.diff(dim=0)).sum(0))
    return torch.cat(found)


def _total_variation(one: Predicted, other: Predicted) -> Tensor:
    """½ Σ|p − q| of the two densities on a grid of every point's own, normalised there, [n]."""
    means, stds = (
        torch.stack([moment(told.draws[..., 0]) for told in (one, other)])
        for moment in (lambda x: x.mean(0), lambda x: x.std(0))
    )
    low, high = (means - 6 * stds).amin(0), (means + 6 * stds).amax(0)

    def on_grid(told: Predicted) -> Tensor:
        each = [
            told.log_density((low + (high - low) * (k / CELLS)).reshape(one.shape)) for k in range(CELLS + 1)
        ]
        return torch.stack(each, 1).softmax(1)

    return 0.5 * (on_grid(one) - on_grid(other)).abs().sum(1)
