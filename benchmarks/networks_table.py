"""The tables of `networks.py`: means over seeds with their errors, and differences to the iterates' average."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from networks_problems import Problem
from networks_scores import Scores

from metrics.estimate import with_error

__all__ = ["NOTE", "PUBLISHED", "table"]

BASE = "iterate average"

NOTE = """± over runs is one standard error of their mean; that of the difference to the iterates' average is over the
test points, paired, of the mean over runs. Passes are gradients of single data over N, training included; seconds are
of one thread, of a machine that did other work beside. TV: total variation of the predictive distribution to NUTS's
(four chains, 1000 draws). SGHMC's draws are those of all its chains together. Peers: laplace-torch's last layer with
Kronecker factors (its default) at the given prior and after its marginal likelihood, IVON at its package's defaults,
dropout at p = .5, torch-uncertainty's SWAG at its defaults; each at the passes of the average or a tenth more."""

PUBLISHED = """Published for MNIST, LeNet-5, 50 000 images (google/uncertainty-baselines, baselines/mnist/README.md; not
the same split): NLL and accuracy, deterministic .037 and 99.1 %, variational inference .048 and 98.5 %, refined .034
and 99.0 %, ensemble of ten .016 and 99.4 %."""


def table(name: str, p: Problem, found: Mapping[str, Sequence[Scores]]) -> list[str]:
    """Return the lines of one problem's table."""
    some = next(iter(found.values()))[0]
    columns: list[tuple[str, Callable[[Scores], float]]] = [("NLL", lambda s: s.nll)]
    if not math.isnan(some.accuracy):
        columns += [("accuracy", lambda s: s.accuracy), ("calibration error", lambda s: s.calibration)]
    if not math.isnan(some.tv):
        columns += [("TV to NUTS", lambda s: s.tv)]
    columns += [(f"AUROC, {kind}", lambda s, kind=kind: s.auroc[kind]) for kind in some.auroc]
    head = [
        "method",
        "runs",
        *(title for title, _ in columns),
        f"NLL − {BASE}'s",
        "passes",
        "seconds",
        "note",
    ]
    lines = [
        f"**{name}**: N = {len(p.x):,}, {len(p.test_x):,} test points, prior precision {p.precision:g}, "
        f"learning rate {p.rate:g}, batch {p.batch}",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for method, rows in found.items():
        cells = [method, str(len(rows)), *(_over(rows, value) for _, value in columns)]
        cells += [
            _paired(rows, found[BASE]),
            f"{rows[0].passes:,.0f}",
            f"{_mean(rows, lambda s: s.seconds):,.0f}",
        ]
        lines.append("| " + " | ".join([*cells, rows[0].note]) + " |")
    return lines


def _mean(rows: Sequence[Scores], value: Callable[[Scores], float]) -> float:
    return sum(value(row) for row in rows) / len(rows)


def _over(rows: Sequence[Scores], value: Callable[[Scores], float]) -> str:
    """Mean ± standard error over seeds, where there are several; a peer's draws may have no total variation."""
    values = torch.tensor([value(row) for row in rows], dtype=torch.float64)
    if bool(values.isnan().any()):
        return "—"
    if len(values) < 2:
        return f"{float(values[0]):.4f}"
    return with_error(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _paired(rows: Sequence[Scores], base: Sequence[Scores]) -> str:
    """The difference in NLL to the average's, ± its standard error over the test points (mean over seeds)."""
    several = [torch.tensor(row.points, dtype=torch.float64) for row in base]
    mean = torch.stack(several).mean(0)
    gaps = torch.stack([torch.tensor(row.points, dtype=torch.float64) for row in rows]).mean(0) - mean
    return with_error(float(gaps.mean()), float(gaps.std()) / math.sqrt(len(gaps)))
