"""Training recipes: what each loss was found to need on small data, by the name it has on a command line.

A recipe is a loss, its penalties and the rhythm of the game. The f-GAN family and the relativistic loss take R1 and R2 on
both sides, decaying tenfold, and one critic step (Mescheder, Geiger & Nowozin 2018; Huang et al. 2024); the Wasserstein
losses take their Lipschitz constraint and several critic steps (Gulrajani et al. 2017); the sample losses need no critic
unless their cost is learned. `sinkhorn` trains with a small ε and a large batch: its blurred plan otherwise draws every
generated point to the mean of many real ones, and variety is lost (docs/gan.md shows the trade-off).
"""

from dataclasses import dataclass, replace

from gan import losses
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.penalties import R1, R2, GradientPenalty, Penalty, SpectralNorm, WeightClipping
from gan.settings import TrainingSettings

__all__ = ["Recipe", "recipe"]


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that depends on the loss.

    Attributes:
        loss: The loss.
        penalties: The critic's regularisers.
        settings: Rates and rhythm, the batch size included.
        critic_outputs: Width of the critic's output: 1 for scores, more for an embedding, 0 for no critic.
    """

    loss: ScoreLoss | SampleLoss
    penalties: tuple[Penalty, ...] = ()
    settings: TrainingSettings = TrainingSettings()
    critic_outputs: int = 1


def recipe(name: str) -> Recipe:
    """Return the recipe of a loss by its command-line name.

    Raises:
        ValueError: An unknown name; the message lists the choices.

    >>> recipe("wgan-gp").settings.critic_steps
    3
    """
    loss = losses.named(name)
    game = TrainingSettings(penalty_decay=0.1)
    several = TrainingSettings(critic_steps=3)
    special = {
        "wgan": Recipe(loss, (WeightClipping(0.01),), replace(several, critic_steps=5)),
        "wgan-gp": Recipe(loss, (GradientPenalty(10.0),), several),
        "wgan-lp": Recipe(loss, (GradientPenalty(10.0, one_sided=True),), several),
        "hinge": Recipe(loss, (SpectralNorm(),), TrainingSettings()),
        "sinkhorn-critic": Recipe(loss, (), TrainingSettings(critic_every=3), critic_outputs=32),
    }
    if name in special:
        return special[name]
    if isinstance(loss, ScoreLoss):
        return Recipe(loss, (R1(1.0), R2(1.0)), game)
    return Recipe(loss, (), replace(TrainingSettings(), batch_size=256), critic_outputs=0)
