"""The methods of `networks.py`, each a few lines of library: what a user would write.

A *member* is one network trained by SGD with momentum, its rate falling along a cosine to 0, that then wanders on at a
constant half of the rate while two collectors listen. From members come all methods but the sampler's:

    SGD, average, SWAG                  of one member
    span                                `calibrate`, and with `held_out`
    mixtures of averages, of spans      Mixture
    ensemble                            of the members' ends of training
    SGHMC                               `snapshots` from the ends of training
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from networks_problems import Problem
from torch import Tensor, nn

import bayessgd
from bayessgd import SWAG, Ensemble, IterateAverage, Mixture, Posterior, calibrate, snapshots
from bayessgd.calibration import Calibration
from bayessgd.calibration import problem as calibration
from bayessgd.calibration.curvature import curvature_in_span, gaussian_in_span
from bayessgd.calibration.span import Span
from bayessgd.likelihoods import mean_negative_log_joint
from bayessgd.params import unflatten

__all__ = ["Fit", "Member", "ensembles", "gaussians", "member", "of_one", "sampled"]


@dataclass(frozen=True)
class Fit:
    """A posterior, how many draws to predict with, what it cost, and what it said of itself."""

    posterior: Posterior
    draws: int
    passes: float
    seconds: float
    note: str = ""
    linearised: bool = False


@dataclass(frozen=True)
class Member:
    """One run: the end of training, the average and SWAG of the wandering, passes and seconds of both parts."""

    trained: Posterior
    average: Posterior
    swag: bayessgd.LowRankGaussian
    cost: dict[str, float]


def member(p: Problem, seed: int, *, rank: int, folder: Path | None = None) -> Member:
    """Train and let wander; with a folder, read what an earlier run left there."""
    stem = None if folder is None else folder / f"{p.name.replace(' ', '-')}-{rank}-{seed}"
    parts = ("trained", "average", "swag")
    paths = [] if stem is None else [stem.with_name(f"{stem.name}-{part}.safetensors") for part in parts]
    if paths and all(path.exists() for path in paths):
        trained, average, swag = (bayessgd.load(path) for path in paths)
        assert isinstance(trained, Ensemble)
        assert isinstance(swag, bayessgd.LowRankGaussian)
        return Member(trained, average, swag, trained.origin)
    found = _member(p, seed, rank)
    if paths and folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        found.average.save(paths[1])
        found.swag.save(paths[2])
        found.trained.save(paths[0])  # last: it is what a resumed run looks for
    return found


def _member(p: Problem, seed: int, rank: int) -> Member:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = p.make()
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(net.parameters(), p.rate, momentum=0.9)
    steps = p.steps(p.passes)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    start = time.perf_counter()
    for _ in range(steps):
        _step(p, net, optimizer, random)
        schedule.step()
    trained = {name: t.detach()[None].clone() for name, t in net.named_parameters()}
    between = time.perf_counter()
    optimizer = torch.optim.SGD(net.parameters(), p.rate / 2, momentum=0.9)
    steps = p.steps(p.wander)
    average, swag, first = IterateAverage(net), SWAG(net, rank=rank), steps // 9
    average.attach(optimizer, start=first)
    swag.attach(optimizer, start=first, every=max(1, (steps - first) // p.snapshots))
    for _ in range(steps):
        _step(p, net, optimizer, random)
    cost = {
        "training_passes": p.passes,
        "training_seconds": between - start,
        "wandering_passes": p.wander,
        "wandering_seconds": time.perf_counter() - between,
    }
    return Member(Ensemble(trained, origin=cost), average.posterior(), swag.posterior(), cost)


def _step(p: Problem, net: nn.Module, optimizer: torch.optim.Optimizer, random: torch.Generator) -> None:
    picked = torch.randint(len(p.x), (p.batch,), generator=random)
    optimizer.zero_grad()
    loss = mean_negative_log_joint(
        net, dict(net.named_parameters()), p.x[picked], p.y[picked], **p.laws, num_data=len(p.x)
    )
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 100.0)  # far above any gradient but those of a bad start
    optimizer.step()


def of_one(p: Problem, m: Member, seed: int) -> dict[str, Fit]:
    """What one member gives."""
    trained = m.cost["training_passes"], m.cost["training_seconds"]
    passes, seconds = (trained[0] + m.cost["wandering_passes"], trained[1] + m.cost["wandering_seconds"])
    found = {
        "SGD": Fit(m.trained, 1, *trained),
        "iterate average": Fit(m.average, 1, passes, seconds),
        "SWAG as collected": Fit(m.swag, 30, passes, seconds),
    }
    for name, held_out in (("span", None), ("span, held out", (p.held_x, p.held_y))):
        start = time.perf_counter()
        tuned = _calibrated(p, m, seed, held_out)
        more = time.perf_counter() - start
        draws = 30 if tuned.factor else 1
        # K products forward cost about three forward passes each, of at most 2000 data.
        share = min(len(p.x), 2000) / len(p.x)
        cost = passes + share * (tuned.directions + tuned.dropped + 20)
        found[name] = Fit(tuned.posterior, draws, cost, seconds + more, _said(tuned))
    return found


def gaussians(p: Problem, m: Member, seed: int) -> dict[str, Fit]:
    """Gaussians around the snapshots' mean, sampled and linearised: in the span, too wide, and Laplace's.

    Laplace's is the inverse of the whole Gauss–Newton matrix: for networks of some hundred weights.
    """
    random = torch.Generator().manual_seed(seed)
    span = _calibrated(p, m, seed, None).posterior
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few directions carry the excess is what this row shows
        wide = calibrate(p.make(), m.swag, p.x, p.y, **p.laws, directions="all", generator=random).posterior
    mean = m.swag.mean
    size = sum(t.numel() for t in mean.values())
    every = Span(unflatten(torch.eye(size), mean))
    problem = calibration.Problem(p.make(), p.x, p.y, p.likelihood, p.laws["prior"], len(p.x))
    whole = gaussian_in_span(m.swag, curvature_in_span(problem, mean, every), size)
    found = {}
    for name, law in (("span", span), ("all directions, D/2", wide), ("Laplace, all weights", whole)):
        for linearised in (False, True):
            if name != "span" or linearised:
                found[f"{name}, linearised" if linearised else name] = Fit(
                    law, 30, m.cost["training_passes"] + m.cost["wandering_passes"], 0.0, "", linearised
                )
    return found


def _calibrated(p: Problem, m: Member, seed: int, held_out: tuple[Tensor, Tensor] | None) -> Calibration:
    random = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="held-out data accept no width")  # it is in the note
        return calibrate(p.make(), m.swag, p.x, p.y, **p.laws, held_out=held_out, generator=random)


def _said(found: Calibration) -> str:
    kept = f"K = {found.directions} of {found.directions + found.dropped}, r = {found.ratio:.2f}"
    if found.held_out is None:
        return kept
    return f"{kept}, factor {found.factor:g}, gain {found.gain:.4f} ± {found.gain_stderr:.4f}"


def ensembles(p: Problem, fits: Sequence[dict[str, Fit]]) -> dict[str, Fit]:
    """What several members give together."""
    count = len(fits)

    def together(name: str, draws: int) -> Fit:
        parts = [fit[name] for fit in fits]
        law = Mixture([part.posterior for part in parts])
        return Fit(law, draws, sum(part.passes for part in parts), sum(part.seconds for part in parts))

    return {
        f"ensemble of {count}": together("SGD", count),
        f"{count} averages": together("iterate average", count),
        f"{count} spans": together("span", 10 * count),
    }


def sampled(
    p: Problem, members: Sequence[Member], *, passes: float, temperature: float, draws: int, seed: int
) -> Fit:
    """SGHMC from the ends of training, with SGD's own rate and batch."""
    ends = [m.trained.draws for m in members if isinstance(m.trained, Ensemble)]
    starts = Ensemble({name: torch.cat([draws[name] for draws in ends]) for name in ends[0]})
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="not at equilibrium")  # it is in the note
        found = snapshots(
            p.make(),
            p.x,
            p.y,
            **p.laws,
            lr=p.rate,
            batch_size=p.batch,
            temperature=temperature,
            passes=passes,
            num_draws=draws,
            starts=starts,
            seed=seed,
            progress=False,
        )
    before = sum(m.cost["training_passes"] for m in members), sum(m.cost["training_seconds"] for m in members)
    virial, kinetic = found.origin["virial"], found.origin["kinetic"]
    note = f"virial {_with(virial)}, kinetic {_with(kinetic)}"
    return Fit(
        found,
        len(found),
        before[0] + len(members) * passes,
        before[1] + time.perf_counter() - start,
        note,
    )


def _with(found: dict[str, Any]) -> str:
    stderr = found["stderr"]
    return f"{found['value']:.2f}" + (f" ± {stderr:.2f}" if stderr is not None else "")
