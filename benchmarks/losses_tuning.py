"""The same small search for every loss, so that a table compares losses and not what was spent on them.

Lucic et al. 2018 found that with enough tuning most losses reach the same score: a comparison must give each the same
budget and tell how much the tuning did. The first configuration is the recipe as it is; the others change, at random,
what a recipe has: the rates' factor 2^U(−2, 1), the generator's share of the rate 2^U(−1, 1), half the batch or all of
it, 1 to 3 critic steps, and the penalties' factor 10^U(−1.5, 1). Each is trained for a share of the steps, with a seed
that the table does not use, and judged by the accuracy of nearest neighbours, which no loss descends, on points that
the table does not use.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import metrics
from gan import GAN, Data, TrainingDivergedError
from gan.penalties import R1, R2, GradientPenalty, Penalty, WeightClipping
from gan.recipes.recipe import Recipe

__all__ = ["configurations", "judging_points", "score"]

SEED = 1000
"""Of every trial; the table's are 0, 1, 2, …"""


def scaled(penalty: Penalty, factor: float) -> Penalty:
    """A penalty with its weight, or its limit, times a factor.

    >>> scaled(R1(2.0), 0.5)
    R1(gamma=1.0)
    """
    if isinstance(penalty, R1 | R2):
        return replace(penalty, gamma=factor * penalty.gamma)
    if isinstance(penalty, GradientPenalty):
        return replace(penalty, weight=factor * penalty.weight)
    if isinstance(penalty, WeightClipping):
        return replace(penalty, limit=factor * penalty.limit)
    return penalty


def changed(chosen: Recipe, draw: random.Random) -> Recipe:
    """One random configuration around a recipe; six numbers are drawn whatever it has, so that all share them."""
    rate, share, factor = 2 ** draw.uniform(-2, 1), 2 ** draw.uniform(-1, 1), 10 ** draw.uniform(-1.5, 1)
    halved, steps = draw.choice((1, 2)), draw.choice((1, 2, 3))
    settings = chosen.settings
    settings = replace(
        settings,
        learning_rate=rate * settings.learning_rate,
        final_learning_rate=rate * settings.final_learning_rate,
        batch_size=settings.batch_size // halved,
    )
    if chosen.critic_outputs:
        settings = replace(
            settings,
            generator_rate=share * settings.generator_rate,
            critic_steps=steps if settings.critic_every == 1 else 1,
        )
    return replace(
        chosen, settings=settings, penalties=tuple(scaled(penalty, factor) for penalty in chosen.penalties)
    )


def configurations(chosen: Recipe, tries: int) -> list[Recipe]:
    """The recipe and `tries − 1` random changes of it, the same changes for every loss.

    >>> import gan
    >>> first, second = configurations(gan.recipe("js", like=gan.data.ring(100)), 2)
    >>> first.settings.learning_rate, round(second.settings.learning_rate, 6)
    (0.001, 0.001446)
    """
    draw = random.Random(1)
    return [chosen, *(changed(chosen, draw) for _ in range(tries - 1))]


def judging_points(data: Data, used: int) -> Tensor:
    """At most a thousand points that the table does not use: held-out ones, or training points where few are left."""
    rest = data.held_out[used:]
    return (rest if len(rest) >= used else data.train)[:1000].flatten(1)


def score(chosen: Recipe, data: Data, *, used: int, steps: int) -> float:
    """How far the accuracy of nearest neighbours is from one half after so many steps; 1 where a run diverged."""
    y = judging_points(data, used)
    model = GAN.from_recipe(chosen, *chosen.players(seed=SEED))
    try:
        model.fit(data, steps=steps, seed=SEED, device="cpu", progress=False)
    except TrainingDivergedError:
        return 1.0
    x = model.sample(len(y), seed=SEED).flatten(1)
    if not bool(torch.isfinite(x).all()):
        return 1.0
    return abs(float(metrics.nearest_neighbour_accuracy(x, y)) - 0.5)


def best(scores: Sequence[float]) -> int:
    """The configuration with the least score, the earliest of equals."""
    return min(range(len(scores)), key=lambda k: scores[k])
