"""Training recipes: what each loss was found to need on small data, by the name it has on a command line.

A recipe is a loss, its penalties and the rhythm of the game. The f-GAN family and the relativistic loss take
R1 and R2 on both sides, decaying tenfold, and one critic step (Mescheder, Geiger & Nowozin 2018; Huang et al.
2024); the Wasserstein losses take their Lipschitz constraint and several critic steps (Gulrajani et al.
2017); the sample losses need no critic unless their cost is learned.

**The ε of the Sinkhorn loss.** Between two batches of one law S_ε is positive: the optimal plan can always be shortened
by drawing the generated points towards the means of the real ones that they are matched with. That sampling
bias grows as ε falls (from n^{−1/2} at a large ε to n^{−2/d} at ε = 0: Genevay et al. 2019, theorem 3), and a
generator that gives in to it makes sharp averages without variety. A large batch weakens it, and so does a
larger ε, up to where ε hides the shape of the law itself: as ε → ∞ only the means are compared. Between them
lies ε ≈ 0.2 × the mean cost with a batch of 512, four times the ε that `metrics` judges with; `docs/gan.md`
has the figures.
"""

from dataclasses import dataclass, field, replace

from jaxtyping import Float
from torch import Tensor

from gan import losses
from gan.losses.protocols import SampleLoss, ScoreLoss
from gan.losses.transport import Sinkhorn
from gan.penalties import R1, R2, GradientPenalty, Penalty, SpectralNorm, WeightClipping
from gan.settings import TrainingSettings

__all__ = ["Recipe", "recipe"]

# ε of the Sinkhorn loss over the mean cost.
BLUR = 0.2
# γ of R1 and R2 over the total variance of the data: γ‖∇v‖² has no unit, so γ has that of a squared length.
GAMMA = 0.05


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
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    critic_outputs: int = 1


def recipe(name: str, samples: Float[Tensor, "n d"]) -> Recipe:
    """Return the recipe of a loss by its command-line name.

    Args:
        name: One of `losses.NAMES`.
        samples: Training data [n, d], whose variance sets the scale of ε and of γ.

    Raises:
        ValueError: An unknown name; the message lists the choices.

    >>> import torch
    >>> recipe("wgan-gp", torch.zeros(2, 2)).settings.critic_steps
    3
    >>> recipe("sinkhorn", torch.tensor([[-1.0], [1.0]])).loss.eps  # the mean cost is twice the variance: 2
    0.4
    """
    loss = losses.named(name)
    several = TrainingSettings(critic_steps=3)
    match name:
        case "wgan":
            return Recipe(loss, (WeightClipping(0.01),), replace(several, critic_steps=5))
        case "wgan-gp":
            return Recipe(loss, (GradientPenalty(10.0),), several)
        case "wgan-lp":
            return Recipe(loss, (GradientPenalty(10.0, one_sided=True),), several)
        case "hinge":
            return Recipe(loss, (SpectralNorm(),))
        case "sinkhorn":
            # The mean of ‖x − x′‖² is twice the total variance.
            blurred = Sinkhorn(eps=_scaled(2 * BLUR, samples) or None)
            return Recipe(blurred, settings=TrainingSettings(batch_size=512), critic_outputs=0)
        case "sinkhorn-critic":
            return Recipe(loss, settings=TrainingSettings(critic_every=3), critic_outputs=32)
        case _ if isinstance(loss, ScoreLoss):
            gamma = _scaled(GAMMA, samples) or 1.0
            return Recipe(loss, (R1(gamma), R2(gamma)), TrainingSettings(penalty_decay=0.1))
        case _:
            return Recipe(loss, settings=TrainingSettings(batch_size=256), critic_outputs=0)


def _scaled(factor: float, samples: Tensor) -> float:
    total_variance = float(samples.double().var(0, unbiased=False).sum())
    # Six digits: the number is part of a checkpoint's identity and must not hang on the order of a sum.
    return float(f"{factor * total_variance:.6g}")
