"""The UCI benchmark's tables: means and standard errors over splits, beside the published rows."""

import statistics

from uci_methods import METHODS
from uci_network import Settings
from uci_published import DEEPER, DROPOUT, OTHER, PUBLISHED, SAME, Number

__all__ = ["WHITENING", "Scores", "comparison", "estimate", "outliers", "table"]

Scores = dict[str, dict[str, float]]
"""By method and measure."""

DIGITS = {"kin8nm": 3, "naval": 5, "wine": 3}
"""Decimals of the RMSE, where two are not right."""

WHITENING = """\
## Standardised and whitened inputs

Validation log-likelihood of SGHMC, on validation parts of the training parts alone; whitened less standardised, split \
by split. Inputs are whitened where the gain is above 0.01 nats and above two standard errors. Whitening changes two \
things at once, which were not told apart: the condition of the loss, and the prior, isotropic in the whitened inputs.

| set | splits | standardised | whitened | gain |
|---|---|---|---|---|
| yacht | 3 | -0.061 ± 0.181 | -0.124 ± 0.138 | -0.063 ± 0.087 |
| boston | 3 | -2.361 ± 0.057 | -2.695 ± 0.355 | -0.334 ± 0.324 |
| energy | 3 | -0.627 ± 0.006 | -0.429 ± 0.042 | 0.197 ± 0.038 |
| concrete | 3 | -2.914 ± 0.059 | -2.878 ± 0.060 | 0.036 ± 0.025 |
| wine | 3 | -0.909 ± 0.013 | -0.906 ± 0.013 | 0.004 ± 0.009 |
| power-plant | 3 | -2.738 ± 0.005 | -2.737 ± 0.005 | 0.001 ± 0.001 |
| kin8nm | 3 | 1.263 ± 0.008 | 1.260 ± 0.010 | -0.003 ± 0.007 |
| naval | 2 | 6.055 ± 0.014 | 7.975 ± 0.012 | 1.921 ± 0.026 |
| protein | 2 | -2.796 ± 0.013 | -2.742 ± 0.006 | 0.054 ± 0.007 |

Protein would have it too by its two splits; its test parts have not been run with it.

Naval has two inputs that are constant and two that are equal; the correlations of the other thirteen have eigenvalues \
from 1.2e-5 to 14. Its target comes from a simulator and has next to no noise: the log-likelihood tells how far the \
fit has come. The first of its splits, on its validation part:

| steps of Adam, of SGHMC | standardised | whitened |
|---|---|---|
| 600, 2500 | 5.245 | 7.332 |
| 2000, 2500 | | 7.895 |
| 4000, 2500 | | 7.994 |
| 4000, 1500 | 6.030 | |
| 4000, 1000 | | 7.930 |
"""


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
