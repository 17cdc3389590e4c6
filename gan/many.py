"""Many seeds at once: GANs of one recipe trained together, each as it would be by itself.

A small network's step costs mostly the start of its operations and not their arithmetic, so that several of them, their
weights stacked `[runs, ...]`, cost less than one after the other. After

    gan.fit_many(models, data, steps=k, seeds=seeds)

every model is what `model.fit(data, steps=k, seed=seed)` makes of it, to the rounding of a sum in another order (and to
the solver's tolerance for Sinkhorn losses). Rounding grows along a training as any error does, so that long runs agree
in distribution and not in their digits.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from gan import checks
from gan.average import MovingAverage
from gan.data.sets import Data
from gan.distributed import ranks
from gan.history import History
from gan.loop import LOOK_EVERY, TrainingDivergedError
from gan.networks.generator import latent_dim
from gan.settings import TrainingSettings
from gan.sources import as_source
from gan.stackable import ONE_BY_ONE, checked, stack_alike, try_once
from gan.stacked import Stacked
from gan.stacked_game import StackedGame
from gan.streams import Streams
from gan.train import EMA_BATCH, GAN, pick_device
from metrics.inputs import SupportsDLPack, check_count
from metrics.precision import with_gradients

__all__ = ["fit_many"]


@with_gradients
def fit_many(
    models: Sequence[GAN],
    data: object,
    *,
    steps: int,
    seeds: Sequence[int] | None = None,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    settings: TrainingSettings | None = None,
) -> list[GAN]:
    """Train several GANs of one recipe together and return them; each has its history, its average and its weights.

    Args:
        models: GANs with the same loss, penalties, recipe and architectures, and weights of their own.
        data: A tensor or array [n, ...], or `gan.Data`, whose `train` is used.
        steps: Generator updates of each.
        seeds: The seed of each run's draws; None is 0, 1, 2, …
        batch_size: Samples in a batch of each run; None is that of `settings`, or of the recipe.
        device: "auto" is CUDA where there is one.
        progress: Show a bar, where there is a terminal.
        settings: As for `GAN.fit`.

    Raises:
        ValueError: Models that differ in more than their weights, or parts that cannot be stacked: networks that change
            their buffers at each pass (batch and spectral normalisation), draw (dropout) or use what `torch.vmap` does
            not know; penalties that change the critic, but for weight clipping; networks of classes; optimizers that
            look at a whole tensor.
        TrainingDivergedError: A loss or a weight of some run is not finite; the message names its seed.

    >>> import gan
    >>> data = gan.data.ring(100)
    >>> chosen = gan.recipe("js", like=data)
    >>> models = [gan.GAN.from_recipe(chosen, *chosen.players(seed=seed)) for seed in range(3)]
    >>> models = gan.fit_many(models, data, steps=2, progress=False)
    >>> models[2].sample(5, seed=0).shape, len(models[2].history)
    (torch.Size([5, 2]), 2)
    """
    models, steps = checked(models), check_count(steps, "steps")
    chosen = _seeds(seeds, len(models))
    where, first = pick_device(device), models[0]
    if ranks() > 1:
        raise ValueError(f"models are stacked in one process, and there are {ranks()}; {ONE_BY_ONE}")
    game = _game(models, data, chosen, where, batch_size, checks.settings(settings, first.recipe.settings))
    histories = [History() for _ in models]
    pending: list[Tensor] = []
    with tqdm(total=steps, disable=None if progress else True, desc=f"training {len(models)}") as bar:
        for step in range(steps):
            try:
                pending.append(game.step(step, step / steps))
            except ValueError:
                _look(pending, histories, chosen, game)
                _refuse_bad_weights(game, chosen, step)
                raise
            if len(pending) == LOOK_EVERY or step + 1 == steps:
                _look(pending, histories, chosen, game)
                bar.update(len(pending))
                pending = []
    _refuse_bad_weights(game, chosen, steps)
    for i, (model, history) in enumerate(zip(models, histories, strict=True)):
        _hand_back(model, game, i, history)
    return models


def _seeds(seeds: Sequence[int] | None, count: int) -> list[int]:
    found = (
        list(range(count)) if seeds is None else [check_count(each, "each seed", least=0) for each in seeds]
    )
    if len(found) != count:
        raise ValueError(f"seeds must be as many as models, {count}, got {len(found)}; give each run one")
    return found


def _game(
    models: list[GAN],
    data: object,
    seeds: list[int],
    device: torch.device,
    batch_size: int | None,
    settings: TrainingSettings,
) -> StackedGame:
    first = models[0]
    settings = settings if batch_size is None else replace(settings, batch_size=batch_size)
    dtype = checks.dtype_of(first.generator)
    for name, network in (("generator", first.generator), ("critic", first.critic)):
        checks.types(name, network, dtype)
        checks.trainable(name, network)
    data = data.train if isinstance(data, Data) else data
    if not isinstance(data, SupportsDLPack | Tensor):
        raise TypeError(
            f"data must be a tensor, an array or gan.Data for runs that are stacked, got {type(data).__name__}; "
            f"{ONE_BY_ONE}"
        )
    source = as_source(data, None, device=device, dtype=dtype, seed=0, workers=0)
    for model in models:
        model.generator.to(device)
        if model.critic is not None:
            model.critic.to(device)
    checks.shapes(first.generator, first.critic, first.loss, source)
    real, _ = source.draw(settings.batch_size, 0, torch.Generator(device).manual_seed(0))
    latents = torch.randn(
        len(real), latent_dim(first.generator), dtype=dtype, generator=torch.Generator().manual_seed(0)
    )
    generator = stack_alike([model.generator for model in models], latents.to(device), "generator")
    critics = [model.critic for model in models if model.critic is not None]
    critic = stack_alike(critics, real, "critic") if critics else None
    averaged = None
    if first.ema > 0:
        average = MovingAverage(first.ema ** (settings.batch_size / EMA_BATCH))
        averaged = AveragedModel(generator, multi_avg_fn=average)
    optimizers = None if first.recipe.optimizers is None else dict(first.recipe.optimizers)

    def made(random: Streams) -> StackedGame:
        return StackedGame(
            generator,
            critic,
            averaged,
            loss=first.loss,
            penalties=first.penalties,
            source=source,
            settings=settings,
            random=random,
            latent_dim=latent_dim(first.generator),
            dtype=dtype,
            augment=first.recipe.augment,
            optimizers=optimizers,
        )

    try_once(made(Streams("a try", seeds, device)))
    return made(Streams("training", seeds, device))


def _look(pending: list[Tensor], histories: list[History], seeds: list[int], game: StackedGame) -> None:
    if not pending:
        return
    rows = torch.stack(pending, 1).double().cpu()
    done = len(histories[0])
    moved = torch.arange(done, done + rows.shape[1]) % game.settings.critic_every == 0
    # The critic's columns are NaN by design at the steps that left it alone.
    critic = rows if game.critic is not None else rows[:, :, 1:2]
    bad = ~torch.where(moved[:, None], critic, rows[:, :, 1:2]).isfinite().all(2)
    if bool(bad.any()):
        run, step = (int(i) for i in bad.nonzero()[bad.nonzero()[:, 1].argmin()])
        _diverged(f"a loss of seed {seeds[run]} stopped being finite at step {done + step}")
    for history, row in zip(histories, rows, strict=True):
        history.extend(row)


def _refuse_bad_weights(game: StackedGame, seeds: list[int], step: int) -> None:
    for name, network in (("generator", game.generator), ("critic", game.critic)):
        for p in () if network is None else network.parameters():
            bad = ~p.isfinite().flatten(1).all(1)
            if bool(bad.any()):
                _diverged(
                    f"a weight of the {name} of seed {seeds[int(bad.nonzero()[0])]} stopped being finite by step {step}"
                )


def _diverged(what: str) -> None:
    raise TrainingDivergedError(
        f"{what}; leave this seed out, lower the learning rate or strengthen the penalties"
    )


def _hand_back(model: GAN, game: StackedGame, run: int, history: History) -> None:
    game.generator.write(run, model.generator)
    if game.critic is not None and model.critic is not None:
        game.critic.write(run, model.critic)
    model.history, model.class_counts = history, None
    if game.averaged is not None:
        model.averaged = AveragedModel(model.generator)
        average = game.averaged.module
        assert isinstance(average, Stacked)
        average.write(run, model.averaged.module)
        model.averaged.n_averaged.copy_(game.averaged.n_averaged)
