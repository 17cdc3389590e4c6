"""A step of training of several runs at once: that of `gan.game`, with a leading dimension for the runs.

Networks, penalties, augmentations and score losses run under `torch.vmap` over the runs. Sample losses look at their
numbers, which `torch.vmap` forbids: Sinkhorn divergences are solved as a batch, others one run after the other. Every
run draws from its own stream and in the order of `gan.game`, so that its numbers are those of a run by itself.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap
from torch.optim.swa_utils import AveragedModel

from gan.augment import Augmentation, augmented
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.losses.transport import Sinkhorn
from gan.penalties import Penalty, WeightClipping
from gan.settings import OptimizerFactory, TrainingSettings, make_optimizer
from gan.sources import Source
from gan.stacked import Stacked
from gan.streams import Streams

__all__ = ["StackedGame"]

ELEMENTWISE = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.SGD,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
)
"""Optimizers that treat every number of a tensor by itself."""


class StackedGame:
    """The stacked players, the rules, the data, the optimizers and the streams.

    Args:
        generator: The generators.
        critic: The critics, or None for a divergence of samples.
        averaged: The generators' moving averages, or None.
        loss: The loss.
        penalties: The critic's.
        source: Where real batches come from.
        settings: Rates and rhythm.
        random: A stream a run.
        latent_dim: The length of a latent vector.
        dtype: Its type.
        augment: Changes of real and generated samples.
        optimizers: A factory by player, in Adam's place.
    """

    def __init__(
        self,
        generator: Stacked,
        critic: Stacked | None,
        averaged: AveragedModel | None,
        *,
        loss: ScoreLoss | SampleLoss,
        penalties: Sequence[Penalty],
        source: Source,
        settings: TrainingSettings,
        random: Streams,
        latent_dim: int,
        dtype: torch.dtype,
        augment: Sequence[Augmentation] = (),
        optimizers: dict[str, OptimizerFactory] | None = None,
    ) -> None:
        self.generator, self.critic, self.averaged = generator, critic, averaged
        self.loss, self.penalties, self.source, self.settings = loss, tuple(penalties), source, settings
        self.random, self.latent_dim, self.dtype = random, latent_dim, dtype
        self.augment, self.drawn = tuple(augment), 0
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.rates: dict[str, list[float]] = {}
        self.parameters: dict[str, list[nn.Parameter]] = {}
        for name, network in (("generator", generator), ("critic", critic)):
            if network is not None:
                self.optimizers[name], self.rates[name] = make_optimizer(name, network, settings, optimizers)
                self.parameters[name] = [p for p in network.parameters() if p.requires_grad]
                _refuse_coupling(name, self.optimizers[name])

    def step(self, number: int, progress: float) -> Float[Tensor, "runs 3"]:
        """One generator update with the critic updates before it: (critic loss, generator loss, penalty) of each run.

        Args:
            number: The generator updates before it.
            progress: The fraction of the run that is done.
        """
        factor = self.settings.rate(progress) / self.settings.learning_rate
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor
        critic_loss = penalty = None
        if "critic" in self.optimizers and number % self.settings.critic_every == 0:
            weight = self.settings.penalty_decay**progress
            for _ in range(self.settings.critic_steps):
                critic_loss, penalty = self.critic_losses()
                self._update("critic", critic_loss + weight * penalty)
                self._project()
        generator_loss = self.generator_losses()
        self._update("generator", generator_loss)
        if self.averaged is not None:
            self.averaged.update_parameters(self.generator)
        if critic_loss is None or penalty is None:
            critic_loss = penalty = torch.full_like(generator_loss, torch.nan)
        return torch.stack([critic_loss, generator_loss, penalty], 1).detach()

    def critic_losses(self) -> tuple[Float[Tensor, " runs"], Float[Tensor, " runs"]]:
        """Each critic's loss and penalty on fresh batches."""
        critic, loss = self.critic, self.loss
        assert critic is not None
        real = self._real()
        with torch.no_grad():
            fake = self._fake()
        on_real, on_fake = critic(real), critic(fake)
        if isinstance(loss, ScoreLoss):
            value = vmap(loss.critic_loss)(on_real, on_fake)
        else:
            value = -self._divergences(loss, on_real, on_fake)
        penalty = torch.zeros_like(value)
        for each in self.penalties:
            if type(each).__call__ is not Penalty.__call__:
                penalty = penalty + vmap(
                    lambda state, x, y, each=each: each(critic.lend(state), x, y, generator=self.random)
                )(critic.state(), real, fake)
        return value, penalty

    def generator_losses(self) -> Float[Tensor, " runs"]:
        """Each generator's loss on fresh batches."""
        critic, loss = self.critic, self.loss
        real, fake = self._real(), self._fake()
        if critic is None:
            on_real, on_fake = real.flatten(2), fake.flatten(2)
        else:
            on_real, on_fake = critic(real), critic(fake)
        if isinstance(loss, ScoreLoss):
            return vmap(loss.generator_loss)(on_real, on_fake)
        return self._divergences(loss, on_real, on_fake)

    def _divergences(self, loss: SampleLoss, real: Tensor, fake: Tensor) -> Float[Tensor, " runs"]:
        if isinstance(loss, Sinkhorn):
            return loss.of_batch(real, fake)
        each = zip(real, fake, self.random.generators, strict=True)
        return torch.stack([loss(x, y, generator=random) for x, y, random in each])

    def _update(self, name: str, losses: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        # Runs share no parameter: the gradient of the sum is each run's own.
        losses.sum().backward(inputs=self.parameters[name])
        optimizer.step()

    def _project(self) -> None:
        for each in self.penalties:
            if isinstance(each, WeightClipping):
                assert self.critic is not None
                each.project(self.critic)

    def _real(self) -> Tensor:
        count = self.settings.batch_size
        drawn = [self.source.draw(count, self.drawn, random)[0] for random in self.random.generators]
        self.drawn += 1
        return self._augmented(torch.stack(drawn))

    def _fake(self) -> Tensor:
        shape = (self.settings.batch_size, self.latent_dim)
        return self._augmented(self.generator(self.random.draw(torch.randn, shape, self.dtype)))

    def _augmented(self, batches: Tensor) -> Tensor:
        if not self.augment:
            return batches
        return vmap(lambda x: augmented(x, self.augment, self.random))(batches)


def _refuse_coupling(player: str, optimizer: torch.optim.Optimizer) -> None:
    """An optimizer that looks at a whole tensor would mix the runs."""
    if type(optimizer) not in ELEMENTWISE:
        raise ValueError(
            f"optimizers[{player!r}] must treat every number by itself for runs that are stacked, such as Adam or SGD, "
            f"got {type(optimizer).__name__}; train the models one by one with GAN.fit"
        )
