r"""What the other posteriors are held against: long chains of the No-U-Turn sampler.

NUTS (Hoffman & Gelman 2014) follows Hamiltonian trajectories of the potential

    U(θ) = −log p(y | x, θ) − log p(θ)

on all the data and has, up to its Monte-Carlo error, no bias: step length and mass matrix are adapted during
a warm-up, whose draws are thrown away. The sampler is Pyro's; what is added here is what a reference needs:

- several chains from scattered starts, one after the other, with R̂ and the effective sample size of every
  parameter (`metrics.chains`) and a warning where they do not suffice;
- a count of the gradients that were spent, so that other samplers can be held against the cost;
- the gradient traced once to a graph of tensor operations (two to four times faster than the module);
- the draws kept in a file under a key of model, data, prior and settings: NUTS is slow, and what was paid for
  is not paid for again.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bayessgd._cache import Cache, Chain
from bayessgd._data import check_laws, check_targets, check_wide, gathered
from bayessgd._evaluating import evaluating
from bayessgd._flat_potential import FlatPotential
from bayessgd._functional import writing_module
from bayessgd._inputs import Output, Targets, tensors
from bayessgd._over import warn
from bayessgd._padding import check_unpadded
from bayessgd._probabilities import told_of_probabilities
from bayessgd.batches import Data
from bayessgd.likelihoods import Likelihood
from bayessgd.params import clean_name, flatten, named_buffers, named_parameters, unflatten, unwrap
from bayessgd.posteriors import Ensemble
from bayessgd.priors import Prior
from bayessgd.starts import jittered_starts
from metrics.chains import chain_diagnostics
from metrics.inputs import check_count, check_fraction, check_number
from metrics.precision import with_gradients

__all__ = ["nuts"]

ENOUGH_DRAWS = 100
"""Effective draws per chain, and R̂ < 1.01, are what Vehtari et al. (2021) ask for."""


@with_gradients
def nuts(
    model: nn.Module,
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    num_samples: int = 1000,
    num_chains: int = 4,
    seed: int = 0,
    num_warmup: int | None = None,
    jitter: float | int = 0.1,
    dense_mass: bool = False,
    target_accept: float | int = 0.8,
    max_tree_depth: int = 10,
    trace: bool = True,
    cache: str | Path | None = None,
    output: Output | None = None,
    progress: bool = True,
) -> Ensemble:
    """Draw from p(θ | x, y) ∝ p(y | x, θ)·p(θ) by the No-U-Turn sampler.

    Args:
        model: A small network, in evaluation mode while it is sampled; its trainable parameters are θ and where
            the chains start. `likelihoods.LearnedScale(model)` has the noise among them.
        x: All the inputs, [N, ...]: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: All the targets, [N, ...]; `None` where x brings them.
        likelihood: From the output to the law of the target; it may be a `JointLikelihood` of all the data.
        prior: The law of θ.
        num_samples: Draws kept per chain.
        num_chains: Chains, one after the other.
        seed: Of starts and chains; torch's global generator is left as it was.
        num_warmup: Draws thrown away per chain while step and masses adapt; `None` is as many as are kept.
        jitter: The standard deviation of the starts around the model's own values.
        dense_mass: Adapt a full mass matrix: for correlated posteriors of few parameters.
        target_accept: The acceptance probability to adapt the step length to.
        max_tree_depth: At most 2^depth gradients per draw.
        trace: Trace the gradient once. Turn it off for a model whose path depends on its weights' values.
        cache: A folder to keep the draws in, chain by chain: a run that was stopped goes on after its last whole
            chain, to the same draws. `None` keeps none.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        progress: Show a bar.

    Returns:
        The draws, chain after chain, `posterior.by_chain()` as [chains, num_samples, ...]. Its `origin` holds
        `gradient_evaluations` (of all N data, warm-up included), `divergences`, `max_r_hat` and `min_ess`.

    Raises:
        TypeError, ValueError: Arguments that are not as above; data that are empty, not finite or of different
            lengths; a start of no finite density.

    Warns:
        UserWarning: R̂ ≥ 1.01, fewer than 100 effective draws per chain, or divergent trajectories; a gradient
            that cannot be traced.

    Reference: Hoffman & Gelman 2014, "The No-U-Turn sampler", JMLR 15; Bingham et al. 2019 (Pyro).

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import GaussianPrior
    >>> line, x = nn.Linear(1, 1, bias=False).double(), torch.ones(3, 1, dtype=torch.float64)
    >>> laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    >>> settings = {"num_samples": 400, "num_warmup": 100, "num_chains": 1, "progress": False}
    >>> _ = nn.init.zeros_(line.weight)
    >>> law = nuts(line, x, x, **laws, **settings)  # N(3/4, 1/4)
    >>> draws = law.draws["weight"]
    >>> bool((draws.mean() - 0.75).abs() < 0.1), bool((draws.std() - 0.5).abs() < 0.1)
    (True, True)
    """
    network = unwrap(model)
    inputs, targets = gathered(network, x, y, finite=True)
    check_laws(likelihood, prior, joint=True)
    check_targets(likelihood, targets)
    told_of_probabilities(network, likelihood, inputs, output)
    check_wide(network, "nuts")
    check_unpadded(network, "nuts", inputs, output)
    _check_unwritten(network)
    settings = _Settings(
        check_count(num_samples, "num_samples", least=4),
        check_count(num_samples if num_warmup is None else num_warmup, "num_warmup"),
        bool(dense_mass),
        check_fraction(target_accept, "target_accept"),
        check_count(max_tree_depth, "max_tree_depth"),
        check_count(num_chains, "num_chains"),
        check_count(seed, "seed", least=0),
        check_number(jitter, "jitter"),
    )
    like = {name: p.detach() for name, p in named_parameters(network).items()}
    with evaluating(network):
        potential = FlatPotential(
            network, like, inputs, targets, likelihood, prior, trace=trace, output=output
        )
        starts = _starts(network, like, settings, potential)
        words = [repr(network), repr(likelihood), repr(prior), repr(settings)]
        data = [*tensors(inputs).values(), *tensors(targets).values(), *named_buffers(network).values()]
        kept = None if cache is None else Cache(Path(cache), "nuts", words, (*data, *starts), potential.value)
        posterior = None if kept is None else kept.load()
        if posterior is None:
            posterior = _sampled(potential, starts, settings, kept, progress=progress)
            if kept is not None:
                kept.save(posterior)
    _warn_unless_enough(posterior)
    # The posterior is of the network in evaluation, whose buffers are constants.
    posterior.buffers = {
        name: b.detach().expand(len(posterior), *b.shape).clone()
        for name, b in named_buffers(network).items()
    }
    return posterior


@dataclass(frozen=True)
class _Settings:
    samples: int
    warmup: int
    dense: bool
    accept: float
    depth: int
    chains: int
    seed: int
    jitter: float


def _starts(
    network: nn.Module, like: dict[str, Tensor], settings: _Settings, potential: FlatPotential
) -> list[Tensor]:
    named = jittered_starts(network, settings.chains, seed=settings.seed, scale=settings.jitter)
    bare = [{clean_name(name): t for name, t in start.items()} for start in named]
    starts = [flatten({name: start[name] for name in like}) for start in bare]
    for i, start in enumerate(starts):
        if not bool(start.isfinite().all()):
            raise ValueError(
                "model must have finite parameters, got NaN or infinity; did the training diverge?"
            )
        if not bool(potential.value(start).isfinite()):
            raise ValueError(
                f"the start of chain {i} must have a finite density, got none; the data are finite, so train "
                "the model a little first, or lower the jitter"
            )
    return starts


def _sampled(
    potential: FlatPotential, starts: list[Tensor], settings: _Settings, kept: Cache | None, *, progress: bool
) -> Ensemble:
    chains: list[Chain] = []
    length = settings.warmup + settings.samples
    with tqdm(
        total=settings.chains * length, desc="NUTS", unit="draw", disable=None if progress else True
    ) as bar:
        for i, start in enumerate(starts):
            chain = None if kept is None else kept.load_chain(i)
            if chain is None:
                chain = _one_chain(potential, start, settings, settings.seed + 1_000_003 * (i + 1), bar)
                if kept is not None:
                    kept.save_chain(i, chain)
            else:
                bar.update(length)
            chains.append(chain)
    flat = torch.cat([chain.theta.to(start) for chain, start in zip(chains, starts, strict=True)])
    draws = unflatten(flat, potential.like)
    found = chain_diagnostics({name: t.unflatten(0, (settings.chains, -1)) for name, t in draws.items()})
    origin = {
        "sampler": "NUTS",
        "gradient_evaluations": sum(chain.evaluations for chain in chains),
        "divergences": sum(chain.divergences for chain in chains),
        "max_r_hat": _finite(found.max_r_hat),
        "min_ess": _finite(found.min_ess),
    }
    return Ensemble(
        {name: t.contiguous() for name, t in draws.items()}, chains=settings.chains, origin=origin
    )


def _one_chain(potential: FlatPotential, start: Tensor, settings: _Settings, seed: int, bar: tqdm) -> Chain:
    from pyro.infer import MCMC, NUTS

    def told(kernel: NUTS, *_: object) -> None:
        bar.update()
        bar.set_postfix(step=f"{kernel.step_size:.2g}", gradients=potential.evaluations, refresh=False)

    before = potential.evaluations
    with torch.random.fork_rng(devices=[start.device] if start.is_cuda else []):
        _seed(seed, start.device)
        kernel = NUTS(
            potential_fn=potential,
            full_mass=settings.dense,
            target_accept_prob=settings.accept,
            max_tree_depth=settings.depth,
        )
        run = MCMC(
            kernel,
            num_samples=settings.samples,
            warmup_steps=settings.warmup,
            initial_params={"theta": start},
            hook_fn=told,
            disable_progbar=True,
        )
        run.run()
    divergences = sum(len(found) for found in run.diagnostics()["divergences"].values())
    return Chain(run.get_samples()["theta"].detach(), potential.evaluations - before, divergences)


def _check_unwritten(network: nn.Module) -> None:
    found = writing_module(network)
    if found is not None:
        raise ValueError(
            f"model must not write to its parameters, got {found}: the density of θ would change under the sampler; "
            "set max_norm=None and hold the weights by the prior"
        )


def _seed(seed: int, device: torch.device) -> None:
    # Not torch.manual_seed, which would reseed devices that were not forked.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _finite(value: float) -> float | None:
    """Chains that stand still have R̂ = ∞ or none, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def _warn_unless_enough(posterior: Ensemble) -> None:
    origin = posterior.origin
    r_hat, ess = origin["max_r_hat"] or math.inf, origin["min_ess"] or 0.0
    if ess < ENOUGH_DRAWS * posterior.chains or r_hat >= 1.01 or origin["divergences"]:
        warn(
            "NUTS",
            f"NUTS ended with R̂ up to {r_hat:.3f}, an effective sample size down to {ess:.0f} and "
            f"{origin['divergences']} divergent trajectories; below 1.01, above "
            f"{ENOUGH_DRAWS * posterior.chains} and none make a reference: raise num_samples, num_warmup or "
            "target_accept",
        )
