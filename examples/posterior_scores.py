"""Scores of predictive distributions, for the notebook: each a mean over test points ± its standard error.

A posterior's predictive distribution at x is the mixture p(y | x) = (1/M) Σᵢ p(y | f(x, θᵢ)) over its draws. *TV* is
its total variation ½Σ|p − q| to that of a reference, here NUTS, and *agreement* how often the two name the same class
(Wilson et al. 2022, the measures of the NeurIPS 2021 competition); densities are compared on a grid.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from posterior_methods import Fit, Task
from torch import Tensor, nn
from torch.func import vmap

import metrics
from bayessgd import predict
from metrics.estimate import with_error

__all__ = ["class_probabilities", "classification_table", "densities", "outputs_of", "regression_table"]

NOISE = 600
"""Draws from each point's predictive law, of which CRPS and intervals are made."""


def outputs_of(task: Task, fits: Mapping[str, Fit], x: Tensor) -> dict[str, Tensor]:
    """Return every method's network outputs [samples, n, ...] at x."""
    random = torch.Generator().manual_seed(0)
    model: nn.Module = task.make()
    return {
        name: predict(model, fit.posterior, x, num_samples=fit.draws, generator=random)
        for name, fit in fits.items()
    }


def regression_table(
    task: Task, fits: Mapping[str, Fit], x: Tensor, y: Tensor, *, reference: str = "NUTS"
) -> str:
    """Return a Markdown table of what the methods' predictions are worth, and how near to the reference's they are."""
    outputs = outputs_of(task, fits, x)
    spread = float(y.std())
    grid = torch.linspace(float(y.min()) - 2 * spread, float(y.max()) + 2 * spread, 301)
    known = densities(task, outputs[reference], grid)
    rows = []
    for name, output in outputs.items():
        nll = -(vmap(task.likelihood.log_prob, (0, None))(output, y).logsumexp(0) - math.log(len(output)))
        samples = _samples(task, output)
        error = samples.mean(1) - y[:, 0]
        covered = metrics.interval_coverage(samples, y[:, 0], level=0.9)
        crps = metrics.crps_ensemble(samples, y[:, 0], fair=True, per_point=True)
        far = metrics.total_variation(densities(task, output, grid), known, per_point=True)
        rows.append(
            [
                name,
                f"{fits[name].passes:,.0f}",
                _mean(nll),
                f"{float(error.square().mean().sqrt()):.3f}",
                _mean(crps),
                f"{float(covered.coverage):.3f}",
                f"{float(covered.width):.3f}",
                "—" if name == reference else _mean(far),
            ]
        )
    return _markdown(
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
    rows = []
    for name, each in probs.items():
        mean = each.mean(0)
        right = (mean.argmax(1) == labels).double()
        row = [
            name,
            f"{fits[name].passes:,.0f}",
            _mean(metrics.categorical_nll(mean, labels, per_point=True)),
            _mean(right),
            f"{float(metrics.calibration_error(mean, labels)):.3f}",
            _mean(metrics.brier_score(mean, labels, per_point=True)),
        ]
        if name == reference:
            row += ["—", "—"]
        else:
            row += [
                f"{float(metrics.agreement(mean, known)):.3f}",
                _mean(metrics.total_variation(mean, known, per_point=True)),
            ]
        inside = metrics.predictive_entropy(each)
        for kind in outside:
            told = metrics.out_of_distribution_auroc(
                inside=inside, outside=metrics.predictive_entropy(strangers[kind][name])
            )
            row.append(with_error(told.value, told.stderr))
        rows.append(row)
    head = ["method", "passes", "NLL", "accuracy", "calibration error", "Brier"]
    head += [f"agreement with {reference}", f"TV to {reference}"]
    return _markdown([*head, *(f"AUROC, {kind}" for kind in outside)], rows)


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
    """Return draws of the targets, [n, members], as many of every network."""
    each = -(-NOISE // len(output))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        drawn = [task.likelihood(one).sample((each,))[..., 0] for one in output]
    return torch.cat(drawn).T.contiguous()


def _mean(terms: Tensor) -> str:
    values = terms.double()
    return with_error(float(values.mean()), float(values.std()) / math.sqrt(len(values)))


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
