"""What a step of training is, one for every loss.

A *score loss* plays the game of Goodfellow et al. (2014): a critic v maps samples to scores [n, 1] and minimises
`loss.critic_loss(v(x), v(G(z)))` plus the penalties; the generator minimises `loss.generator_loss(v(x), v(G(z)))`.
A *sample loss* is a divergence of two clouds, minimised by the generator alone, `loss(x, G(z))`; with a critic φ
it becomes a learned cost (Genevay, Peyré & Cuturi 2018): φ maximises `loss(φ(x), φ(G(z)))`, the generator minimises it.
With classes everything is conditional: generated samples have the classes y of the real batch, v(x, y) and G(z, y), and
a sample loss without a critic sees the pairs (x, κ·e_y).

A step is one generator update with the critic updates before it. Everything that it draws comes from one seeded
generator, and what networks draw by themselves (dropout, noise in their layers) from a stream that its seed and the
step's number make, so that a run that was stopped goes on with the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim.swa_utils import AveragedModel

from gan import checkpoint
from gan.augment import Augmentation, augmented
from gan.batches import Batch
from gan.distributed import broadcast, gather, part_of, ranks, sum_gradients
from gan.losses.protocols import InRun, RunLoss, SampleLoss, ScoreLoss
from gan.networks.generator import latent_dim
from gan.penalties import R1, R2, Penalty
from gan.scored import Scored
from gan.seeds import Noise
from gan.settings import OptimizerFactory, TrainingSettings, make_optimizer
from gan.sources import Source

__all__ = ["Game"]


class Game:
    """The players, the rules, the data, the optimizers and the random state.

    Args:
        generator: Maps latents, and classes where there are any, to samples.
        critic: Maps samples, and classes, to scores or embeddings; None for a divergence of samples.
        averaged: The generator's moving average, or None.
        loss: The loss.
        penalties: The critic's.
        source: Where real batches come from.
        settings: Rates and rhythm.
        random: What everything is drawn by.
        dtype: The type of the latents.
        classes: Their number where the game is conditional, else 0.
        augment: Changes of real and generated samples.
        optimizers: A factory by player, in Adam's place.
        amp: Forward passes in bfloat16.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module | None,
        averaged: AveragedModel | None,
        *,
        loss: ScoreLoss | SampleLoss,
        penalties: Sequence[Penalty],
        source: Source,
        settings: TrainingSettings,
        random: torch.Generator,
        dtype: torch.dtype,
        classes: int = 0,
        augment: Sequence[Augmentation] = (),
        optimizers: Mapping[str, OptimizerFactory] | None = None,
        amp: bool = False,
    ) -> None:
        self.generator, self.critic, self.averaged = generator, critic, averaged
        self.loss, self.penalties, self.source, self.settings = loss, tuple(penalties), source, settings
        self.random, self.dtype, self.classes = random, dtype, classes
        self.augment, self.amp, self.drawn = tuple(augment), amp, 0
        self.noise = Noise(random.device, "networks", random.initial_seed())
        # Between classes the squared distance is 2κ² = 4V, twice the samples' own mean of 2V, so that plans keep to
        # classes.
        self.kappa = 2**0.5 * source.scale() if classes and critic is None else 0.0
        self.learned = self._begun(loss) if isinstance(loss, RunLoss) else None
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.rates: dict[str, list[float]] = {}
        self.parameters: dict[str, list[nn.Parameter]] = {}
        for name, network in (("generator", generator), ("critic", critic)):
            if network is not None:
                broadcast(network)
                self.optimizers[name], self.rates[name] = make_optimizer(name, network, settings, optimizers)
                self.parameters[name] = [p for p in network.parameters() if p.requires_grad]

    def _begun(self, loss: RunLoss) -> InRun:
        """The run's own state of a loss that learns something of the data."""
        if self.augment:
            raise ValueError(
                f"augment must be empty for {loss}, which takes the data as they are, got {list(self.augment)}; leave "
                "it out, or take gan.losses.Sinkhorn"
            )
        points, labels = self.source.points(loss.most)
        return loss.begin(self._with_class(points.flatten(1), labels if self.classes else None))

    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that holds tensors, by the name it has in a checkpoint."""
        networks = {
            "generator": self.generator,
            "critic": self.critic,
            "averaged": self.averaged,
            "loss": self.learned,
        }
        parts: dict[str, checkpoint.Part] = {
            name: each for name, each in networks.items() if each is not None
        }
        return parts | {f"{name}_optimizer": each for name, each in self.optimizers.items()}

    def draws(self) -> checkpoint.Draws:
        """The random state."""
        return checkpoint.Draws(self.random, self.drawn)

    def step(self, number: int, progress: float) -> Float[Tensor, " 3"]:
        """One generator update with the critic updates before it: (critic loss, generator loss, penalty).

        Args:
            number: The generator updates before it.
            progress: The fraction of the run that is done.
        """
        if self.learned is not None:
            self.learned.progress = progress
        self.noise.start(f"networks.{number}", self.random.initial_seed())
        factor = self.settings.rate(progress) / self.settings.learning_rate
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor
        critic_loss = penalty = None
        if "critic" in self.optimizers and number % self.settings.critic_every == 0:
            weight = self.settings.penalty_decay**progress
            for _ in range(self.settings.critic_steps):
                real, labels = self._real()
                with self.noise.lent(), _norms_told():
                    critic_loss, penalty = self._critic_step(real, labels, weight)
        real, labels = self._real()
        with self.noise.lent(), _norms_told():
            generator_loss = self._generator_step(real, labels)
        if self.averaged is not None:
            self.averaged.update_parameters(self.generator)
        if critic_loss is None or penalty is None:
            critic_loss = penalty = generator_loss.new_full((), torch.nan)
        return torch.stack([critic_loss, generator_loss, penalty])

    def _critic_step(
        self, real: Tensor, labels: Tensor | None, penalty_weight: float
    ) -> tuple[Tensor, Tensor]:
        critic, loss = self.critic, self.loss
        assert critic is not None
        with torch.no_grad():
            fake = self._fake(len(real), labels)
        judge = critic if labels is None else partial(_conditional, critic, labels)
        scored = Scored(judge)
        if any(isinstance(each, R1 | R2) for each in self.penalties) and not self.amp:
            on_real, on_fake = scored.score(real), scored.score(fake)
        else:
            on_real, on_fake = self._judged(judge, real, fake)
        if isinstance(loss, ScoreLoss):
            value = loss.critic_loss(gather(on_real), gather(on_fake))
        else:
            value = -loss(gather(on_real), gather(on_fake), generator=self.random)
        if not self.penalties:
            self._update("critic", value)
            return value.detach(), value.new_zeros(())
        penalty = value.new_zeros(())
        for each in self.penalties:
            critic_of = scored if isinstance(each, R1 | R2) else judge
            penalty = penalty + each(critic_of, real, fake, generator=self.random)
        self._update("critic", value + penalty_weight / ranks() * penalty)
        for each in self.penalties:
            each.project(critic)
        return value.detach(), penalty.detach()

    def _generator_step(self, real: Tensor, labels: Tensor | None) -> Tensor:
        critic, loss = self.critic, self.learned or self.loss
        fake = self._fake(len(real), labels)
        if critic is not None:
            judge = critic if labels is None else partial(_conditional, critic, labels)
            on_real, on_fake = self._judged(judge, real, fake)
        else:
            on_real, on_fake = (self._with_class(x.flatten(1), labels) for x in (real, fake))
        if isinstance(loss, ScoreLoss):
            value = loss.generator_loss(gather(on_real), gather(on_fake))
        else:
            value = loss(gather(on_real), gather(on_fake), generator=self.random)
        self._update("generator", value)
        return value.detach()

    def _judged(self, judge: Callable[..., Tensor], real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        if not self.amp:
            return judge(real), judge(fake)
        with torch.autocast(self.random.device.type, dtype=torch.bfloat16):
            on_real, on_fake = judge(real), judge(fake)
        return on_real.to(real), on_fake.to(real)

    def _with_class(self, samples: Tensor, labels: Tensor | None) -> Tensor:
        """The samples beside κ times their class's unit vector."""
        if labels is None:
            return samples
        return torch.cat([samples, self.kappa * one_hot(labels, self.classes).to(samples)], 1)

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        if not loss.requires_grad:
            raise ValueError(
                f"{name} must have parameters that are trained, and all of them were frozen since the run began; what "
                "looks at a training must leave requires_grad as it is"
            )
        # One player's gradients alone: the other's are not even computed.
        loss.backward(inputs=self.parameters[name])
        if all(p.grad is None for p in self.parameters[name]):
            raise ValueError(
                f"{name} must get a gradient of the loss, got none; something between them cuts it off: .detach(), "
                ".data, torch.no_grad or numpy in an augmentation, a network or the loss"
            )
        sum_gradients(self.parameters[name])
        optimizer.step()

    def _real(self) -> Batch:
        batch, labels = self.source.draw(self.settings.batch_size, self.drawn, self.random)
        self.drawn += 1
        if self.augment:
            batch = augmented(batch, self.augment, self.random)
        return batch, labels if self.classes else None

    def _fake(self, count: int, labels: Tensor | None) -> Tensor:
        """As many samples as there are real ones, which of a loader may be fewer or more than the batch size."""
        generator = self.generator
        shape = (count * ranks(), latent_dim(generator))
        latents = torch.randn(shape, dtype=self.dtype, device=self.random.device, generator=self.random)
        latents = part_of(latents)
        arguments = (latents,) if labels is None else (latents, labels)
        if self.amp:
            with torch.autocast(self.random.device.type, dtype=torch.bfloat16):
                fake = generator(*arguments)
            fake = fake.to(self.dtype)
        else:
            fake = generator(*arguments)
        return augmented(fake, self.augment, self.random) if self.augment else fake


@contextmanager
def _norms_told() -> Iterator[None]:
    """Say what torch's refusal of a variance over one number means for a training."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "a batch must hold at least 2 samples for batch normalisation, got 1; pass a DataLoader with "
            "drop_last=True, or a larger batch_size"
        ) from error


def _conditional(critic: nn.Module, labels: Tensor, samples: Tensor) -> Tensor:
    return critic(samples, labels)
