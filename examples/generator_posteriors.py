"""Ways to a distribution over generators, at one price: T generator updates in all.

    average     one run by the recipe; its exponential moving average, which is one generator
    SWAG        one run whose rate is held from HELD·T on; N(m, ½(diag v + D̂D̂ᵀ/(k−1))) of its snapshots since
                (Maddox et al. 2019); also its mean m alone, and N(m, D̂D̂ᵀ/(k−1)) in the span of the snapshots
    snapshots   the snapshots of that run themselves
    SGHMC       that run to HELD·T; from there the generator's sampler is SGHMC (Chen, Fox & Guestrin 2014) for
                exp(−N·L/T), L the generator's loss under a critic that goes on learning (Saatçi & Wilson 2017 sample
                both players; here the critic is trained)
    ensemble    runs by the recipe from other weights, T divided by their number each; their averages

A snapshot is taken by `collector.update()` in the callback that `GAN.fit` calls every so many steps. Draws of a
distribution are the equal parts of a mixture: sample i comes from draw i mod the number of draws.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bayessgd import SWAG, Ensemble, LowRankGaussian, Posterior, Trajectory
from bayessgd.optim import SGHMC
from gan import GAN, Data, Recipe
from gan.penalties import R1, R2, Penalty
from gan.settings import TrainingSettings

__all__ = ["HELD", "SNAPSHOTS", "Held", "Plan", "average", "ensemble", "mixture", "of_one_run"]

HELD = 0.6
"""The fraction of a run after which the rate is held and snapshots are taken."""
SNAPSHOTS = 40
SGHMC_RATE, MOMENTUM = 1e-3, 0.9


@dataclass(frozen=True)
class Held(TrainingSettings):
    """Settings whose rate falls by the cosine until a fraction of the run and stays there.

    >>> settings = Held(learning_rate=1.0, final_learning_rate=0.2, held=0.5)
    >>> [round(settings.rate(t), 3) for t in (0.0, 0.5, 0.9)]
    [1.0, 0.6, 0.6]
    """

    held: float = HELD

    def rate(self, progress: float) -> float:
        """The critic's learning rate at a fraction of the run."""
        return super().rate(min(progress, self.held))


@dataclass(frozen=True)
class Plan:
    """What all ways share.

    Attributes:
        data: What is learned.
        recipe: By which.
        steps: T, generator updates of each way in all.
        members: GANs of the ensemble.
        temperature: Of SGHMC; 1 takes the generator's loss as the negative log likelihood of a datum.
        device: Where.
    """

    data: Data
    recipe: Recipe
    steps: int
    members: int
    temperature: float
    device: str = "cpu"

    @property
    def held(self) -> int:
        """Steps before the rate is held."""
        return int(HELD * self.steps)

    @property
    def every(self) -> int:
        """Steps between two snapshots."""
        return max(1, (self.steps - self.held) // SNAPSHOTS)


def average(plan: Plan, seed: int, steps: int | None = None) -> GAN:
    """Train once by the recipe; sampling from it takes its moving average."""
    steps = plan.steps if steps is None else steps
    model = GAN.from_recipe(plan.recipe, *plan.recipe.players(seed=1000 * seed))
    return model.fit(plan.data, steps=steps, seed=seed, device=plan.device, progress=False)


def ensemble(plan: Plan, seed: int) -> tuple[nn.Module, Ensemble]:
    """Train several GANs from other weights in the steps of one; the ensemble of their averages."""
    models = [
        average(plan, 1000 + plan.members * seed + i, plan.steps // plan.members) for i in range(plan.members)
    ]
    averages = [model.generator if model.averaged is None else model.averaged.module for model in models]
    return averages[0], Ensemble.of_modules(averages)


def of_one_run(plan: Plan, seed: int) -> tuple[nn.Module, dict[str, Posterior]]:
    """Train once with the rate held at the end, and make posteriors of the iterates since; SGHMC in their place."""
    model = GAN.from_recipe(plan.recipe, *plan.recipe.players(seed=1000 * seed))
    swag, trajectory = SWAG(model.generator, rank=SNAPSHOTS), Trajectory(model.generator)
    kept: list[tuple[nn.Module, nn.Module | None]] = []

    def look(step: int, model: GAN, _: object) -> None:
        if step <= plan.held:
            kept[:] = [(deepcopy(model.generator), deepcopy(model.critic))]
        else:
            swag.update()
            trajectory.update()

    settings = Held(**vars(plan.recipe.settings))
    rest = {"seed": seed, "device": plan.device, "progress": False, "on_step_every": plan.every}
    model.fit(plan.data, steps=plan.steps, settings=settings, on_step=look, **rest)
    gaussian, iterates = swag.posterior(), trajectory.posterior()
    nothing = {name: torch.zeros_like(v) for name, v in gaussian.variance.items()}
    found: dict[str, Posterior] = {
        "SWAG mean": Ensemble({name: m[None] for name, m in gaussian.mean.items()}),
        "SWAG": gaussian,
        "SWAG, span": LowRankGaussian(gaussian.mean, nothing, gaussian.deviations),
        "snapshots": iterates,
    }
    (generator, critic) = kept[0]
    return model.generator, found | {"SGHMC": _sampled(plan, seed, generator, critic, settings)}


def _sampled(
    plan: Plan, seed: int, generator: nn.Module, critic: nn.Module | None, settings: TrainingSettings
) -> Ensemble:
    """Go on from a run's networks with SGHMC as the generator's optimizer, all rates and penalties held."""
    rate, steps = settings.rate(1.0), plan.steps - plan.held
    held = replace(plan.recipe.settings, learning_rate=rate, final_learning_rate=rate, penalty_decay=1.0)
    weight = settings.penalty_decay**HELD
    recipe = plan.recipe
    model = GAN(
        generator, critic, loss=recipe.loss, penalties=[_weighed(p, weight) for p in recipe.penalties]
    )
    random = torch.Generator(next(generator.parameters()).device).manual_seed(seed)
    sampler: Callable[..., SGHMC] = partial(
        SGHMC,
        lr=SGHMC_RATE,
        num_data=len(plan.data.train),
        momentum=MOMENTUM,
        temperature=plan.temperature,
        generator=random,
    )
    trajectory = Trajectory(generator)

    def look(step: int, model: GAN, history: object) -> None:
        trajectory.update()

    model.fit(
        plan.data,
        steps=steps,
        seed=1000 + seed,
        device=plan.device,
        progress=False,
        settings=held,
        augment=recipe.augment,
        optimizers={"generator": sampler},
        on_step=look,
        on_step_every=plan.every,
    )
    return trajectory.posterior()


def _weighed(penalty: Penalty, weight: float) -> Penalty:
    """A penalty with its weight as it has decayed; those without a decaying weight as they are."""
    return replace(penalty, gamma=weight * penalty.gamma) if isinstance(penalty, (R1, R2)) else penalty


def mixture(network: nn.Module, posterior: Posterior, latents: Tensor, *, draws: int, seed: int) -> Tensor:
    """Return samples [n, d] of latents [n, z]: sample i from draw i mod `draws` of the posterior.

    >>> net = nn.Linear(1, 1, bias=False)
    >>> two = Ensemble({"weight": torch.tensor([[[1.0]], [[-1.0]]])})
    >>> mixture(net, two, torch.ones(4, 1), draws=2, seed=0).flatten()
    tensor([ 1., -1.,  1., -1.])
    """
    drawn = posterior.sample(draws, generator=torch.Generator().manual_seed(seed))
    parts = []
    with torch.no_grad():
        for i in range(draws):
            parts.append(functional_call(network, {k: v[i] for k, v in drawn.items()}, (latents[i::draws],)))
    samples = parts[0].new_empty((len(latents), *parts[0].shape[1:]))
    for i, part in enumerate(parts):
        samples[i::draws] = part
    return samples
