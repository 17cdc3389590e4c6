"""Many seeds at once: GANs of one recipe trained together, each as it would be by itself.

A small network's step costs mostly the start of its operations and not their arithmetic, so that several of them, their
weights stacked `[runs, ...]`, cost less than one after the other. The law: after

    gan.fit_many(models, data, steps=k, seeds=seeds)

every model is what `model.fit(data, steps=k, seed=seed)` makes of it, to the rounding of a sum in another order (and to
the solver's tolerance for Sinkhorn losses). Rounding grows along a training as any error does, so that long runs agree
in distribution and not in their digits.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from gan import checks
from gan.data.sets import Data
from gan.distributed import ranks
from gan.history import History
from gan.loop import LOOK_EVERY, TrainingDivergedError
from gan.losses.protocols import RunLoss
from gan.networks.generator import latent_dim, num_classes
from gan.penalties import Penalty, WeightClipping
from gan.settings import TrainingSettings
from gan.sources import as_source
from gan.stacked import Stacked
from gan.stacked_game import StackedGame
from gan.streams import Streams
from gan.train import EMA_BATCH, GAN, pick_device
from metrics.inputs import SupportsDLPack, check_count
from metrics.precision import with_gradients

__all__ = ["fit_many"]

ONE_BY_ONE = "train the models one by one: model.fit(data, steps=..., seed=seed)"


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
    models, steps = _checked(models), check_count(steps, "steps")
    chosen = _seeds(seeds, len(models))
    where, first = pick_device(device), models[0]
    if ranks() > 1:
        raise ValueError(f"models are stacked in one process, and there are {ranks()}; {ONE_BY_ONE}")
    game = _game(models, data, chosen, where, batch_size, settings or first.recipe.settings)
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


def _checked(models: object) -> list[GAN]:
    """The models, if they differ in their weights alone and can be stacked."""
    if not isinstance(models, Sequence) or not models or not all(isinstance(each, GAN) for each in models):
        raise TypeError(f"models must be a list of GANs, got {type(models).__name__}; make one for each seed")
    found = list(models)
    networks = [id(net) for model in found for net in (model.generator, model.critic) if net is not None]
    if len(set(networks)) < len(networks):
        raise ValueError("models must have networks of their own, got one twice; make new ones for each seed")
    _refuse_parts(found[0])
    for i, model in enumerate(found):
        for name, value in _told(model).items():
            if value != (wanted := _told(found[0])[name]):
                raise ValueError(
                    f"models must differ in their weights alone, and models[{i}] has the {name} {value}, models[0] "
                    f"{wanted}; {ONE_BY_ONE}"
                )
    return found


def _told(model: GAN) -> dict[str, str]:
    """What models that are stacked have in common."""
    networks = (("generator", model.generator), ("critic", model.critic))
    return {
        "loss": repr(model.loss),
        "penalties": repr(model.penalties),
        "ema": repr(model.ema),
        "settings": repr(model.recipe.settings),
        "augmentation": repr([checks.told(each) for each in model.recipe.augment]),
        "optimizers": repr({k: checks.told(v) for k, v in (model.recipe.optimizers or {}).items()}),
    } | {name: _architecture(network) for name, network in networks}


def _architecture(network: nn.Module | None) -> str:
    if network is None:
        return "None"
    shapes = [(name, list(t.shape), t.requires_grad, t.dtype) for name, t in network.named_parameters()]
    return f"{type(network).__name__} {shapes}"


def _refuse_parts(model: GAN) -> None:
    """Parts that cannot be stacked whatever the data are."""
    if num_classes(model.generator):
        raise ValueError(f"networks of classes cannot be stacked, got num_classes; {ONE_BY_ONE}")
    if isinstance(model.loss, RunLoss):
        raise ValueError(
            f"a loss that learns something of the data in each run cannot be stacked, got {model.loss}; {ONE_BY_ONE}"
        )
    for each in model.penalties:
        changes = (
            type(each).prepare is not Penalty.prepare or type(each).project is not Penalty.project
        ) and not isinstance(each, WeightClipping)
        if changes:
            raise ValueError(
                f"penalties that change the critic cannot be stacked, got {each}, which would see all runs' weights as "
                f"one tensor; {ONE_BY_ONE}"
            )


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
    source = as_source(data, None, device=device, dtype=dtype, seed=0, workers=0, start=0)
    for model in models:
        model.generator.to(device)
        if model.critic is not None:
            model.critic.to(device)
    checks.shapes(first.generator, first.critic, first.loss, source)
    real, _ = source.draw(settings.batch_size, 0, torch.Generator(device).manual_seed(0))
    latents = torch.randn(
        len(real), latent_dim(first.generator), dtype=dtype, generator=torch.Generator().manual_seed(0)
    )
    generator = _stack([model.generator for model in models], latents.to(device), "generator")
    critics = [model.critic for model in models if model.critic is not None]
    critic = _stack(critics, real, "critic") if critics else None
    averaged = None
    if first.ema > 0:
        average = get_ema_multi_avg_fn(first.ema ** (settings.batch_size / EMA_BATCH))
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

    _try(made(Streams("a try", seeds, device)))
    return made(Streams("training", seeds, device))


def _stack(networks: list[nn.Module], inputs: Tensor, name: str) -> Stacked:
    """The networks as one, if a pass changes nothing and gives what each gives by itself."""
    before = [{k: b.clone() for k, b in network.named_buffers()} for network in networks]
    own: list[Tensor] = []
    with torch.no_grad():
        for network, kept in zip(networks, before, strict=True):
            own.append(network(inputs))
            changed = [k for k, b in network.named_buffers() if not torch.equal(b, kept[k])]
            for key, buffer in network.named_buffers():
                buffer.copy_(kept[key])
            if changed:
                raise ValueError(
                    f"the {name} must not change its buffers at each pass to be stacked, and {changed[0]!r} changes "
                    f"(batch or spectral normalisation); {ONE_BY_ONE}"
                )
        try:
            stacked = Stacked(networks)
            found = stacked(inputs.expand(len(networks), *inputs.shape))
        except RuntimeError as error:
            raise ValueError(
                f"the {name} cannot run under torch.vmap: {str(error).splitlines()[0]}; {ONE_BY_ONE}"
            ) from error
    for i, output in enumerate(own):
        # A thousand roundings: what an attribute in Python would change is far beyond.
        allowed = 1e3 * torch.finfo(output.dtype).eps * float(output.abs().max().clamp(min=1e-30))
        if float((output - found[i]).abs().max()) > allowed:
            raise ValueError(
                f"the {name}s must differ in their parameters and buffers alone, and that of models[{i}] gives other "
                f"numbers by itself than stacked; {ONE_BY_ONE}"
            )
    return stacked


def _try(game: StackedGame) -> None:
    """Refuse in our words a loss, a penalty or an augmentation that cannot run for all runs at once."""
    try:
        if game.critic is not None:
            value, penalty = game.critic_losses()
            torch.autograd.grad((value + penalty).sum(), game.parameters["critic"], allow_unused=True)
        torch.autograd.grad(game.generator_losses().sum(), game.parameters["generator"], allow_unused=True)
    except (RuntimeError, NotImplementedError) as error:
        parts = f"{game.loss}, {list(game.penalties)} or {list(game.augment)}"
        raise ValueError(
            f"{parts} cannot run under torch.vmap: {str(error).splitlines()[0]}; {ONE_BY_ONE}"
        ) from error


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
