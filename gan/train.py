"""A generator, its loss and what the loss needs, trained by one call and sampled by another.

`GAN.fit` runs the loop of `gan.loop`; `GAN.sample` draws from the exponential moving average of the generator, which is
less noisy than its last iterate (Yazıcı et al. 2019). The average's half-life is told in images, not in steps, so that
it does not depend on the batch size: the decay of a step with batch b is `ema ** (b / 128)`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gan.data import Data
from gan.history import History
from gan.loop import Augment, Game, Loop
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.networks import latent_dim
from gan.penalties import Penalty
from gan.seeds import stream
from gan.settings import TrainingSettings
from metrics.inputs import check_cloud, check_count

__all__ = ["GAN", "pick_device"]

EMA_BATCH = 128


class GAN:
    """A generator, its loss, and what the loss needs.

    Args:
        generator: A module from latents [n, latent_dim] to samples [n, d], with an int attribute `latent_dim`.
        critic: A module from samples to scores [n, 1] (score losses) or to an embedding [n, k] (learned costs).
        loss: A score loss or a sample loss from `gan.losses`.
        penalties: Regularisers of the critic from `gan.penalties`.
        ema: Decay of the generator's moving average per 128 images drawn, in [0, 1); 0 turns it off.

    Raises:
        ValueError: The loss and the critic do not fit.

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
        loss: ScoreLoss | SampleLoss,
        penalties: Sequence[Penalty] = (),
        ema: float = 0.999,
    ) -> None:
        latent_dim(generator)
        if not 0 <= ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {ema}; 0 turns the moving average off")
        wants_critic = isinstance(loss, ScoreLoss) or loss.learned_cost
        if wants_critic and critic is None:
            raise ValueError(f"{loss} needs a critic, got None; pass one, such as gan.networks.mlp_critic")
        if not wants_critic and critic is not None:
            raise ValueError(f"{loss} takes no critic, got one; leave it out, or set learned_cost=True")
        if penalties and critic is None:
            raise ValueError("penalties regularise a critic, and there is none; leave them out")
        self.generator, self.critic = generator, critic
        self.loss, self.penalties, self.ema = loss, tuple(penalties), ema
        self.averaged: AveragedModel | None = None
        self.history = History()

    def fit(
        self,
        data: Data | Float[Tensor, "n d"],
        *,
        steps: int,
        batch_size: int = 128,
        seed: int = 0,
        device: str | torch.device = "auto",
        progress: bool = True,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 500,
        settings: TrainingSettings | None = None,
        augment: Augment | None = None,
        amp: bool = False,
    ) -> "GAN":
        """Train for `steps` generator updates and return the model itself.

        Args:
            data: Training samples [n, d], or a `gan.data.Data` whose `train` is used.
            steps: Generator updates in all, those of an earlier part of the run included.
            batch_size: Samples in a batch, drawn with replacement.
            seed: Seeds every draw of the run.
            device: "auto" is CUDA where there is one.
            progress: Show a bar, where there is a terminal.
            checkpoint: A file. Where it exists the run goes on from it, to the same bits; it is written every
                `checkpoint_every` steps and at the end.
            checkpoint_every: Steps between two checkpoints.
            settings: Learning rates, critic steps, decay of the penalties.
            augment: Called as `augment(batch, generator=...)`, such as
                `partial(gan.data.shift_images, image_shape=(8, 8))`.
            amp: Networks' forward passes in bfloat16, on CUDA only; losses and penalties stay in full precision.

        Raises:
            TrainingDivergedError: A loss or a weight is not finite.
            ValueError: A bad argument, or a checkpoint of another run.
        """
        steps = check_count(steps, "steps")
        checkpoint_every = check_count(checkpoint_every, "checkpoint_every")
        samples = check_cloud(data.train if isinstance(data, Data) else data, "data")
        settings = replace(settings or TrainingSettings(), batch_size=batch_size)
        where = pick_device(device)
        if amp and where.type != "cuda":
            raise ValueError(f"amp=True needs a CUDA device, got {where}; leave it out")
        self.history = History()
        game = self._game(where, batch_size)
        loop = Loop(game, samples.to(where), settings, steps=steps, seed=seed, augment=augment, amp=amp)
        path = None if checkpoint is None else Path(checkpoint)
        loop.run(self.history, path=path, save_every=checkpoint_every, progress=progress)
        return self

    def sample(self, n: int, *, seed: int | None = None) -> Float[Tensor, "n d"]:
        """Draw n samples [n, d] from the averaged generator; `seed=None` uses torch's default generator."""
        n = check_count(n, "n")
        network = self.averaged.module if self.averaged is not None else self.generator
        like = next(network.parameters())
        random = None if seed is None else stream("samples", seed, like.device)
        shape = (n, latent_dim(self.generator))
        latents = torch.randn(shape, dtype=like.dtype, device=like.device, generator=random)
        was_training = network.training
        network.eval()
        with torch.no_grad():
            samples = network(latents)
        network.train(was_training)
        return samples

    def _game(self, device: torch.device, batch_size: int) -> Game:
        self.generator.to(device)
        if self.critic is not None:
            self.critic.to(device)
            for penalty in self.penalties:
                penalty.prepare(self.critic)
        if self.ema > 0:
            average = get_ema_multi_avg_fn(self.ema ** (batch_size / EMA_BATCH))
            self.averaged = AveragedModel(self.generator, multi_avg_fn=average)
        return Game(self.generator, self.critic, self.averaged, self.loss, self.penalties)


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device that a user asked for; "auto" is CUDA where there is one.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device must be one that torch knows, got {device!r}; use 'auto' or 'cpu'"
        ) from None
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be available, got {device!r} without CUDA; use 'auto' or 'cpu'")
    return picked
