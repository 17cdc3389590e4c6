"""How the two players learn: optimizer, schedule and the rhythm of the game.

Adam with β₁ = 0, since momentum makes the game cycle (Mescheder, Geiger & Nowozin 2018 use the same), and a cosine from
the first to the last learning rate. The penalties may decay geometrically over the run, as in R3GAN (Huang et al.
2024).

Both are functions of the *fraction* of the run that is done. A run that is made longer goes on with the schedule of the
longer run: at step k of n steps the rate is that of the fraction k/n, so it jumps up when n grows.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from metrics.inputs import check_count, check_number, check_positive

__all__ = ["OptimizerFactory", "TrainingSettings", "make_optimizer"]

OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
"""Makes an optimizer of parameters, such as `partial(torch.optim.RMSprop, lr=5e-5)`."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the two players learn; part of a checkpoint's identity.

    Attributes:
        batch_size: Samples in a batch.
        learning_rate: Adam's rate at the first step.
        final_learning_rate: The rate at the last step, reached by a cosine.
        generator_rate: The generator's rate over the critic's.
        betas: Adam's (β₁, β₂).
        critic_steps: Critic updates before a generator update.
        critic_every: The critic is updated only before every this many generator updates.
        penalty_decay: The factor that the penalties' weight has fallen to at the last step, geometrically.
    """

    batch_size: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 2e-4
    generator_rate: float = 1.0
    betas: tuple[float, float] = (0.0, 0.99)
    critic_steps: int = 1
    critic_every: int = 1
    penalty_decay: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "critic_steps", "critic_every"):
            object.__setattr__(self, name, check_count(getattr(self, name), name))
        for name in ("learning_rate", "final_learning_rate", "generator_rate", "penalty_decay"):
            object.__setattr__(self, name, check_positive(getattr(self, name), name))
        given: object = self.betas
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
            raise TypeError(f"betas must be two numbers, got {given!r}; write betas=(0.0, 0.99)")
        betas = tuple(check_number(beta, "each of betas") for beta in given)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be in [0, 1), got {betas}; write betas=(0.0, 0.99)")
        object.__setattr__(self, "betas", betas)

    def rate(self, progress: float) -> float:
        """The critic's learning rate at a fraction of the run.

        >>> [round(TrainingSettings().rate(t), 6) for t in (0.0, 0.5, 1.0)]
        [0.001, 0.0006, 0.0002]
        """
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * (1 + math.cos(math.pi * progress)) / 2

    def optimizer(self, network: nn.Module) -> torch.optim.Adam:
        """A fresh Adam for one player; fused into one operation, which is what a small network's step costs."""
        # A model's own parameters may be of a type that the fused form does not take.
        fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in network.parameters())
        return torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=self.betas, fused=fused)

    def identity(self) -> dict[str, object]:
        """The settings as JSON."""
        told: dict[str, object] = asdict(self)
        return told | {"betas": list(self.betas)}


def make_optimizer(
    player: str,
    network: nn.Module,
    settings: TrainingSettings,
    factories: Mapping[str, OptimizerFactory] | None,
) -> tuple[torch.optim.Optimizer, list[float]]:
    """Return a player's optimizer and its rates at the start of the run, one a parameter group.

    Args:
        player: "generator" or "critic".
        network: Whose parameters.
        settings: The rates, where no factory is given.
        factories: A factory by player; the schedule then multiplies the rates that it sets.

    Raises:
        ValueError: A factory for an unknown player.
        TypeError: A factory that returns no optimizer.
    """
    unknown = set(factories or {}) - {"generator", "critic"}
    if unknown:
        raise ValueError(
            f"optimizers must have the keys generator and critic, got {sorted(unknown)}; rename them"
        )
    if factories is None or player not in factories:
        optimizer = settings.optimizer(network)
        factor = settings.generator_rate if player == "generator" else 1.0
        return optimizer, [factor * settings.learning_rate]
    factory: object = factories[player]
    if not callable(factory):
        raise TypeError(
            f"optimizers[{player!r}] must be a factory, got {type(factory).__name__}; write "
            "functools.partial(torch.optim.Adam, lr=1e-3), which the run calls with the parameters"
        )
    optimizer = factories[player](network.parameters())
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizers[{player!r}] must return a torch optimizer, got {type(optimizer).__name__}; write "
            "functools.partial(torch.optim.Adam, lr=1e-3)"
        )
    own = {id(p) for p in network.parameters()}
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    if not own.issuperset(held):
        raise ValueError(
            f"optimizers[{player!r}] must return an optimizer of the parameters that it is called with, got others, "
            f"which leave the {player} untrained; write lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
        )
    return optimizer, [group["lr"] for group in optimizer.param_groups]
