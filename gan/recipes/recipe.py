"""A training recipe, whole: the loss, its penalties, the networks, the rhythm, the batch, the rates, the augmentation.

    chosen = gan.recipe("wgan-gp", like=data)
    model = gan.GAN.from_recipe(chosen, *chosen.players(seed=0)).fit(data, steps=chosen.steps)

`gan.recipes.table` holds what was found for each kind of data and loss; here it is turned into objects in the unit of
the data. The user's own networks and settings take the place of any part.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gan.augment import Augmentation
from gan.data.sets import Data
from gan.losses.catalogue import NAMES
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.penalties import Penalty
from gan.recipes.table import KINDS, Kind, six_digits
from gan.settings import OptimizerFactory, TrainingSettings
from metrics.inputs import from_array

__all__ = ["Players", "Recipe", "kind_of", "recipe"]


class Players(NamedTuple):
    """A generator and, where the loss wants one, a critic."""

    generator: nn.Module
    critic: nn.Module | None


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that depends on the loss and the kind of data.

    Attributes:
        loss: The loss.
        penalties: The critic's regularisers.
        settings: Rates and rhythm, the batch size included.
        critic_outputs: Width of the critic's output: 1 for scores, more for an embedding, 0 for no critic.
        augment: Changes of real and generated samples before the critic.
        ema: Decay of the generator's moving average per 128 images.
        steps: Generator updates of the run that it was tuned with.
        optimizers: Factories by player in place of Adam; None for Adam.
        tuned_on: The data that it was tuned on, in words.
    """

    loss: ScoreLoss | SampleLoss
    penalties: tuple[Penalty, ...] = ()
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    critic_outputs: int = 1
    augment: tuple[Augmentation, ...] = ()
    ema: float = 0.999
    steps: int = 3500
    optimizers: Mapping[str, OptimizerFactory] | None = None
    tuned_on: str = ""
    _generator: Callable[[int], nn.Module] | None = field(default=None, repr=False)
    _critic: Callable[[int], nn.Module] | None = field(default=None, repr=False)

    def players(self, *, seed: int = 0) -> Players:
        """Return fresh built-in networks that fit the data and the loss.

        Args:
            seed: What their weights are drawn from; the critic's from another stream.
        """
        if self._generator is None:
            raise ValueError(
                "this recipe was made without data and knows no networks; pass your own to from_recipe"
            )
        critic = self._critic(seed) if self._critic is not None and self.critic_outputs else None
        return Players(self._generator(seed), critic)


def recipe(name: str, like: Data | Tensor | object, *, num_classes: int = 0) -> Recipe:
    """Return the recipe of a loss by its command-line name, for a kind of data.

    Args:
        name: One of `losses.NAMES`.
        like: The data: `Data`, or samples `[n, d]` or `[n, c, h, w]`, whose shape chooses the networks and whose
            variance sets the scale of ε and of γ.
        num_classes: Above 0 for networks of classes.

    Raises:
        TypeError: A path in the place of data.
        ValueError: An unknown name, the message lists the choices; data of another shape, or not finite.

    >>> import torch
    >>> recipe("wgan-gp", like=torch.zeros(2, 20)).settings.critic_steps
    3
    >>> data = torch.tensor([[-1.0], [1.0]]).repeat(1, 5)   # the mean cost is twice the variance: 10
    >>> recipe("sinkhorn", like=data).loss.eps
    2.0
    """
    if name not in NAMES:
        raise ValueError(f"a loss must be one of {', '.join(NAMES)}; got {name!r}")
    kind = kind_of(like)
    samples = _some(like.train if isinstance(like, Data) else like)
    row = kind.row(name)
    total = float(samples.flatten(1).var(0, unbiased=False).sum())
    if math.isinf(total):
        raise ValueError("like must have a variance that a float can hold, got infinity; scale the data down")
    variance = six_digits(total) or 1.0
    shape = like.image_shape if isinstance(like, Data) else None
    networks = kind.networks(tuple(samples.shape[1:]), samples, row, num_classes)
    return Recipe(
        loss=row.loss(variance),
        penalties=row.penalties(variance),
        settings=row.settings,
        critic_outputs=row.critic_outputs,
        augment=() if kind.augment is None or not row.augment else kind.augment(shape),
        ema=row.ema,
        steps=row.steps,
        tuned_on=kind.tuned_on,
        _generator=networks[0],
        _critic=networks[1],
    )


def kind_of(like: object) -> Kind:
    """Return the kind of some data: points in at most three dimensions, small or large images, other vectors."""
    if isinstance(like, str | PathLike):
        raise TypeError(
            f"like must be data, got a path; write gan.data.folder({str(like)!r}, size=32) for pictures or "
            f"gan.data.file({str(like)!r}) for arrays"
        )
    samples = like.train if isinstance(like, Data) else from_array(like, "like")
    image_shape = like.image_shape if isinstance(like, Data) else None
    modes = len(like.centres) if isinstance(like, Data) and like.centres is not None else 0
    shape = tuple(samples.shape[1:])
    found = next((kind for kind in KINDS if kind.holds(shape, image_shape, modes)), None)
    if found is None:
        remedy = (
            "images without channels are like[:, None]" if len(shape) == 2 else "pass the training data so"
        )
        raise ValueError(f"like must be samples [n, d] or [n, c, h, w], got {list(samples.shape)}; {remedy}")
    return found


def _some(samples: object) -> Tensor:
    """At most some thousands of the samples, as the networks see them, in float64."""
    x = from_array(samples, "like")
    if x.ndim < 2 or len(x) < 1:
        raise ValueError(
            f"like must be samples [n, d] or [n, c, h, w], got {list(x.shape)}; pass the training data"
        )
    x = x[:: max(1, len(x) // 5000)]
    if not bool(x.isfinite().all()):
        raise ValueError("like must be finite, got NaN or infinity; drop those samples")
    return x.double() / 127.5 - 1 if x.dtype == torch.uint8 else x.double()
