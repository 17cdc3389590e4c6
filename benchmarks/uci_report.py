"""The UCI benchmark's tables: means and standard errors over splits, beside the published rows."""

import statistics

from uci_methods import METHODS
from uci_network import Settings
from uci_published import DEEPER, DROPOUT, OTHER, PUBLISHED, SAME, Number

__all__ = ["Scores", "comparison", "estimate", "outliers", "table"]

Scores = dict[str, dict[str, float]]
"""By method and measure."""

DIGITS = {"kin8nm": 3, "naval": 5, "wine": 3}
"""Decimals of the RMSE, where two are not right."""


def estimate(values: list[float], digits: int) -> str:
    """Return mean ± standard error over splits."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def table(found: dict[str, dict[int, Scores]], measure: str) -> list[str]:
    """Return a Markdown table, methods by sets; the best of ours is bold, and published rows follow."""
    names = list(found)
    lines = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    best = {name: best_method(found[name], measure) for name in names}
    for method in METHODS:
        cells = []
        for name in names:
            digits = 2 if measure == "log_likelihood" else DIGITS.get(name, 2)
            cell = estimate([s[method][measure] for s in found[name].values()], digits)
            cells.append(f"**{cell}**" if method == best[name] else cell)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    for row in PUBLISHED:
        values = getattr(row, measure, {})
        if values:
            cells = [_printed(values[name]) if name in values else "" for name in names]
            lines.append(f"| *{row.name}* ({row.source}; {row.group}) | " + " | ".join(cells) + " |")
    return lines


def _printed(number: Number) -> str:
    mean, error = number
    return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"


def outliers(found: dict[str, dict[int, Scores]], measure: str) -> list[str]:
    """Return a line for every mean that a few splits decide: above three times the median over splits."""
    lines = []
    for name, scores in found.items():
        for method in METHODS:
            values = [s[method][measure] for s in scores.values()]
            median = statistics.median(values)
            if median > 0 and statistics.mean(values) > 3 * median:
                far = sum(v > 3 * median for v in values)
                lines.append(
                    f"{method} on {name}: {far} of {len(values)} splits decide the mean; the median is {median:.2f}. "
                    "At a test point far from the training data some draw of log σ(x) is large: the log-likelihood "
                    "hardly feels one such draw, and the CRPS is proportional to its σ."
                )
    return ["", *lines] if lines else []


def best_method(scores: dict[int, Scores], measure: str) -> str:
    """Return the method with the best mean."""
    sign = 1 if measure == "log_likelihood" else -1
    return max(
        METHODS, key=lambda method: sign * statistics.mean(s[method][measure] for s in scores.values())
    )


def comparison(found: dict[str, dict[int, Scores]], settings: dict[str, Settings]) -> list[str]:
    """Return one line for each set, our best method against the best published rows, and the counts."""
    groups = (SAME, DEEPER, OTHER)
    lines = [
        "| set | splits | noise | inputs | best of ours | log-likelihood | less MC dropout, tuned, split by split | "
        + " | ".join(f"best row of {title}" for title in groups)
        + " |",
        "|---" * (7 + len(groups)) + "|",
    ]
    counts = {title: [0, 0, 0] for title in groups}
    for name, scores in found.items():
        method = best_method(scores, "log_likelihood")
        values = {m: [s[m]["log_likelihood"] for s in scores.values()] for m in (method, "SGHMC")}
        cells = []
        for title in groups:
            rows = [r for r in PUBLISHED if r.group == title]
            known = [r.log_likelihood[name][0] for r in rows if name in r.log_likelihood]
            if not known:
                cells.append("none")
                continue
            # To two decimals, as the papers round.
            ahead = [
                round(statistics.mean(v), 2) >= round(max(known), 2)
                for v in (values[method], values["SGHMC"])
            ]
            counts[title] = [a + b for a, b in zip(counts[title], [*ahead, 1], strict=True)]
            cells.append(f"{max(known):.2f} ({'reached' if ahead[0] else 'missed'})")
        noise = "one σ" if settings[name].constant else "σ(x)"
        inputs = "whitened" if settings[name].whiten else "standardised"
        differences = [s[method]["log_likelihood"] - DROPOUT[name][i] for i, s in scores.items()]
        told = f"{estimate(values[method], 3)} | {estimate(differences, 3)}"
        lines.append(
            f"| {name} | {len(scores)} | {noise} | {inputs} | {method} | {told} | {' | '.join(cells)} |"
        )
    lines += [
        "",
        "Sets on which the mean is at or above the published one, by our best method and by SGHMC alone:",
        "",
    ]
    for title, (best, alone, total) in counts.items():
        lines.append(f"- {title}: {best} and {alone} of {total}")
    return lines
