"""The training loop, one for every loss: what a step is, and what happens between steps.

A *score loss* plays the game of Goodfellow et al. (2014): a critic v maps samples to scores [n, 1] and minimises
`loss.critic_loss(v(x), v(G(z)))` plus the penalties; the generator minimises `loss.generator_loss(v(x), v(G(z)))`.
A *sample loss* is a divergence of two clouds, minimised by the generator alone, `loss(x, G(z))`; with a critic φ
it becomes a learned cost (Genevay, Peyré & Cuturi 2018): φ maximises `loss(φ(x), φ(G(z)))`, the generator minimises it.

A step is one generator update with the critic updates before it. Everything that a run draws comes from one seeded
generator, whose state the checkpoint holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from gan import checkpoint
from gan.history import History
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.networks import latent_dim
from gan.penalties import Penalty
from gan.seeds import stream
from gan.settings import TrainingSettings

__all__ = ["Augment", "Game", "Loop", "TrainingDivergedError"]

Augment = Callable[..., Tensor]
"""`augment(batch, generator=random)` returns a batch of the same shape."""
# Losses stay on the device between two looks, so that a step never waits for the host.
LOOK_EVERY = 50


class TrainingDivergedError(RuntimeError):
    """A loss or a weight stopped being finite; the message names the step and the last good checkpoint."""


@dataclass
class Game:
    """The players and the rules."""

    generator: nn.Module
    critic: nn.Module | None
    averaged: AveragedModel | None
    loss: ScoreLoss | SampleLoss
    penalties: tuple[Penalty, ...]


class Loop:
    """One run: the game, the data, the two optimizers and the random state."""

    def __init__(
        self,
        game: Game,
        samples: Float[Tensor, "n d"],
        settings: TrainingSettings,
        *,
        steps: int,
        seed: int,
        augment: Augment | None,
        amp: bool,
    ) -> None:
        self.game, self.samples, self.settings = game, samples, settings
        self.steps, self.augment, self.amp = steps, augment, amp
        self.random = stream("training", seed, samples.device)
        self.optimizers = {"generator": settings.optimizer(game.generator)}
        if game.critic is not None:
            self.optimizers["critic"] = settings.optimizer(game.critic)
        self.identity = settings.identity() | {
            "loss": repr(game.loss),
            "penalties": [repr(penalty) for penalty in game.penalties],
            "steps": steps,
            "seed": seed,
            "samples": list(samples.shape),
        }

    def parts(self) -> dict[str, checkpoint.Part]:
        """Everything that holds tensors, by the name it has in a checkpoint."""
        networks = {
            "generator": self.game.generator,
            "critic": self.game.critic,
            "averaged": self.game.averaged,
        }
        parts: dict[str, checkpoint.Part] = {
            name: each for name, each in networks.items() if each is not None
        }
        return parts | {f"{name}_optimizer": each for name, each in self.optimizers.items()}

    def run(self, history: History, *, path: Path | None, save_every: int, progress: bool) -> None:
        """Train from the end of `history` to the last step, with a bar, looks and checkpoints."""
        if path is not None and path.exists():
            checkpoint.restore(path, self.parts(), self.identity, history, self.random)
        pending: list[Tensor] = []
        start = len(history)
        with tqdm(
            total=self.steps, initial=start, disable=None if progress else True, desc="training"
        ) as bar:
            for step in range(start, self.steps):
                try:
                    pending.append(self.step(step))
                except ValueError as error:
                    self._refuse_divergence(pending, history, step, path, error)
                    raise
                done = step + 1
                save = path is not None and (done % save_every == 0 or done == self.steps)
                if save or len(pending) == LOOK_EVERY or done == self.steps:
                    self._look(pending, history, path)
                    bar.update(len(pending))
                    bar.set_postfix(generator=f"{history.generator_loss[-1]:.3f}", refresh=False)
                    pending = []
                if save and path is not None:
                    self._refuse_bad_weights(done, path)
                    checkpoint.save(path, self.parts(), self.identity, history, self.random)

    def step(self, step: int) -> Float[Tensor, " 3"]:
        """One generator update with the critic updates before it: (critic loss, generator loss, penalty)."""
        progress = step / self.steps
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = self.settings.rate(progress)
        critic_loss = penalty = self.samples.new_full((), torch.nan)
        if "critic" in self.optimizers and step % self.settings.critic_every == 0:
            weight = self.settings.penalty_decay**progress
            for _ in range(self.settings.critic_steps):
                critic_loss, penalty = self._critic_step(weight)
        generator_loss = self._generator_step()
        if self.game.averaged is not None:
            self.game.averaged.update_parameters(self.game.generator)
        return torch.stack([critic_loss, generator_loss, penalty]).detach()

    def _critic_step(self, penalty_weight: float) -> tuple[Tensor, Tensor]:
        critic, loss = self.game.critic, self.game.loss
        assert critic is not None
        real = self._real()
        with torch.no_grad():
            fake = self._fake()
        with self._autocast():
            on_real, on_fake = critic(real), critic(fake)
        on_real, on_fake = on_real.to(real), on_fake.to(real)
        if isinstance(loss, ScoreLoss):
            value = loss.critic_loss(on_real, on_fake)
        else:
            value = -loss(on_real, on_fake, generator=self.random)
        penalty = value.new_zeros(())
        for each in self.game.penalties:
            penalty = penalty + each(critic, real, fake, generator=self.random)
        self._update("critic", value + penalty_weight * penalty)
        for each in self.game.penalties:
            each.project(critic)
        return value.detach(), penalty.detach()

    def _generator_step(self) -> Tensor:
        critic, loss = self.game.critic, self.game.loss
        real = on_real = self._real()
        fake = on_fake = self._fake()
        if critic is not None:
            # The critic only passes the gradient on here; its own is not wanted.
            critic.requires_grad_(False)
            with self._autocast():
                on_real, on_fake = critic(real), critic(fake)
            on_real, on_fake = on_real.to(real), on_fake.to(real)
        if isinstance(loss, ScoreLoss):
            value = loss.generator_loss(on_real, on_fake)
        else:
            value = loss(on_real, on_fake, generator=self.random)
        self._update("generator", value)
        if critic is not None:
            critic.requires_grad_(True)
        return value.detach()

    def _update(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _real(self) -> Tensor:
        shape = (self.settings.batch_size,)
        index = torch.randint(len(self.samples), shape, device=self.samples.device, generator=self.random)
        batch = self.samples[index]
        return batch if self.augment is None else self.augment(batch, generator=self.random)

    def _fake(self) -> Tensor:
        shape = (self.settings.batch_size, latent_dim(self.game.generator))
        like = self.samples
        latents = torch.randn(shape, dtype=like.dtype, device=like.device, generator=self.random)
        with self._autocast():
            fake = self.game.generator(latents)
        return fake.to(like)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.samples.device.type, dtype=torch.bfloat16, enabled=self.amp)

    def _look(self, pending: list[Tensor], history: History, path: Path | None) -> None:
        rows = torch.stack(pending).double().cpu()
        # The critic's columns are NaN by design at the steps that left it alone.
        critic_moved = torch.arange(len(history), len(history) + len(rows)) % self.settings.critic_every == 0
        looked = rows if self.game.critic is not None else rows[:, 1:2]
        looked = torch.where(critic_moved[:, None], looked, rows[:, 1:2])
        bad = ~looked.isfinite().all(1)
        if bool(bad.any()):
            step = len(history) + int(bad.nonzero()[0])
            raise TrainingDivergedError(f"a loss stopped being finite at step {step}; {_last_good(path)}")
        history.extend(rows)

    def _refuse_divergence(
        self, pending: list[Tensor], history: History, step: int, path: Path | None, error: ValueError
    ) -> None:
        """A loss that refuses NaN samples tells of the divergence in its own words; say where it began."""
        try:
            if pending:
                self._look(pending, history, path)
            self._refuse_bad_weights(step, path)
        except TrainingDivergedError as divergence:
            raise divergence from error

    def _refuse_bad_weights(self, done: int, path: Path | None) -> None:
        for name, part in self.parts().items():
            if isinstance(part, nn.Module) and not all(bool(p.isfinite().all()) for p in part.parameters()):
                raise TrainingDivergedError(
                    f"a weight of the {name} stopped being finite by step {done}; {_last_good(path)}"
                )


def _last_good(path: Path | None) -> str:
    remedy = "lower the learning rate or strengthen the penalties"
    if path is None:
        return f"there is no checkpoint (pass checkpoint=); {remedy}"
    return f"the last good checkpoint is {path if path.exists() else 'not written yet'}; {remedy}"
