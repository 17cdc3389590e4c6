"""Reports of a generator of classes: each class, their mean, and the pairs (x, y)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from metrics.estimate import Estimate, with_error
from metrics.evaluation.report import Report

__all__ = ["ConditionalReport", "mean_of_classes"]


@dataclass(frozen=True)
class ConditionalReport:
    """What `evaluate_conditional` measured.

    Attributes:
        classes: From a class to its report.
        mean: The mean over these classes, each counted alike; without p-values.
        joint: Measures of the pairs (x, κ·e_y), and the classification accuracy score.
        kappa: κ, in the points' unit.
    """

    classes: Mapping[int, Report]
    mean: Report
    joint: Report
    kappa: float

    def to_markdown(self) -> str:
        """As three Markdown tables: the joint distribution, the mean over classes, each class."""
        names = list(self.mean.estimates)
        lines = [f"| class | n, m | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
        for label, report in self.classes.items():
            found = [report[name] for name in names]
            cells = [with_error(e.value, e.stderr) for e in found]
            lines.append(f"| {label} | {found[0].sizes[0]}, {found[0].sizes[1]} | {' | '.join(cells)} |")
        parts = {
            f"Pairs (x, κ·e_y), κ = {self.kappa:.4g}": self.joint.to_markdown(),
            f"Mean over {len(self.classes)} classes": self.mean.to_markdown(),
            "Each class": "\n".join(lines),
        }
        return "\n\n".join(f"{title}\n\n{table}" for title, table in parts.items())

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        classes = {str(label): report.to_dict() for label, report in self.classes.items()}
        parts: dict[str, object] = {"classes": classes, "mean": self.mean.to_dict()}
        return parts | {"joint": self.joint.to_dict(), "kappa": self.kappa}


def mean_of_classes(reports: Sequence[Report]) -> Report:
    """Return the mean over classes, each counted alike, with the error √(Σ se²)/C of C independent numbers.

    >>> reports = [Report({"gap": Estimate(v, 0.3, "lower", "D", (50, 60))}) for v in (1.0, 3.0)]
    >>> print(mean_of_classes(reports)["gap"])
    2.00 ± 0.21
    """
    first = reports[0]
    kept = [name for name in first.estimates if all(name in report.estimates for report in reports)]
    merged: dict[str, Estimate] = {}
    for name in kept:
        found = [report[name] for report in reports]
        value, stderr, dof, variance = _combined([(e.value, e.stderr, e.dof, e.root_variance) for e in found])
        floor = None
        if all(e.floor is not None for e in found):
            floor = _combined(
                [(e.floor or 0.0, e.floor_stderr or 0.0, e.floor_dof, e.floor_root_variance) for e in found]
            )
        merged[name] = replace(
            found[0],
            value=value,
            stderr=stderr,
            dof=dof,
            root_variance=variance,
            convention=f"mean over {len(found)} classes; {found[0].convention}",
            sizes=(sum(e.sizes[0] for e in found), sum(e.sizes[1] for e in found)),
            floor=None if floor is None else floor[0],
            floor_stderr=None if floor is None else floor[1],
            floor_dof=math.inf if floor is None else floor[2],
            floor_root_variance=0.0 if floor is None else floor[3],
            p_value=None,
        )
    notes = tuple(dict.fromkeys(note for report in reports for note in report.notes))
    return replace(first, estimates=merged, notes=notes)


def _combined(numbers: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    """The mean of C independent numbers, its error, degrees of freedom (Welch 1947) and move of its interval.

    The interval of a squared distance is moved up by t²σ² for its skewness, κ₃/6κ₂ = σ² to first order. Of a sum the
    cumulants add up, and κ₃ = 6 se²σ²: the mean has Σ se²σ² / (C Σ se²) in the place of σ².
    """
    count = len(numbers)
    variance = sum(stderr**2 for _, stderr, _, _ in numbers)
    spread = sum(stderr**4 / dof for _, stderr, dof, _ in numbers)
    dof = variance**2 / spread if spread > 0 else math.inf
    third = sum(stderr**2 * root_variance for _, stderr, _, root_variance in numbers)
    move = third / (count * variance) if variance > 0 else 0.0
    return sum(number[0] for number in numbers) / count, math.sqrt(variance) / count, dof, move
