"""A generator, its loss and what the loss needs, trained by one call and sampled by another.

`GAN.fit` plays the game of `gan.game`; `GAN.sample` draws from the exponential moving average of the generator,
which is less noisy than its last iterate (Yazıcı et al. 2019). The average's half-life is told in images, not in
steps, so that it does not depend on the batch size: the decay of a step with batch b is `ema ** (b / 128)`. It begins
with a shorter memory, so that a short training is not remembered by its first steps (`gan.average`).
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan import checks, storage
from gan.augment import Augmentation
from gan.average import MovingAverage
from gan.data.sets import check_classes
from gan.distributed import refuse_batch_norm, share
from gan.game import Game
from gan.history import History
from gan.identity import told, told_optimizer
from gan.loop import Look, Loop, OnStep
from gan.networks.generator import latent_dim, num_classes
from gan.recipes.recipe import Recipe
from gan.seeds import Noise, stream
from gan.settings import OptimizerFactory, TrainingSettings
from gan.sources import Source, as_source
from metrics.evaluating import evaluating
from metrics.inputs import check_count, check_number
from metrics.precision import full_precision, with_gradients

__all__ = ["GAN", "pick_device"]

EMA_BATCH = 128
CHUNK = 1000
"""Samples in one forward pass of `sample`."""


class GAN:
    """A generator, its loss, and what the loss needs.

    Args:
        generator: A module from latents [n, latent_dim] to samples [n, ...], with an int attribute `latent_dim`. One
            with an attribute `num_classes` is called with classes [n] as well.
        critic: A module from samples to scores [n, 1] (score losses) or to an embedding [n, k] (learned costs); with
            `num_classes` as the generator.
        loss: A score loss or a sample loss from `gan.losses`; sample losses without a critic see samples flattened.
        penalties: Regularisers of the critic from `gan.penalties`.
        ema: Decay of the generator's moving average per 128 images drawn, in [0, 1); 0 turns it off. While fewer steps
            have been done than four times what the decay remembers, the memory is a quarter of them.

    Raises:
        TypeError: A loss or a penalty that is none; the message says what to write.
        ValueError: The loss, the penalties and the networks do not fit.

    >>> from gan import losses, networks
    >>> model = GAN(networks.mlp_generator(2), loss=losses.Energy(), ema=0.0)
    >>> data = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    >>> model.fit(data, steps=2, batch_size=4, seed=0, progress=False).sample(3, seed=1).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module | None = None,
        *,
        loss: object,
        penalties: object = (),
        ema: float | int = 0.999,
    ) -> None:
        latent_dim(generator)
        if not 0 <= check_number(ema, "ema") < 1:
            raise ValueError(f"ema must be in [0, 1), got {ema}; 0 turns the moving average off")
        self.loss = checks.loss(loss)
        self.penalties = checks.penalties(penalties)
        checks.players(generator, critic, self.loss, self.penalties)
        self.generator, self.critic, self.ema = generator, critic, float(ema)
        self.recipe = Recipe(self.loss, self.penalties, ema=self.ema)
        self.averaged: AveragedModel | None = None
        self.history = History()
        self.class_counts: Tensor | None = None
        """Training samples of each class, by which `sample` draws classes; None where nobody counted."""

    @classmethod
    def from_recipe(cls, recipe: object, generator: nn.Module, critic: nn.Module | None = None) -> "GAN":
        """Return a GAN that trains by a recipe, whole: its loss, penalties, rates, rhythm, batch size and augmentation.

        Args:
            recipe: From `gan.recipe(name, like=data)`.
            generator: The generator; `recipe.players(seed=0)` gives built-in networks that fit.
            critic: The critic, where the loss wants one.

        >>> import gan
        >>> data = gan.data.ring(100)
        >>> chosen = gan.recipe("js", like=data)
        >>> model = GAN.from_recipe(chosen, *chosen.players(seed=0))
        >>> model.fit(data, steps=1, progress=False).recipe.settings.batch_size
        256
        """
        if not isinstance(recipe, Recipe):
            raise TypeError(
                f"recipe must be a gan.Recipe, got {type(recipe).__name__}; write gan.recipe('wgan-gp', like=data)"
            )
        model = cls(generator, critic, loss=recipe.loss, penalties=recipe.penalties, ema=recipe.ema)
        model.recipe = recipe
        return model

    @with_gradients
    def fit(
        self,
        data: object,
        *,
        steps: int,
        labels: object = None,
        batch_size: int | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        progress: bool = True,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 500,
        on_step: OnStep | Sequence[OnStep] | None = None,
        on_step_every: int = 500,
        settings: TrainingSettings | None = None,
        augment: Augmentation | Sequence[Augmentation] | None = None,
        optimizers: Mapping[str, OptimizerFactory] | None = None,
        workers: int = 0,
        amp: bool = False,
    ) -> "GAN":
        """Train for `steps` generator updates and return the model itself.

        Args:
            data: A tensor or array [n, ...] (uint8 pictures are scaled to [−1, 1]); `gan.Data`, whose `train` is
                used; a map-style `torch.utils.data.Dataset`; or a `DataLoader`, whose own batches are taken and
                whose order no checkpoint can go back to.
            steps: Generator updates in all, those of an earlier part of the run included.
            labels: Classes [n] beside a tensor, for a generator with `num_classes`; the other kinds of data bring
                theirs.
            batch_size: Samples in a batch, drawn with replacement; None is that of `settings`, or of the recipe. Of
                several processes each takes its part of it. A `DataLoader`'s batches have its own size, and as many
                samples are generated for each.
            seed: Seeds every draw of the run.
            device: "auto" is CUDA where there is one.
            progress: Show a bar, where there is a terminal.
            checkpoint: A file. Where it exists the run goes on from it, to the same bits; it is written every
                `checkpoint_every` steps and at the end. With more `steps` than before the run is made longer.
            checkpoint_every: Steps between two checkpoints.
            on_step: Called as `on_step(step, model, history)` every `on_step_every` steps and after the last; one that
                returns True ends the training. Several are called in turn; see `gan.callbacks`.
            on_step_every: Steps between two calls.
            settings: Learning rates, critic steps, decay of the penalties; None is the recipe's.
            augment: Differentiable changes of real and generated samples before the critic (`gan.augment`).
            optimizers: A factory for "generator", "critic" or both in Adam's place, such as
                `{"critic": functools.partial(torch.optim.RMSprop, lr=5e-5)}`; the schedule multiplies its rates.
            workers: Processes that read a `Dataset`.
            amp: Networks' forward passes in bfloat16, on CUDA only; losses and penalties stay in full precision.

        Raises:
            TrainingDivergedError: A loss or a weight is not finite.
            ValueError: A bad argument, or a checkpoint of another run.
        """
        steps = check_count(steps, "steps")
        seed = check_count(seed, "seed", least=0)
        chosen = checks.settings(settings, self.recipe.settings)
        chosen = chosen if batch_size is None else replace(chosen, batch_size=batch_size)
        augment = self.recipe.augment if augment is None else checks.augmentations(augment)
        optimizers = self.recipe.optimizers if optimizers is None else optimizers
        where = pick_device(device)
        if amp and where.type != "cuda":
            raise ValueError(f"amp=True needs a CUDA device, got {where}; leave it out")
        share(chosen.batch_size)
        dtype = checks.dtype_of(self.generator)
        for name, network in (("generator", self.generator), ("critic", self.critic)):
            checks.types(name, network, dtype)
        source = as_source(
            data,
            labels,
            device=where,
            dtype=dtype,
            seed=seed,
            workers=workers,
            classes=num_classes(self.generator),
        )
        self._place(where, chosen.batch_size)
        for name, network in (("generator", self.generator), ("critic", self.critic)):
            refuse_batch_norm(name, network)
        with Noise(where, "shapes", seed).lent():
            checks.shapes(self.generator, self.critic, self.loss, source)
        for name, network in (("generator", self.generator), ("critic", self.critic)):
            checks.trainable(name, network)
        self.class_counts = source.class_counts() if num_classes(self.generator) else None
        self.history = History()
        game = Game(
            self.generator,
            self.critic,
            self.averaged,
            loss=self.loss,
            penalties=self.penalties,
            source=source,
            settings=chosen,
            random=stream("training", seed, where),
            dtype=dtype,
            classes=num_classes(self.generator),
            augment=augment,
            optimizers=optimizers,
            amp=amp,
        )
        look = Look(
            path=None if checkpoint is None else Path(checkpoint),
            save_every=check_count(checkpoint_every, "checkpoint_every"),
            progress=progress,
            on_step=() if on_step is None else checks.looks(on_step),
            on_step_every=check_count(on_step_every, "on_step_every"),
            model=self,
        )
        Loop(game, steps=steps).run(self.history, look, lambda: self._identity(game, source, steps, seed))
        return self

    @full_precision
    def sample(self, n: int, *, seed: int | None = None, labels: object = None) -> Float[Tensor, "n ..."]:
        """Draw n samples [n, ...] from the averaged generator, a thousand at a time.

        The latents are drawn on the CPU, so that a seed means the same samples on every device.

        Args:
            n: How many.
            seed: Also of what the network draws by itself, such as noise in its layers; None uses torch's default
                generator.
            labels: For a generator of classes: a class for each sample, or one for all; None draws them with the
                training data's frequencies, uniformly where those are not known.

        Raises:
            ValueError: Labels that are not n classes of the generator, or none of its.
        """
        n = check_count(n, "n")
        network = self.averaged.module if self.averaged is not None else self.generator
        like = next(network.parameters())
        random = None if seed is None else stream("samples", seed)
        latents = torch.randn(n, latent_dim(self.generator), dtype=like.dtype, generator=random)
        classes = self._classes(n, labels, random)
        # What the network draws by itself belongs to the sample.
        own = nullcontext() if seed is None else Noise(like.device, "samples.networks", seed).lent()
        with torch.no_grad(), evaluating(network), own:
            conditions = [()] * n if classes is None else [(c.to(like.device),) for c in classes.split(CHUNK)]
            chunks = zip(latents.split(CHUNK), conditions, strict=False)
            first = next(parts := (network(z.to(like.device), *condition) for z, condition in chunks))
            drawn = first.new_empty((n, *first.shape[1:]))
            drawn[:CHUNK] = first
            for i, part in enumerate(parts, start=1):
                drawn[i * CHUNK : (i + 1) * CHUNK] = part
        return drawn

    def save(self, path: str | Path) -> None:
        """Write the model to a file: both networks, the average, the recipe; `gan.load` reads it, without any data."""
        storage.save(self, Path(path))

    def _classes(self, n: int, labels: object, random: torch.Generator | None) -> Tensor | None:
        count = num_classes(self.generator)
        if not count:
            if labels is not None:
                raise ValueError(
                    "labels condition a generator with num_classes, and this one has none; leave them out"
                )
            return None
        if labels is None:
            weights = torch.ones(count) if self.class_counts is None else self.class_counts.float()
            return torch.multinomial(weights, n, replacement=True, generator=random)
        single = isinstance(labels, int | np.integer) or getattr(labels, "shape", None) == ()
        classes = check_classes(
            [check_count(labels, "labels", least=0)] * n if single else labels, n, "labels"
        )
        if int(classes.max()) >= count:
            raise ValueError(
                f"labels must be classes from 0 to {count - 1}, got {int(classes.max())}; take one of those"
            )
        return classes

    def _place(self, device: torch.device, batch_size: int) -> None:
        """Move the players, and start the average and what penalties change."""
        self.generator.to(device)
        if self.critic is not None:
            self.critic.to(device)
            for penalty in self.penalties:
                penalty.prepare(self.critic)
        if self.ema > 0:
            average = MovingAverage(self.ema ** (batch_size / EMA_BATCH))
            self.averaged = AveragedModel(self.generator, multi_avg_fn=average)

    def _identity(self, game: Game, source: Source, steps: int, seed: int) -> dict[str, object]:
        """What makes a run this run, for its checkpoint."""
        return game.settings.identity() | {
            "loss": told(game.loss),
            "penalties": [told(penalty) for penalty in game.penalties],
            "generator": told(game.generator),
            "critic": told(game.critic),
            "ema": self.ema,
            "augment": [told(each) for each in game.augment],
            "optimizers": {name: told_optimizer(each) for name, each in game.optimizers.items()},
            "data": source.fingerprint(),
            "steps": steps,
            "seed": seed,
        }


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device; "auto" is CUDA where there is one, else the CPU.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device, str | int | torch.device):
        raise TypeError(
            f"device must be a name or a torch.device, got {type(device).__name__}; write auto or cpu"
        )
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"device must be available, got {device!r} ({first}); write auto or cpu") from None
    return chosen
