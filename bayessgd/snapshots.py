r"""Snapshots of a network on its posterior, by stochastic gradient Hamiltonian Monte Carlo from where training ended.

A network's posterior is no Gaussian in its weights: draws that were near it stop being so once a Gaussian is fitted to
them. So the draws themselves are kept. From a trained network SGHMC (`bayessgd.optim.SGHMC`) goes on with SGD's own
learning rate, batch and momentum; the first part is thrown away, then a snapshot is taken every so many steps. The
padding row of an embedding is no weight and stays where it is. A weight
of prior precision τ that the data say little about forgets its start in about

    (1 − m)·N / (lr·τ) steps,   or (1 − m)·S / (lr·τ) passes over the data,

which is what the time of a run is measured by. Two numbers say on the way whether the chain is where it should be, from
gradients that are at hand. For the target ∝ e^{−N·L/T} of D weights

    virial    N·E[(θ − θ₀)ᵀ∇L] / (D·T) = 1    (θ₀ the start; integrate ∇·((θ − θ₀)·p) by parts)
    kinetic   N·(1 + m)·E‖v‖² / (2·lr·T·D) = 1    (the velocity's own variance, for small steps)

A virial outside .8 … 1.2 is that of a chain that has not arrived, or of a prior that is flat along some weights. A
kinetic temperature above 1.25 is that of batches whose noise is hotter than the target: halve the rate or enlarge the
batch. Both are also told by layer; one layer may be hot while the sum is not (LeNet-5's first convolution).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bayessgd._data import check_laws, check_of_model, check_targets, check_wide, gathered
from bayessgd._inputs import Inputs, Output, Targets, rows, size, tensors
from bayessgd._over import warn
from bayessgd._padding import Held, padding_rows
from bayessgd._probabilities import told_of_probabilities
from bayessgd.batches import Data
from bayessgd.chains import Chains
from bayessgd.equilibrium import Equilibrium, Thermometer
from bayessgd.likelihoods import Likelihood, mean_negative_log_joint
from bayessgd.optim import SGHMC, CyclicalSchedule
from bayessgd.params import named_buffers, unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.priors import GaussianPrior, Prior
from metrics.inputs import check_count, check_number, check_positive
from metrics.precision import with_gradients

__all__ = ["snapshots"]

RUN = 4
"""The default length of a run, in times that a weight needs to forget its start."""

EXPLORATION = 0.8
"""The share of a cycle before its samples: rates above a tenth of the full one."""


@with_gradients
def snapshots(
    model: nn.Module,
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    lr: float | int,
    batch_size: int,
    momentum: float | int = 0.9,
    temperature: float | int = 1.0,
    passes: float | int | None = None,
    burn_in: float = 1 / 3,
    num_draws: int = 100,
    num_chains: int = 1,
    starts: Ensemble | None = None,
    num_cycles: int | None = None,
    seed: int = 0,
    output: Output | None = None,
    progress: bool = True,
) -> Ensemble:
    """Draw whole networks from p(θ | x, y)^{1/T} by SGHMC, from a trained network.

    Args:
        model: The trained network; it lends its structure and, without `starts`, its weights, and is not changed.
        x: All the training inputs, [N, ...]: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: Their targets; `None` where x brings them.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        lr: The learning rate that SGD trained with.
        batch_size: S, the batch that SGD trained with; batches are drawn iid.
        momentum: m, torch's.
        temperature: T of the target ∝ e^{−U/T}; 1 is the posterior, less is a choice that belongs in the report.
        passes: Over the data, of each chain, burn-in included; `None` is 4·(1 − m)·S/(lr·τ) for a Gaussian prior
            of least precision τ.
        burn_in: The share of the run that is thrown away.
        num_draws: Snapshots kept, of all chains together; rounded up to a multiple of their number.
        num_chains: Chains from the model's own weights.
        starts: Trained networks, such as `Chains.posterior()`, each the start of a chain, in place of `num_chains`.
        num_cycles: Let the rate fall along so many cosines and sample only while it is low (the last fifth of each;
            `bayessgd.optim.CyclicalSchedule`), which finds more modes; `None` keeps it constant. Burn-in is then that
            of each cycle, and `burn_in` is not used.
        seed: Of batches and noise.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        progress: Show a bar.

    Returns:
        The snapshots, chain after chain. `origin` holds `passes` and `gradient_evaluations` (of single data), the
        settings, `virial` and `kinetic` temperature with their errors, each also by layer, and `equilibrium`: whether
        both are where they should be, and if not `said`, why not and what to do.

    Raises:
        TypeError, ValueError: Arguments that are not as above; data that are empty, not finite or of different
            lengths; no `passes` where the prior names no precision; a chain that diverges.

    Warns:
        UserWarning: The chains are not at equilibrium.

    Bias: of order lr in the variances, and what heat the batches bring, both within the kinetic temperature; draws
    next to each other are correlated.

    Reference: Chen, Fox & Guestrin 2014, eq. 15; Zhang et al. 2020 for the cycles; Wenzel et al. 2020, appendix
    I, for the two temperatures.

    >>> from bayessgd.likelihoods import Gaussian
    >>> line, x = nn.Linear(1, 1, bias=False), torch.ones(20, 1)
    >>> laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    >>> _ = nn.init.ones_(line.weight)  # trained
    >>> settings = {"lr": 0.05, "batch_size": 20, "passes": 150, "num_chains": 50, "progress": False}
    >>> found = snapshots(line, x, x, **laws, **settings)  # N(20/21, 1/21)
    >>> abs(float(found.mean["weight"]) - 20 / 21) < 0.1, found.origin["equilibrium"]
    (True, True)
    """
    network = unwrap(model)
    inputs, targets = gathered(network, x, y, finite=True)
    check_laws(likelihood, prior)
    check_targets(likelihood, targets)
    told_of_probabilities(network, likelihood, inputs, output)
    check_wide(network, "snapshots")
    count = size(targets)
    rate, batch = check_positive(lr, "lr"), check_count(batch_size, "batch_size")
    chains = _chains(network, starts, check_count(num_chains, "num_chains"))
    seed = check_count(seed, "seed", least=0)
    sampler = SGHMC(
        chains.parameters(),
        rate,
        num_data=count,
        momentum=momentum,
        temperature=check_positive(temperature, "temperature"),
        generator=torch.Generator(next(chains.parameters()).device).manual_seed(seed + 1),
    )
    memory = _memory(prior, rate, batch, float(momentum))
    if passes is None and memory is None:
        raise ValueError(
            f"passes must be given, for {type(prior).__name__} names no precision that tells how long a run takes; "
            "100 is a start, and the virial of the result says whether it was enough"
        )
    wanted = RUN * memory if passes is None and memory else check_positive(passes, "passes")
    each = -(-check_count(num_draws, "num_draws") // len(chains))
    steps = max(1, round(wanted * count / batch))
    cycle = None
    if num_cycles is not None:
        cycle = CyclicalSchedule(sampler, num_steps=steps, num_cycles=num_cycles, exploration=EXPLORATION)
    kept = _due(steps, each, _burn(burn_in), cycle)
    loss = partial(mean_negative_log_joint, likelihood=likelihood, prior=prior, num_data=count, output=output)
    device = next(iter(tensors(targets).values())).device
    batches = _Batches(inputs, targets, len(chains), batch, torch.Generator(device).manual_seed(seed))
    pads = padding_rows(network, inputs, output)
    draws, found = _run(chains, sampler, cycle, kept, loss, batches, pads=pads, progress=progress)
    said = found.verdict(memory)
    if said:
        warn("equilibrium", f"not at equilibrium: {said}")
    origin = {
        "sampler": "SGHMC",
        "settings": {
            "lr": rate,
            "batch_size": batch,
            "momentum": float(momentum),
            "temperature": float(temperature),
            "cycles": num_cycles,
            "seed": seed,
        },
        "passes": steps * batch / count,
        "gradient_evaluations": steps * batch * len(chains),
        "virial": found.virial,
        "kinetic": found.kinetic,
        "equilibrium": said is None,
        "said": said,
    }
    # In evaluation a chain's buffers stay what they were.
    buffers = {
        name: b.detach().repeat_interleave(each, 0) for name, b in named_buffers(chains.network).items()
    }
    return Ensemble(draws, buffers=buffers, chains=len(chains), origin=origin)


@dataclass(frozen=True)
class _Batches:
    """Draws a batch for each chain, iid with replacement."""

    x: Inputs
    y: Targets
    chains: int
    size: int
    generator: torch.Generator

    def draw(self) -> tuple[Inputs, Targets]:
        picked = torch.randint(
            size(self.y), (self.chains, self.size), generator=self.generator, device=self.generator.device
        )
        return rows(self.x, picked), rows(self.y, picked)


def _run(
    chains: Chains,
    sampler: SGHMC,
    cycle: CyclicalSchedule | None,
    kept: list[bool | None],
    loss: Callable[..., Tensor],
    batches: _Batches,
    *,
    pads: dict[str, int],
    progress: bool,
) -> tuple[dict[str, Tensor], Equilibrium]:
    """Run the chains; a step whose entry in `kept` is None is burn-in, True ends in a snapshot."""
    named = dict(chains.named_parameters())
    parameters, group = list(named.values()), sampler.param_groups[0]
    starts = {name: p.detach().clone() for name, p in named.items()}
    held = Held(pads, starts)
    thermometer = Thermometer(starts, [held.size(name) for name in named])
    rows: list[list[Tensor]] = []
    with tqdm(total=len(kept), desc="SGHMC", unit="step", disable=None if progress else True) as bar:
        for step, keep in enumerate(kept):
            sampler.zero_grad()
            chains.map(loss, *batches.draw()).sum().backward()
            if keep is not None:
                thermometer.before(parameters)
            sampler.step()
            velocities = [sampler.state[p]["velocity"] for p in parameters]
            for name, p, v in zip(named, parameters, velocities, strict=True):
                held.put_back(name, p, v)
            if keep is not None:
                thermometer.after(velocities, group["lr"])
            if keep:
                rows.append([p.detach().clone() for p in parameters])
                thermometer.close()
                _check_finite(rows[-1], step, group["lr"])
            if cycle is not None:
                cycle.step()
            bar.update()
    draws = {
        name: torch.stack(column, 1).flatten(0, 1)
        for name, column in zip(named, zip(*rows, strict=True), strict=True)
    }
    found = thermometer.read(
        num_data=group["num_data"],
        momentum=group["momentum"],
        temperature=group.get("initial_temperature", group["temperature"]),
    )
    return draws, found


def _due(steps: int, draws: int, burn_in: float, cycle: CyclicalSchedule | None) -> list[bool | None]:
    """Return for every step whether it is burn-in (None), or ends in one of the evenly spread snapshots."""
    if cycle is None:
        sampling = [step >= burn_in * steps for step in range(steps)]
    else:
        sampling = [step % cycle.cycle_length / cycle.cycle_length >= EXPLORATION for step in range(steps)]
    total, seen, found = sum(sampling), 0, []
    if total < draws:
        raise ValueError(
            f"num_draws must be at most the {total} steps of a chain after burn-in, got {draws} for each; raise passes "
            "or lower num_draws"
        )
    for sampled in sampling:
        seen += sampled
        found.append(seen * draws // total > (seen - 1) * draws // total if sampled else None)
    return found


def _chains(network: nn.Module, starts: Ensemble | None, count: int) -> Chains:
    """Return stacked chains at their starts, in evaluation mode: the posterior is of the network that predicts."""
    if starts is None:
        chains = Chains(network, count, jitter=0.0)
    elif not isinstance(starts, Ensemble):
        raise TypeError(
            f"starts must be an Ensemble, got {type(starts).__name__}; use Chains(...).posterior()"
        )
    else:
        check_of_model(starts.draws, network, "starts", lead=1)
        chains = Chains(network, len(starts), jitter=0.0)
        with torch.no_grad():
            for name, p in [*chains.named_parameters(), *chains.named_buffers()]:
                start = starts.draws.get(name, starts.buffers.get(name))
                if start is not None:
                    p.copy_(start)
    chains.network.eval()
    return chains


def _memory(prior: Prior, lr: float, batch_size: int, momentum: float) -> float | None:
    """Return the passes in which a weight that only the prior holds forgets its start: (1 − m)·S/(lr·τ)."""
    if not isinstance(prior, GaussianPrior):
        return None
    given = prior.precision
    least = min(given.values()) if isinstance(given, Mapping) else given
    return (1 - momentum) * batch_size / (lr * float(least))


def _burn(burn_in: object) -> float:
    share = check_number(burn_in, "burn_in")
    if not 0 <= share < 1:
        raise ValueError(f"burn_in must be a share of the run in [0, 1), got {share}; a third is the default")
    return share


def _check_finite(values: list[Tensor], step: int, lr: float) -> None:
    if not all(bool(t.isfinite().all()) for t in values):
        raise ValueError(
            f"the chain left the finite numbers by step {step + 1} at lr = {lr:.3g}; halve lr, or start from a "
            "network that was trained with it"
        )
