"""From a mode to draws: many chains of batches at once, with what they cost and how well they mixed.

    at = bayessgd.optimum(model, x, y, likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))
    draws = bayessgd.sample(at)                                    # corrected SGD
    draws = bayessgd.sample(at, samplers.control_variate(at))      # cheaper, where there are many data

Chains start at the mode; the burn-in lets them forget it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from bayessgd._evaluating import evaluating
from bayessgd._functional import copied
from bayessgd._over import warn
from bayessgd.chains import Chains
from bayessgd.collectors import IterateAverage
from bayessgd.modes import Optimum
from bayessgd.noise import control_variate
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import flatten, named_parameters, unflatten
from bayessgd.posteriors import Ensemble
from bayessgd.samplers import Sampler, corrected
from metrics.chains import chain_diagnostics
from metrics.inputs import check_count
from metrics.precision import with_gradients

__all__ = ["FAR", "iterates", "passes_of", "sample", "walk"]

FAR = 15.0
"""In standard deviations of Laplace's approximation: what leaves for farther is an excursion and no draw."""
ENOUGH_DRAWS = 400
"""Effective ones, of the worst parameter: four chains of 100 each (Vehtari et al. 2021)."""


@with_gradients
def sample(
    at: Optimum,
    sampler: Sampler | None = None,
    *,
    num_samples: int = 100,
    num_chains: int = 25,
    seed: int = 0,
    progress: bool = True,
) -> Ensemble:
    """Return draws of the posterior by chains of batches, as `reference.nuts` returns its own.

    Args:
        at: The mode, with its curvature and noise.
        sampler: One of `bayessgd.samplers`; `None` is `samplers.corrected(at)`.
        num_samples: Draws kept per chain.
        num_chains: Chains, all at once.
        seed: Of batches and noise.
        progress: Show a bar.

    Returns:
        The draws, chain after chain. `origin` has `sampler`, `passes` over the data (those of the mode and the burn-in
        among them), `left`, the chains that went farther than 15 standard deviations of Laplace's approximation,
        `farthest`, `max_r_hat` and `min_ess`.

    Raises:
        TypeError, ValueError: Arguments that are not as above; a preconditioner that float32 parameters cannot hold;
            chains that diverged.

    Warns:
        UserWarning: Chains that left; fewer than 400 effective draws.

    >>> import torch
    >>> from bayessgd import optimum
    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import GaussianPrior
    >>> line, x = torch.nn.Linear(1, 1, bias=False).double(), torch.randn(200, 1, dtype=torch.float64)
    >>> at = optimum(line, x, x + torch.randn_like(x), likelihood=Gaussian(1.0), prior=GaussianPrior(1.0))
    >>> law = sample(at, num_samples=4, num_chains=250, progress=False)
    >>> bool((law.draws["weight"].std() / at.covariance[0, 0].sqrt() - 1).abs() < 0.15)
    True
    """
    if not isinstance(at, Optimum) or not isinstance(sampler, Sampler | None):
        raise TypeError(
            "at must be what bayessgd.optimum returns and sampler what one of bayessgd.samplers does, got "
            f"{type(at).__name__} and {type(sampler).__name__}"
        )
    chosen = corrected(at) if sampler is None else sampler
    count, chains = check_count(num_samples, "num_samples", least=4), check_count(num_chains, "num_chains")
    draws = iterates(at, chosen, count, chains, seed=check_count(seed, "seed", least=0), progress=progress)
    distances = at.distances(draws).amax(1)
    if not bool(draws.isfinite().all()):
        raise ValueError(
            f"sampler must have steps that stay, but {int((~draws.isfinite().all(2).all(1)).sum())} of {chains} chains "
            "diverged; take a smaller share, a larger batch_size, or reference.nuts where the data are few"
        )
    by_name = unflatten(draws, at.params)
    told = chain_diagnostics(by_name)
    origin = {
        "sampler": chosen.name,
        "passes": at.passes + passes_of(at, chosen, count, chains),
        "left": int((distances > FAR).sum()),
        "farthest": float(distances.max()),
        "max_r_hat": told.max_r_hat,
        "min_ess": told.min_ess,
    }
    _warn(origin, chains)
    return Ensemble(
        {name: t.flatten(0, 1).contiguous() for name, t in by_name.items()}, chains=chains, origin=origin
    )


def passes_of(at: Optimum, sampler: Sampler, count: int, num_chains: int) -> float:
    """Return what so many draws of so many chains cost, in passes over the data; the mode's own are `at.passes`."""
    steps = sampler.burn_in + count * sampler.thin
    gradients = steps * sampler.batch_size * (2 if sampler.anchored else 1) * num_chains
    return sampler.passes + gradients / at.num_data


def iterates(
    at: Optimum, sampler: Sampler, count: int, num_chains: int, *, seed: int = 0, progress: bool = True
) -> Tensor:
    """Return flat draws [chains, count, p] as they come: nothing is refused, whatever the chains do."""
    random = torch.Generator().manual_seed(seed)
    network = copied(at.model)
    with torch.no_grad():
        for name, place in named_parameters(network).items():
            place.copy_(at.params[name])
    chains = Chains(network, num_chains, jitter=0.0, seed=seed)
    device = next(iter(at.params.values())).device
    optimizer = PreconditionedSGD(
        chains.parameters(),
        preconditioner=sampler.preconditioner,
        noise_covariance=sampler.injected,
        stacked=True,
        generator=torch.Generator(device).manual_seed(seed + 1),
    )

    def batches() -> tuple[Tensor, Tensor]:
        pick = torch.randint(at.num_data, (num_chains, sampler.batch_size), generator=random).to(at.x.device)
        return at.x[pick], at.y[pick]

    loss = control_variate(at.loss, at.model, at.x, at.y, anchor=at.params) if sampler.anchored else at.loss
    with evaluating(chains):
        return walk(
            chains,
            optimizer,
            loss,
            batches,
            burn_in=sampler.burn_in,
            thin=sampler.thin,
            draws=count,
            window=sampler.window,
            name=sampler.name,
            progress=progress,
        )


def walk(
    chains: Chains,
    optimizer: torch.optim.Optimizer,
    loss: Callable[..., Tensor],
    batches: Callable[[], tuple[Tensor, Tensor]],
    *,
    burn_in: int,
    thin: int,
    draws: int,
    window: int | None = None,
    name: str = "",
    progress: bool = True,
) -> Tensor:
    """Step all chains and return flat draws [chains, draws, p]: iterates, or with `window` means of so many.

    Args:
        chains: Stacked chains, whose parameters the optimizer moves.
        optimizer: Any that works elementwise, or with `stacked=True`.
        loss: As `Chains.map` takes it.
        batches: Returns x and y, [chains, S, ...] each, anew for every step.
        burn_in: Steps before the first draw.
        thin: Steps between draws.
        draws: Of each chain.
        window: T, the same as `thin`.
        name: On the bar.
        progress: Show one.
    """
    average = None if window is None else IterateAverage(chains, window=window)
    if average is not None:
        average.attach(optimizer, start=burn_in)
    kept, like = [], {key: p[0] for key, p in chains.named_parameters()}
    steps = range(burn_in + draws * thin)
    for step in tqdm(steps, desc=name, leave=False, disable=None if progress else True):
        x, y = batches()
        optimizer.zero_grad()
        chains.map(loss, x, y).sum().backward()
        optimizer.step()
        if average is None and step >= burn_in and (step - burn_in + 1) % thin == 0:
            kept.append(flatten(dict(chains.named_parameters()), like).detach().clone())
    if average is None:
        return torch.stack(kept, 1)
    means = average.posterior().draws  # [windows, chains, ...] by name
    return torch.cat([means[key].flatten(2) for key in means], 2).transpose(0, 1)


def _warn(origin: dict[str, object], chains: int) -> None:
    if origin["left"]:
        warn(
            "left",
            f"{origin['left']} of {chains} chains went {origin['farthest']:.3g} standard deviations from the mode, "
            "where the batches' noise is another; take a smaller share, a larger batch_size, or reference.nuts where "
            "the data are few",
        )
    if not float(str(origin["min_ess"])) >= ENOUGH_DRAWS:
        warn(
            "draws",
            f"{origin['sampler']} has {origin['min_ess']:.0f} effective draws of the worst parameter, {ENOUGH_DRAWS} "
            "are enough for a standard deviation to 4 %; raise num_samples or num_chains",
        )
