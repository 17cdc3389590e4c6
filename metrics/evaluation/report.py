"""Reports: one model's measures, and several models' side by side.

A report keeps the features that its numbers came from: numbers from different features are never compared.
"""

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from metrics.estimate import Estimate, ends, with_error
from metrics.plots import draw_estimates

if TYPE_CHECKING:
    import matplotlib.figure

__all__ = ["Comparison", "Report"]


ALIKE = 0.01
"""Sizes that differ by at most this share are the same: a floor's bias changes by as little, its error is larger."""


def same_sizes(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether sample sizes agree to 1 %.

    >>> same_sizes((898, 899), (899, 899)), same_sizes((60, 600), (600, 600))
    (True, False)
    """
    return len(one) == len(other) and all(
        abs(a - b) <= ALIKE * max(a, b) for a, b in zip(one, other, strict=True)
    )


@dataclass(frozen=True)
class Report:
    """What `evaluate` measured: an estimate per number, and the features it came from.

    Attributes:
        estimates: From a number's name to its estimate.
        features: The feature map's name and fingerprint; "none" without one.
        on_features: The numbers that were measured through it.
        notes: What the numbers alone do not say, such as the size of a random subset.
        left_out: From a number that was asked for and not measured to the reason.

    >>> report = Report({"energy_distance": Estimate(0.2, 0.01, "lower", "D", (50, 60), p_value=0.005)})
    >>> print(report.to_markdown())
    | measure | value ± error | 95 % interval | floor ± error | p | better | n, m |
    |---|---|---|---|---|---|---|
    | energy_distance | 0.200 ± 0.010 | 0.180 to 0.220 | | 0.005 | lower | 50, 60 |
    """

    estimates: Mapping[str, Estimate]
    features: str = "none"
    on_features: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def above(self, floor: "Report", *, without: Collection[str] = ()) -> "Report":
        """The same report with the values of another one, truth against truth, as its floor.

        Numbers named by `without` have no floor and stay as they are.

        Raises:
            ValueError: The floor comes from other features or other sizes, or lacks a measure.
        """
        _refuse_other_features({"samples": self, "floor": floor}, without)
        missing = [name for name in self.estimates if name not in floor.estimates and name not in without]
        if missing:
            raise ValueError(
                f"floor must hold the same measures, and lacks {missing}; evaluate it with one list"
            )
        placed = {}
        for name, e in self.estimates.items():
            if name in without:
                placed[name] = e
                continue
            under = floor[name]
            if not same_sizes(under.sizes, e.sizes):
                raise ValueError(
                    f"floor must be measured with the same sizes, {e.sizes[0]} samples and {e.sizes[1]} points of "
                    f"reference, got {under.sizes[0]} and {under.sizes[1]}; evaluate {e.sizes[0]} true samples for it"
                )
            placed[name] = replace(
                e,
                floor=under.value,
                floor_stderr=under.stderr,
                floor_dof=under.dof,
                floor_root_variance=under.root_variance,
            )
        return replace(self, estimates=placed)

    @staticmethod
    def mean(reports: Sequence["Report"]) -> "Report":
        """Average over independent trainings.

        With R ≥ 2 reports the error is the standard deviation between them over √R: it holds the chance of the training
        and of the samples, at the one held-out set that they share, and R − 1 degrees of freedom. The tests were made
        of one training each, and p-values are left out. One report is returned as it is.
        """
        first = reports[0]
        if len(reports) == 1:
            return first
        _refuse_other_features({str(k): r for k, r in enumerate(reports)})
        merged = {}
        for name, estimate in first.estimates.items():
            values = [report[name].value for report in reports]
            stderr = statistics.stdev(values) / math.sqrt(len(values))
            merged[name] = replace(
                estimate,
                value=statistics.fmean(values),
                stderr=stderr,
                dof=float(len(values) - 1),
                p_value=None,
                root_variance=0.0,
            )
        return replace(first, estimates=merged)

    def to_dict(self) -> dict[str, object]:
        """As JSON; notes and what was left out only where there are any."""
        told: dict[str, object] = {
            "features": self.features,
            "on_features": list(self.on_features),
            "metrics": {n: e.to_dict() for n, e in self.estimates.items()},
        }
        if self.notes:
            told["notes"] = list(self.notes)
        if self.left_out:
            told["left_out"] = dict(self.left_out)
        return told

    def to_markdown(self) -> str:
        """As a Markdown table, with 95 % intervals; p is the permutation test's, where there is one."""
        head = ["measure", "value ± error", "95 % interval", "floor ± error", "p", "better", "n, m"]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for name, e in self.estimates.items():
            floor = "" if e.floor is None else with_error(e.floor, e.floor_stderr or 0.0)
            p = "" if e.p_value is None else f"{e.p_value:.2g}"
            cells = [
                name,
                with_error(e.value, e.stderr),
                ends(*e.interval(), e.stderr),
                floor,
                p,
                _told(e.better),
            ]
            cells.append(f"{e.sizes[0]}, {e.sizes[1]}")
            lines.append("".join(f"| {cell} " if cell else "| " for cell in cells) + "|")
        return "\n".join([*lines, *_through_features(self), *_remarks([self])])

    def plot(self) -> "matplotlib.figure.Figure":
        """A panel per measure: the value with its 95 % interval beside the floor."""
        return draw_estimates({"samples": self.estimates})


@dataclass(frozen=True)
class Comparison:
    """Several reports on the same reference, a column each.

    Raises:
        ValueError: The reports come from different features, or hold different measures.

    >>> near, far = (Report({"gap": Estimate(v, 0.1, "lower", "D", (50, 60))}) for v in (1.0, 2.0))
    >>> comparison = Comparison({"near": near, "far": far})
    >>> comparison.best("gap")
    'near'
    """

    reports: Mapping[str, Report]

    def __post_init__(self) -> None:
        given: object = self.reports
        if not isinstance(given, Mapping):
            raise TypeError(
                f"reports must be a mapping from names, got {type(given).__name__}; write {{'a model': report}}"
            )
        if not given:
            raise ValueError("reports must not be empty; evaluate at least one model")
        for name, report in given.items():
            if not isinstance(name, str) or not isinstance(report, Report):
                raise TypeError(
                    f"reports must map texts to reports, got {type(name).__name__} and {type(report).__name__}; pass "
                    "what evaluate returned, under a model's name"
                )
        _refuse_other_features(self.reports)
        rows = {tuple(report.estimates) for report in self.reports.values()}
        if len(rows) > 1:
            raise ValueError("reports must hold the same measures in the same order; evaluate with one list")

    def measures(self) -> list[str]:
        """The names of the rows."""
        return list(next(iter(self.reports.values())).estimates)

    def best(self, measure: str) -> str | None:
        """The name of the report that is best by a measure; None where sizes differ or several are equally good.

        Most measures are biased at finite sizes, by more for fewer samples: such numbers have no order. None as well
        where the measure only describes, or where it is undefined for all of them.
        """
        if len(self._sizes(measure)) > 1:
            return None
        keys = {
            name: report[measure].sort_key()
            for name, report in self.reports.items()
            if report[measure].better != "neither" and not math.isnan(report[measure].value)
        }
        best = [name for name, key in keys.items() if key == min(keys.values())]
        return best[0] if best and (len(best) == 1 or len(self.reports) == 1) else None

    def _sizes(self, measure: str) -> set[tuple[int, int]]:
        return {report[measure].sizes for report in self.reports.values()}

    def _notes(self) -> list[str]:
        """What the table cannot say: the features, and why no best is marked."""
        notes = _through_features(next(iter(self.reports.values())))
        uneven = [measure for measure in self.measures() if len(self._sizes(measure)) > 1]
        sizes = sorted({size for measure in uneven for size in self._sizes(measure)})
        if uneven:
            told = " and ".join(f"{n} samples against {m}" for n, m in sizes)
            notes += [
                "",
                f"No best is marked where the sizes differ ({told}): evaluate as many samples of each.",
            ]
        return [*notes, *_remarks(list(self.reports.values()))]

    def to_markdown(self) -> str:
        """As a Markdown table, the best of each row in bold."""
        head = ["measure", *self.reports, "floor", "better"]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        lines += [f"| {' | '.join(row)} |" for row in self._cells(("**", "**"))]
        return "\n".join([*lines, *self._notes()])

    def to_text(self) -> str:
        """As an aligned table for a terminal, the best of each row marked with a star."""
        head = ["measure", *self.reports, "floor", "better"]
        rows = [head, *self._cells(("", " *"))]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        rule = "  ".join("-" * w for w in widths)
        return "\n".join([lines[0], rule, *lines[1:], *self._notes()])

    def plot(self) -> "matplotlib.figure.Figure":
        """A panel per measure: every report's value with its 95 % interval, beside the floor."""
        return draw_estimates({name: report.estimates for name, report in self.reports.items()})

    def _cells(self, mark: tuple[str, str]) -> list[list[str]]:
        rows = []
        for measure in self.measures():
            best, row = self.best(measure), [measure]
            for name, report in self.reports.items():
                e = report[measure]
                cell = "—" if math.isnan(e.value) else with_error(e.value, e.stderr)
                marked = name == best and len(self.reports) > 1
                row.append(f"{mark[0]}{cell}{mark[1]}" if marked else cell)
            e = next(iter(self.reports.values()))[measure]
            floors = {(r[measure].floor, r[measure].floor_stderr) for r in self.reports.values()}
            told = "" if e.floor is None else with_error(e.floor, e.floor_stderr or 0.0)
            row.append(told if len(floors) == 1 else "one each")
            rows.append([*row, _told(e.better)])
        return rows


def _told(better: object) -> str:
    return better if isinstance(better, str) else f"near {better}"


def _refuse_other_features(reports: Mapping[str, Report], without: Collection[str] = ()) -> None:
    seen = {report.features for report in reports.values()}
    if len(seen) > 1:
        raise ValueError(
            f"reports must come from the same features, got {sorted(seen)}; evaluate all of them with one map"
        )
    through = {tuple(n for n in report.on_features if n not in without) for report in reports.values()}
    if len(through) > 1:
        raise ValueError(
            f"reports must see the same measures through the features, got {sorted(through)}; "
            "evaluate all of them with one features_for"
        )


def _through_features(report: Report) -> list[str]:
    if not report.on_features:
        return []
    all_of_them = set(report.on_features) == set(report.estimates)
    told = "all measures" if all_of_them else ", ".join(report.on_features)
    return ["", f"Through the features ({report.features}): {told}."]


def _remarks(reports: Sequence[Report]) -> list[str]:
    """The notes of some reports, and what they left out, each once."""
    left = [f"Left out: {name} {why}." for r in reports for name, why in r.left_out.items()]
    told = dict.fromkeys([*(note for r in reports for note in r.notes), *left])
    return [line for remark in told for line in ("", remark)]
