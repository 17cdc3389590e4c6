"""Reports of several models' predictions of the same points: values, paired differences, pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metrics.estimate import Estimate, with_error
from metrics.evaluation.predictions.points import Points
from metrics.evaluation.report import Comparison
from metrics.plots.predictions import (
    draw_bands,
    draw_differences,
    draw_entropies,
    draw_pit,
    draw_reliability,
    draw_risk_coverage,
)
from metrics.predictions.calibration import reliability_diagram, top_label
from metrics.predictions.selective import selective_risk

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["PredictionComparison"]

PAIRED = (
    "Paired: both models predict the same points, so that the error of a difference is not made of the two errors; "
    "models can differ clearly although their intervals overlap. Bold: the 95 % interval does not hold 0."
)


FLOORS = (
    "In brackets: the floor. Of a calibration error it is what a calibrated model with these predictions would show, "
    "of a distance to the reference what the reference's own chains are apart."
)


@dataclass(frozen=True)
class PredictionComparison(Comparison):
    """What `evaluate_predictions` found.

    Attributes:
        reports: A report per model, the rows of all alike.
        baseline: The model that the differences are taken to; None where there is one model only.
        differences: From a model's name and a row's to model − baseline, with its paired standard error.
        points: What was kept of every point, for the pictures.
        groups: From a group's label to the same comparison of its points alone.
        bins: Of the reliability diagrams.
    """

    baseline: str | None = None
    differences: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    points: Points | None = field(default=None, repr=False)
    groups: Mapping[object, "PredictionComparison"] = field(default_factory=dict)
    bins: int = 15

    def to_markdown(self) -> str:
        """As Markdown: the values with floors, then what the models differ from the baseline by, paired."""
        told = super().to_markdown()
        if not self.differences:
            return told
        names = list(self.differences)
        head = [f"minus {self.baseline}, paired", *names, "better"]
        lines = ["", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for row in self.measures():
            cells = [_marked(self.differences[name][row]) for name in names]
            better = self.reports[names[0]][row].better
            told_better = better if isinstance(better, str) else f"near {better}"
            lines.append(f"| {' | '.join([row, *cells, told_better])} |")
        return "\n".join([told, *lines, "", PAIRED])

    def table(self, *rows: str, paired: bool = False) -> str:
        """Return some rows as a Markdown table with a line per model: for many models.

        Args:
            rows: Names of rows; none are all of them.
            paired: The differences to the baseline in place of the values.

        Raises:
            ValueError: No such row; differences of one model.
        """
        chosen = list(rows) or self.measures()
        unknown = [row for row in chosen if row not in self.measures()]
        if unknown:
            raise ValueError(f"rows must be among {self.measures()}, got {unknown}")
        if paired and not self.differences:
            raise ValueError("paired differences need two models, got one; compare it with another")
        head = [f"minus {self.baseline}" if paired else "model", *(row.replace("_", " ") for row in chosen)]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for name, report in self.reports.items():
            if paired and name == self.baseline:
                continue
            cells = [
                _marked(self.differences[name][row]) if paired else _with_floor(report[row]) for row in chosen
            ]
            lines.append(f"| {' | '.join([name, *cells])} |")
        told = PAIRED if paired else FLOORS if any(r.floor is not None for r in self._all(chosen)) else ""
        return "\n".join([*lines, "", told]).rstrip()

    def to_dict(self) -> dict[str, object]:
        """As JSON; a number that is undefined is null."""
        found: dict[str, object] = {
            "baseline": self.baseline,
            "reports": {name: _jsonable(report.to_dict()) for name, report in self.reports.items()},
            "differences": {
                name: {row: _jsonable(e.to_dict()) for row, e in rows.items()}
                for name, rows in self.differences.items()
            },
        }
        if self.groups:
            found["groups"] = {str(label): part.to_dict() for label, part in self.groups.items()}
        return found

    def to_json(self) -> str:
        """As a text of JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def by_group(self, row: str) -> str:
        """Return one row in every group as a Markdown table, with the number of points.

        Raises:
            ValueError: No groups, or no such row.
        """
        if not self.groups:
            raise ValueError(
                "groups must be given for a table of groups; pass groups= to evaluate_predictions"
            )
        if row not in self.measures():
            raise ValueError(f"row must be one of {self.measures()}, got {row!r}")
        head = [row, *self.reports, "n"]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for label, part in self.groups.items():
            cells = [_cell(part.reports[name][row]) for name in self.reports]
            lines.append(
                f"| {label} | {' | '.join(cells)} | {part.reports[next(iter(self.reports))][row].sizes[0]} |"
            )
        return "\n".join(lines)

    def plot(self) -> "matplotlib.figure.Figure":
        """A panel per row: every model's difference to the baseline; of one model its values."""
        if not self.differences:
            return super().plot()
        return draw_differences(self.differences, baseline=str(self.baseline))

    def reliability(self) -> "matplotlib.figure.Figure":
        """Accuracy against confidence, with the band that a calibrated model would stay in; for classes."""
        diagrams = {}
        for name, mean in self._columns("mean", "classes").items():
            diagrams[name] = reliability_diagram(mean, self._kept().y, bins=self.bins)
        errors = {name: self.reports[name]["calibration_error"] for name in diagrams}
        return draw_reliability(diagrams, errors)

    def risk_coverage(self) -> "matplotlib.figure.Figure":
        """The share of errors among the most confident predictions, against how many those are; for classes."""
        curves = {}
        for name, mean in self._columns("mean", "classes").items():
            confidence, right = (c[:, 0].double() for c in top_label(mean, self._kept().y))
            curves[name] = selective_risk(confidence, 1 - right, self._kept().weight)
        return draw_risk_coverage(curves)

    def entropy(self) -> "matplotlib.figure.Figure":
        """Distribution functions of the predictive entropy, of the test points and of every outside set."""
        points = self._kept()
        kinds: dict[str, dict[str, Tensor]] = {
            "test": {name: _entropy(mean) for name, mean in self._columns("mean", "classes").items()}
        }
        for kind, models in points.outside.items():
            kinds[kind] = {name: columns["entropy"] for name, columns in models.items()}
        return draw_entropies(kinds)

    def pit(self) -> "matplotlib.figure.Figure":
        """Histograms of the probability integral transform, with the band of a uniform one; for regressions."""
        return draw_pit({name: pit.flatten() for name, pit in self._columns("pit", "regression").items()})

    def bands(
        self, x: Tensor, *, data: tuple[Tensor, Tensor] | None = None, output: int = 0
    ) -> "matplotlib.figure.Figure":
        """Predicted mean ± 2 standard deviations against one input, with the outcomes; for regressions.

        Args:
            x: The input of every test point in the order that `evaluate_predictions` was given them, [n] or [n, 1].
            data: Inputs and outcomes of the training data, to be drawn as well.
            output: Which output.

        Raises:
            ValueError: No regression, or inputs of another number.
        """
        points = self._kept()
        means, stds = self._columns("mean", "regression"), self._columns("std", "regression")
        at = x.detach().double().flatten()
        if len(at) != len(points.y):
            raise ValueError(
                f"x must hold one number for each of the {len(points.y)} test points, got {list(x.shape)}; "
                "pick a column"
            )
        y = points.y.reshape(len(points.y), -1)[:, output]
        return draw_bands(
            at, y, {name: (means[name][:, output], stds[name][:, output]) for name in means}, data=data
        )

    def _cells(self, mark: tuple[str, str]) -> list[list[str]]:
        """The cells of the table; a floor that every model has for itself stands in its cell."""
        rows = super()._cells(mark)
        for row in rows:
            if row[-2] == "one each":
                floors = [report[row[0]].floor for report in self.reports.values()]
                told = [f"{cell} ({floor or 0.0:.3g})" for cell, floor in zip(row[1:-2], floors, strict=True)]
                row[1:-1] = [*told, "in brackets"]
        return rows

    def _all(self, rows: Sequence[str]) -> list[Estimate]:
        return [report[row] for report in self.reports.values() for row in rows]

    def _kept(self) -> Points:
        if self.points is None:
            raise ValueError(
                "points must be kept for a picture; take the comparison of evaluate_predictions itself"
            )
        return self.points

    def _columns(self, column: str, kind: str) -> dict[str, Tensor]:
        models = self._kept().models
        regression = "pit" in next(iter(models.values()))
        if regression != (kind == "regression") or (kind == "classes" and self._kept().y.ndim > 1):
            told = "classes (labels y [n])" if kind == "classes" else "regressions"
            raise ValueError(f"this picture is of {told}; for others draw plot()")
        return {name: columns[column] for name, columns in models.items()}

    def _notes(self) -> list[str]:
        """What the table cannot say: sizes, draws, what is undefined."""
        notes = super()._notes()
        if self.points is None:
            return notes
        drawn = ", ".join(f"{name} {count}" for name, count in self.points.draws.items())
        n = len(self.points.y)
        notes += [
            "",
            f"{n} test points; ± one standard error over them, of these predictions: another training would give "
            f"others. Samples: {drawn}.",
        ]
        missing = self._undefined()
        if missing:
            notes += ["", f"—: undefined, or of the reference itself ({', '.join(missing)})."]
        return notes

    def _undefined(self) -> Sequence[str]:
        return [
            row for row in self.measures() if any(math.isnan(r[row].value) for r in self.reports.values())
        ]


def _entropy(mean: Tensor) -> Tensor:
    return torch.special.entr(mean).sum(1)


def _cell(e: Estimate) -> str:
    return "—" if math.isnan(e.value) else with_error(e.value, e.stderr)


def _with_floor(e: Estimate) -> str:
    return _cell(e) if e.floor is None else f"{_cell(e)} ({e.floor:.3g})"


def _marked(e: Estimate) -> str:
    if math.isnan(e.value):
        return "—"
    low, high = e.interval()
    told = with_error(e.value, e.stderr)
    return f"**{told}**" if low > 0 or high < 0 else told


def _jsonable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _jsonable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
