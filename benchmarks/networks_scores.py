"""What the predictions of `networks.py` are worth, and how near they are to NUTS's.

Of classes: mean NLL, accuracy, calibration error (l1, 15 bins) on the test points, AUROC of telling strangers by
predictive entropy, total variation to the reference's predictive distribution. Of the regression: mean NLL, and the
total variation of densities on a grid. Points are those of the test set alone.
"""

import math
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from networks_methods import Fit, member
from networks_problems import Problem
from torch import Tensor
from torch.func import vmap

import metrics
from bayessgd import Ensemble, predict, reference
from bayessgd.likelihoods import Categorical
from bayessgd.tangents import tangents

__all__ = ["Scores", "of_classes", "reference_predictions", "score"]


@dataclass(frozen=True)
class Scores:
    """One fit's scores; what does not apply is NaN."""

    nll: float
    accuracy: float = math.nan
    calibration: float = math.nan
    tv: float = math.nan
    auroc: dict[str, float] = field(default_factory=dict)
    points: list[float] = field(default_factory=list)
    passes: float = math.nan
    seconds: float = math.nan
    note: str = ""


def score(p: Problem, fit: Fit, truth: Tensor | None) -> Scores:
    """Score a fit's predictive distribution, mixed over its draws."""
    bank = Ensemble(fit.posterior.sample(fit.draws, generator=torch.Generator().manual_seed(0)))
    cost = {"passes": fit.passes, "seconds": fit.seconds, "note": fit.note}
    outputs = _outputs(p, bank, p.test_x, around=fit.posterior.mean if fit.linearised else None)
    log_density = vmap(p.likelihood.log_prob, (0, None))(outputs, p.test_y)
    points = -(log_density.double().logsumexp(0) - math.log(len(outputs)))
    if isinstance(p.likelihood, Categorical):
        around = fit.posterior.mean if fit.linearised else None
        outside = {name: _outputs(p, bank, x, around=around).softmax(-1) for name, x in p.outside.items()}
        return of_classes(p, outputs.softmax(-1), outside, truth, cost)
    tv = math.nan if truth is None else _total_variation(predictive(p, outputs), truth)
    return Scores(nll=float(points.mean()), tv=tv, points=points.tolist(), **cost)


def of_classes(
    p: Problem, probs: Tensor, outside: dict[str, Tensor], truth: Tensor | None, cost: dict
) -> Scores:
    """Score class probabilities [samples, n, classes] at the test points and at strangers."""
    found = probs.mean(0)
    found = found / found.sum(1, keepdim=True)
    points = metrics.categorical_nll(found, p.test_y, per_point=True).double()
    inside = metrics.predictive_entropy(found[None])
    auroc = {
        name: float(
            metrics.out_of_distribution_auroc(
                inside=inside, outside=metrics.predictive_entropy(each.mean(0, keepdim=True))
            ).value
        )
        for name, each in outside.items()
    }
    return Scores(
        nll=float(points.mean()),
        accuracy=float((found.argmax(1) == p.test_y).float().mean()),
        calibration=float(metrics.calibration_error(found, p.test_y)),
        tv=math.nan if truth is None else _total_variation(found, truth),
        auroc=auroc,
        points=points.tolist(),
        **cost,
    )


def _total_variation(found: Tensor, truth: Tensor) -> float:
    return float(0.5 * (found - truth).abs().sum(1).mean())


def _outputs(p: Problem, bank: Ensemble, x: Tensor, *, around: dict[str, Tensor] | None = None) -> Tensor:
    """Return the outputs of a bank's draws, of the network or of its linearisation around given weights."""
    net = p.make()
    if around is None:
        return torch.cat([predict(net, bank, part, num_samples=len(bank)) for part in x.split(250)], 1)
    away = {name: draws - around[name] for name, draws in bank.draws.items()}
    pairs = [tangents(net, around, away, part) for part in x.split(250)]
    return torch.cat([centre + pushed for centre, pushed in pairs], 1)


def predictive(p: Problem, outputs: Tensor) -> Tensor:
    """Return the predictive distribution of each point: of classes, or of a grid's cells for the regression."""
    if isinstance(p.likelihood, Categorical):
        return outputs.softmax(-1).mean(0)
    spread = float(p.y.std())
    grid = torch.linspace(float(p.y.min()) - 2 * spread, float(p.y.max()) + 2 * spread, 301)

    def at(value: Tensor) -> Tensor:
        targets = value.expand(outputs.shape[1], 1)
        return vmap(p.likelihood.log_prob, (0, None))(outputs, targets).logsumexp(0)

    return torch.stack([at(value) for value in grid], 1).softmax(1)


def reference_predictions(p: Problem, name: str, folder: Path) -> Tensor | None:
    """Return NUTS's predictive distribution at the test points; None for problems that are too large for it."""
    posterior = nuts(p, name, folder)
    return None if posterior is None else predictive(p, _outputs(p, posterior, p.test_x))


def nuts(p: Problem, name: str, folder: Path) -> Ensemble | None:
    """Return NUTS's draws, of four chains from four trained networks' neighbourhood; they are cached in the folder."""
    if name not in ("digits", "diabetes"):
        return None
    net = p.make()
    start = member(p, 99, rank=2, folder=folder).trained.mean
    net.load_state_dict(start)
    draw = partial(reference.nuts, net, p.x, p.y, **p.laws, num_samples=250, num_warmup=200, num_chains=4)
    with warnings.catch_warnings():
        # Weights have symmetries, so that their R̂ says little; that of predictions is what counts.
        warnings.filterwarnings("ignore", message="NUTS ended")
        return draw(max_tree_depth=7, seed=0, cache=folder, progress=False)
