"""Scores of predictive distributions, for the notebook: each ± its standard error over test points.

A posterior's predictive distribution at x is the mixture p(y | x) = (1/M) Σᵢ p(y | f(x, θᵢ)) over its draws. *TV* is
its total variation ½Σ|p − q| to that of a reference, here NUTS, and *agreement* how often the two name the same class
(Wilson et al. 2022, the measures of the NeurIPS 2021 competition); densities are compared on a grid. The reference is
itself a finite number of draws: what its own chains say of each other is the floor.

Means over points have the deviation of their terms over √n as standard error, shares the binomial one (Agresti & Coull
1998, never 0), a root of a mean half the mean's relative error (delta method). The fit itself is taken as it is:
another seed gives another network, whose scatter is not in these errors.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from posterior_methods import Fit, Task
from torch import Tensor, nn
from torch.func import vmap

import metrics
from bayessgd import Ensemble, predict
from metrics.estimate import with_error
from metrics.predictions import bin_index, binomial_stderr, calibration_floor, top_label

__all__ = [
    "calibration",
    "class_probabilities",
    "classification_table",
    "densities",
    "outputs_of",
    "regression_table",
]

NOISE = 600
"""Draws from each point's predictive law, of which CRPS and intervals are made."""

CALIBRATED = "Beside a calibration error, what a calibrated model of the same confidences would show."


def outputs_of(task: Task, fits: Mapping[str, Fit], x: Tensor) -> dict[str, Tensor]:
    """Return every method's network outputs [samples, n, ...] at x: of the same draws at every call."""
    model: nn.Module = task.make()

    def of(fit: Fit) -> Tensor:
        random = torch.Generator().manual_seed(0)
        return predict(model, fit.posterior, x, num_samples=fit.draws, generator=random)

    return {name: of(fit) for name, fit in fits.items()}


def regression_table(
    task: Task, fits: Mapping[str, Fit], x: Tensor, y: Tensor, *, reference: str = "NUTS"
) -> str:
    """Return a Markdown table of what the methods' predictions are worth, and how near to the reference's they are."""
    outputs = outputs_of(task, fits, x)
    spread = float(y.std())
    grid = torch.linspace(float(y.min()) - 2 * spread, float(y.max()) + 2 * spread, 301)
    known = densities(task, outputs[reference], grid)
    halves = [densities(task, part, grid) for part in _by_chain(fits[reference], outputs[reference])]
    tv = partial(metrics.total_variation, per_point=True)
    rows = []
    for name, output in outputs.items():
        nll = -(vmap(task.likelihood.log_prob, (0, None))(output, y).logsumexp(0) - math.log(len(output)))
        samples = _samples(task, output)
        squares = (samples.mean(0) - y[:, 0]).double().square()
        covered = metrics.interval_coverage(samples, y[:, 0], level=0.9)
        crps = metrics.crps_ensemble(samples, y[:, 0], fair=True, per_point=True)
        rows.append(
            [
                name,
                f"{fits[name].passes:,.0f}",
                _mean(nll),
                _root(squares),
                _mean(crps),
                with_error(float(covered.coverage), float(covered.coverage_stderr)),
                _mean(covered.upper - covered.lower),
                _floor(_mean, tv, halves)
                if name == reference
                else _mean(tv(densities(task, output, grid), known)),
            ]
        )
    table = _markdown(
        [
            "method",
            "passes",
            "NLL",
            "RMSE",
            "CRPS",
            "90 % interval covers",
            "its width",
            f"TV to {reference}",
        ],
        rows,
    )
    return f"{table}\n\n{_note(len(x), reference, halves)} CRPS and intervals by {NOISE} draws of each law."


def classification_table(
    task: Task,
    fits: Mapping[str, Fit],
    x: Tensor,
    labels: Tensor,
    outside: Mapping[str, Tensor],
    *,
    reference: str = "NUTS",
) -> str:
    """Return the same for classes, with the AUROC of telling `outside`'s inputs from x by predictive entropy."""
    probs = {name: o.softmax(-1) for name, o in outputs_of(task, fits, x).items()}
    strangers = {
        kind: {name: o.softmax(-1) for name, o in outputs_of(task, fits, points).items()}
        for kind, points in outside.items()
    }
    known = probs[reference].mean(0)
    halves = [part.mean(0) for part in _by_chain(fits[reference], probs[reference])]
    tv, same = (partial(measure, per_point=True) for measure in (metrics.total_variation, metrics.agreement))
    rows = []
    for name, each in probs.items():
        mean = each.mean(0)
        row = [
            name,
            f"{fits[name].passes:,.0f}",
            _mean(metrics.categorical_nll(mean, labels, per_point=True)),
            _share(mean.argmax(1) == labels),
            f"{with_error(*calibration(mean, labels))} ({float(calibration_floor(mean).mean()):.3f})",
            _mean(metrics.brier_score(mean, labels, per_point=True)),
        ]
        if name == reference:
            row += [_floor(_share, same, halves), _floor(_mean, tv, halves)]
        else:
            row += [_share(same(mean, known)), _mean(tv(mean, known))]
        inside = metrics.predictive_entropy(each)
        for kind in outside:
            told = metrics.out_of_distribution_auroc(
                inside=inside, outside=metrics.predictive_entropy(strangers[kind][name])
            )
            row.append(with_error(told.value, told.stderr))
        rows.append(row)
    head = ["method", "passes", "NLL", "accuracy", "calibration error (floor)", "Brier"]
    head += [f"agreement with {reference}", f"TV to {reference}"]
    head += [f"AUROC, {len(points)} {kind}" for kind, points in outside.items()]
    return f"{_markdown(head, rows)}\n\n{_note(len(x), reference, halves)} {CALIBRATED}"


def calibration(probs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the calibration error (l1, 15 bins) and its standard error.

    Σ_b (n_b/n)|c̄_b − h̄_b| = (1/n) Σᵢ s_b(i)·(cᵢ − hᵢ), s_b the sign of bin b's gap: a mean over points where the signs
    are clear. Bins whose gap is within its noise make the value too large (`metrics.calibration_floor`) and
    the error, if anything, as well.

    >>> probs, labels = torch.tensor([[0.8, 0.2], [0.8, 0.2]]), torch.tensor([0, 1])
    >>> [round(number, 3) for number in calibration(probs, labels)]   # 0.8 − 1/2; terms −0.2 and 0.8
    [0.3, 0.5]
    """
    diagram = metrics.reliability_diagram(probs, labels)
    confidence, right = top_label(probs, labels)
    sign = (diagram.confidence - diagram.accuracy).sign()
    terms = (sign[bin_index(confidence, diagram.edges[:, None])] * (confidence - right)).double()
    return float(terms.mean()), float(terms.std()) / math.sqrt(len(terms))


def class_probabilities(task: Task, fit: Fit, x: Tensor) -> Tensor:
    """Return one method's class probabilities [samples, n, classes]."""
    return outputs_of(task, {fit.name: fit}, x)[fit.name].softmax(-1)


def densities(task: Task, output: Tensor, grid: Tensor) -> Tensor:
    """Return the predictive law of every point as probabilities of the grid's cells, [n, cells]."""

    def at(value: Tensor) -> Tensor:
        targets = value.expand(output.shape[1], 1)
        return vmap(task.likelihood.log_prob, (0, None))(output, targets).logsumexp(0)

    return torch.stack([at(value) for value in grid], 1).softmax(1)


def _samples(task: Task, output: Tensor) -> Tensor:
    """Return draws of the targets, [samples, n], as many of every network."""
    each = -(-NOISE // len(output))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        drawn = [task.likelihood(one).sample((each,))[..., 0] for one in output]
    return torch.cat(drawn)


def _by_chain(fit: Fit, output: Tensor) -> list[Tensor]:
    """Return the outputs [samples, n, ...] of either half of an ensemble's chains; none where it is one chain."""
    posterior = fit.posterior
    if not isinstance(posterior, Ensemble) or posterior.chains < 2 or fit.draws != len(posterior):
        return []
    chains = output.unflatten(0, (posterior.chains, -1))
    return [part.flatten(0, 1) for part in (chains[: len(chains) // 2], chains[len(chains) // 2 :])]


def _floor(
    written: Callable[[Tensor], str],
    measure: Callable[[Tensor, Tensor], Tensor],
    halves: Sequence[Tensor],
) -> str:
    return f"({written(measure(*halves))})" if halves else "—"


def _note(n: int, reference: str, halves: Sequence[Tensor]) -> str:
    said = f"{n} test points; ± one standard error over them, of these fits."
    return f"{said} In brackets: {reference}'s chains against each other." if halves else said


def _mean(terms: Tensor) -> str:
    return with_error(*_moments(terms))


def _root(terms: Tensor) -> str:
    """Of the root of a mean, by the delta method."""
    value, stderr = _moments(terms)
    return with_error(math.sqrt(value), stderr / (2 * math.sqrt(value)))


def _share(terms: Tensor) -> str:
    hits, n = terms.double().sum(), torch.tensor(float(len(terms)), dtype=torch.float64)
    return with_error(float(hits / n), float(binomial_stderr(hits, n)))


def _moments(terms: Tensor) -> tuple[float, float]:
    values = terms.double()
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
