"""What was found to work, per kind of data and loss, as one table.

The f-GAN family and the relativistic loss take R1 and R2 on both sides, decaying, and one critic step (Mescheder,
Geiger & Nowozin 2018; Huang et al. 2024); the Wasserstein losses take their Lipschitz constraint and several critic
steps (Gulrajani et al. 2017); the sample losses need no critic unless their cost is learned.

**The ε of the Sinkhorn loss.** Between two batches of one distribution S_ε is positive: the optimal plan can always be
shortened by drawing the generated points towards the means of the real ones that they are matched with. That sampling
bias grows as ε falls (from n^{−1/2} at a large ε to n^{−2/d} at ε = 0: Genevay et al. 2019, theorem 3), and a generator
that gives in to it makes sharp averages without variety. A large batch weakens it, and so does a larger ε, up to
where ε hides the shape of the distribution itself: as ε → ∞ only the means are compared. Between them lies ε ≈ 0.2 ×
the mean cost with a batch of 512, four times the ε that `metrics` judges with; `docs/gan.md` has the figures. Better
is to mend the cause: with .8 of the self-term taken between halves of the batch (`Sinkhorn(split=0.8)`) the digits
keep their variety at .05 × the mean cost, sharper than any ε without it; MNIST wants .96. Points in a plane have
details so fine that any two batches differ by more; there potentials of all data points are learned in the batches'
place (`SemiDiscrete`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from gan import losses, networks
from gan.augment import Augmentation, Cutout, Noise, Shift
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.losses.semi_discrete import SemiDiscrete
from gan.losses.transport import Sinkhorn
from gan.penalties import R1, R2, GradientPenalty, Penalty, SpectralNorm, WeightClipping
from gan.settings import TrainingSettings

__all__ = ["KINDS", "Kind", "Row", "six_digits"]

Loss = ScoreLoss | SampleLoss
Build = Callable[[int], nn.Module]

MANY = 10
"""Known modes from which on a run is longer."""

BLUR = 0.2
"""ε of the Sinkhorn loss over the mean cost."""


@dataclass(frozen=True)
class Row:
    """A recipe for one loss and kind of data, in units of the data's total variance V.

    Attributes:
        loss: The loss, from V.
        penalties: The penalties, from V: γ‖∇v‖² has no unit, so γ has that of a squared length.
        settings: Rates and rhythm.
        critic_outputs: 1 for scores, more for an embedding, 0 without a critic.
        ema: Of the generator's average, per 128 images.
        steps: Generator updates.
        augment: Whether the kind's augmentation is used.
    """

    loss: Callable[[float], Loss]
    penalties: Callable[[float], tuple[Penalty, ...]]
    settings: TrainingSettings
    critic_outputs: int = 1
    ema: float = 0.999
    steps: int = 3500
    augment: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of data: what belongs to it, its networks, its augmentation, its rows.

    Attributes:
        name: What it is called.
        holds: Whether samples of a shape, of an image shape if they are flattened images, and with so many known modes
            belong to it.
        networks: From a sample's shape, some samples, the row and the classes to builders of both players.
        rows: By loss; a loss that is not named takes that of its family, `"score"` or `"sample"`.
        augment: From the shape of flattened images to changes of both sides; None for none.
        tuned_on: In words.
    """

    name: str
    holds: Callable[[tuple[int, ...], tuple[int, int] | None, int], bool]
    networks: Callable[[tuple[int, ...], Tensor, Row, int], tuple[Build, Build]]
    rows: Mapping[str, Row]
    augment: Callable[[tuple[int, int] | None], tuple[Augmentation, ...]] | None = None
    tuned_on: str = ""

    def row(self, name: str) -> Row:
        """The row of a loss by its name."""
        loss = losses.named(name)
        family = "score" if isinstance(loss, ScoreLoss) else "sample"
        row = self.rows.get(name, self.rows[family])
        return replace(row, loss=lambda _: loss) if row.loss is _any else row


def _any(variance: float) -> Loss:
    """The row's loss is the one that was named."""
    raise NotImplementedError


def both_sides(gamma: float) -> Callable[[float], tuple[Penalty, ...]]:
    """R1 and R2 with γ = gamma·V."""
    return lambda variance: (R1(six_digits(gamma * variance)), R2(six_digits(gamma * variance)))


def just(*penalties: Penalty) -> Callable[[float], tuple[Penalty, ...]]:
    """Penalties that know no unit."""
    return lambda _: penalties


def blurred(variance: float, *, blur: float = BLUR, split: float = 0.0) -> Loss:
    """The Sinkhorn loss with ε = blur × the mean of ‖x − x′‖², which is 2V."""
    return Sinkhorn(eps=six_digits(2 * blur * variance), split=split)


def of_all_points(variance: float, *, eps: float = 1e-5, steps_per_batch: int = 1) -> Loss:
    """Semi-discrete transport; ε falls from .01 of the mean of ‖x − x′‖², which is 2V."""
    mean = 2 * variance
    return SemiDiscrete(
        eps=six_digits(eps * mean),
        first_eps=six_digits(0.01 * mean),
        smoothing=six_digits(0.003 * mean),
        balance=six_digits(0.001 * mean),
        steps_per_batch=steps_per_batch,
    )


def six_digits(value: float) -> float:
    """A number in six digits: a part of a checkpoint's identity, which must not hang on the order of a sum."""
    return float(f"{value:.6g}")


def _rows(
    base: TrainingSettings, *, gamma: float = 0.05, steps: int = 3500, weight: float = 10.0
) -> dict[str, Row]:
    """The rows that hold wherever nothing better was found."""
    several = replace(base, critic_steps=3)
    score = Row(_any, both_sides(gamma), replace(base, penalty_decay=0.1), steps=steps)
    sample = Row(_any, just(), replace(base, batch_size=256), critic_outputs=0, steps=steps)
    return {
        "score": score,
        "sample": sample,
        "wgan": replace(score, penalties=just(WeightClipping(0.01)), settings=replace(base, critic_steps=5)),
        "wgan-gp": replace(score, penalties=just(GradientPenalty(weight)), settings=several),
        "wgan-lp": replace(score, penalties=just(GradientPenalty(weight, one_sided=True)), settings=several),
        "hinge": replace(score, penalties=just(SpectralNorm()), settings=base),
        "sinkhorn": replace(sample, loss=blurred, settings=replace(base, batch_size=512)),
        "sinkhorn-critic": replace(sample, settings=replace(base, critic_every=3), critic_outputs=32),
    }


def _multilayer(
    shape: tuple[int, ...],
    samples: Tensor,
    row: Row,
    num_classes: int,
    *,
    hidden: tuple[int, ...] = (128, 128),
    bounded: bool | None = None,
) -> tuple[Build, Build]:
    """Multilayer players of vectors; bounded where the data are pixels in [−1, 1]."""
    (d,) = shape
    bounded = bool(samples.abs().max() <= 1) and d > 3 if bounded is None else bounded
    generator = partial(
        networks.mlp_generator,
        d,
        latent_dim=min(16, d),
        hidden=hidden,
        bounded=bounded,
        num_classes=num_classes,
    )
    outputs = max(row.critic_outputs, 1)
    critic = partial(networks.mlp_critic, d, output_dim=outputs, hidden=hidden, num_classes=num_classes)
    return _seeded(generator), _seeded(critic)


def _of_points(shape: tuple[int, ...], samples: Tensor, row: Row, num_classes: int) -> tuple[Build, Build]:
    """A deep narrow generator of two latents; a critic that sees small distances, an embedding that keeps them.

    A learned cost is as large as it can be where all features of the one cloud are a point and those of the other
    another; high frequencies come near that at once, and such features have no slope to descend.
    """
    (d,) = shape
    std = six_digits(float(samples.var(0, unbiased=False).mean().sqrt())) or 1.0
    unit = ([six_digits(float(m)) for m in samples.mean(0)], std)
    rest = {"slope": 0.0, "unit": unit, "num_classes": num_classes}
    generator = partial(
        networks.mlp_generator, d, latent_dim=max(2, d), hidden=(128,) * 4, bounded=False, **rest
    )
    outputs = max(row.critic_outputs, 1)
    fourier = (32, 0.25, 3.0) if outputs == 1 else None
    critic = partial(networks.mlp_critic, d, output_dim=outputs, hidden=(64,) * 3, fourier=fourier, **rest)
    return _seeded(generator), _seeded(critic)


def _of_images(shape: tuple[int, ...], samples: Tensor, row: Row, num_classes: int) -> tuple[Build, Build]:
    """A convolutional pair whose score sees the picture whole."""
    picture = None if len(shape) == 1 else shape
    rest = {"shape": picture, "hidden": (256,), "num_classes": num_classes}
    generator = partial(networks.conv_generator, **rest)
    critic = partial(networks.conv_critic, output_dim=max(row.critic_outputs, 1), **rest)
    return _seeded(generator), _seeded(critic)


def _seeded(make: Callable[..., nn.Module]) -> Build:
    return lambda seed: make(seed=seed)


def _of_digits(shape: tuple[int, int] | None) -> tuple[Augmentation, ...]:
    return (Shift(1, shape, 0.3), Cutout(3, shape, 0.3), Noise(0.1))


_SLOW = TrainingSettings(
    batch_size=256,
    learning_rate=1e-3,
    final_learning_rate=1e-6,
    generator_rate=2.0,
    betas=(0.5, 0.9),
    penalty_decay=1e-4,
)
_POINTS = {
    name: replace(row, ema=0.995) for name, row in _rows(_SLOW, gamma=0.15, steps=4000, weight=0.1).items()
}
_POINTS["score"] = replace(_POINTS["score"], settings=_SLOW)
# Under spectral norms a critic is too smooth for details this fine: 4 of the ring's 8 modes.
_POINTS["hinge"] = _POINTS["score"]
_POINTS["sinkhorn"] = replace(
    _POINTS["sinkhorn"],
    loss=of_all_points,
    settings=replace(_SLOW, batch_size=512, generator_rate=1.0),
    steps=2500,
)
_POINTS["wgan-gp"] = replace(_POINTS["wgan-gp"], settings=replace(_SLOW, critic_steps=2, penalty_decay=1.0))
_POINTS["sinkhorn-critic"] = replace(
    _POINTS["sinkhorn-critic"],
    penalties=just(SpectralNorm()),
    settings=replace(_SLOW, batch_size=512, critic_every=3),
)
_DIGITS = TrainingSettings(final_learning_rate=2e-5)
_DIGITS_ROWS = _rows(_DIGITS)
_DIGITS_ROWS["sinkhorn"] = replace(
    _DIGITS_ROWS["sinkhorn"], loss=partial(blurred, blur=0.05, split=0.8), steps=2400, augment=False
)

_IMAGES = TrainingSettings(final_learning_rate=2e-5, generator_rate=2.0)
_IMAGES_ROWS = _rows(_IMAGES, gamma=0.01, steps=5000)
# Three critic steps are three times the work of convolutions: a third of the steps in a time, and far worse for it.
_IMAGES_ROWS |= {name: replace(_IMAGES_ROWS[name], settings=_IMAGES) for name in ("wgan-gp", "wgan-lp")}
_IMAGES_ROWS["sinkhorn"] = replace(
    _IMAGES_ROWS["sinkhorn"], loss=partial(blurred, blur=0.05, split=0.96), steps=2500
)

_GRID = {name: replace(row, steps=14_000) for name, row in _POINTS.items()}
# With a single step a batch the potentials of 25 modes fall behind the generator.
_GRID["sinkhorn"] = replace(
    _POINTS["sinkhorn"], loss=partial(of_all_points, eps=1e-4, steps_per_batch=8), steps=5000
)

KINDS = (
    Kind(
        "points of many modes",
        lambda shape, image, modes: len(shape) == 1 and shape[0] <= 3 and modes > MANY,
        _of_points,
        _GRID,
        tuned_on="the grid of 25 Gaussians",
    ),
    Kind(
        "points",
        lambda shape, image, modes: len(shape) == 1 and shape[0] <= 3 and image is None,
        _of_points,
        _POINTS,
        tuned_on="the ring of 8 Gaussians",
    ),
    Kind(
        "small images",
        lambda shape, image, modes: len(shape) == 1 and image is not None and shape[0] <= 256,
        partial(_multilayer, hidden=(256, 256, 256), bounded=True),
        _DIGITS_ROWS,
        augment=_of_digits,
        tuned_on="scikit-learn's digits, 898 images of 8×8",
    ),
    Kind(
        "images",
        lambda shape, image, modes: len(shape) == 3 or image == (28, 28),
        _of_images,
        _IMAGES_ROWS,
        tuned_on="MNIST",
    ),
    Kind("vectors", lambda shape, image, modes: len(shape) == 1, _multilayer, _rows(TrainingSettings())),
)
"""In the order in which they are asked."""
