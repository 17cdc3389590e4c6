"""Penalties of the gradient of a score by its sample: they hold the critic's slope, where the samples are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan.augment import draw_rows
from gan.distributed import gather
from gan.penalties.penalty import Critic, Penalty
from gan.scored import Scored
from gan.stacked import Lent
from metrics.inputs import check_positive

__all__ = ["DRAGAN", "R1", "R2", "GradientPenalty", "input_gradients", "refuse_batch_norm"]


def input_gradients(critic: Critic, x: Float[Tensor, "n ..."]) -> Float[Tensor, "scores numbers"]:
    """Return the gradient of each score by its own sample, flattened to one row a score.

    >>> gradients = input_gradients(lambda x: x.square().sum(1, keepdim=True), torch.tensor([[1.0, 2.0]]))
    >>> gradients.detach()
    tensor([[2., 4.]])
    """
    if isinstance(critic, Lent):
        return critic.slopes(x)
    refuse_batch_norm(critic.critic if isinstance(critic, Scored) else critic)
    kept = critic.kept(x) if isinstance(critic, Scored) else None
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        if kept is None:
            x = x.detach().requires_grad_()
            scores = critic(x)
        else:
            x, scores = kept
        if scores.ndim != 2 or scores.shape[1] != 1:
            raise ValueError(
                f"critic must return scores [n, 1], got {list(scores.shape)}; penalties take no embedding"
            )
        if not scores.requires_grad:
            raise ValueError(
                "critic must be differentiable in its input, got scores without a gradient; leave .detach(), "
                "torch.no_grad and numpy out of its forward"
            )
        (grad,) = torch.autograd.grad(scores.sum(), x, create_graph=differentiable)
    return grad.reshape(len(scores), -1)


def refuse_batch_norm(critic: object) -> None:
    """Refuse a critic whose score of one sample depends on the others: its per-sample gradients mean nothing.

    Batch normalisation in training mode couples a batch; in evaluation mode with its running statistics it does not.
    """
    if not isinstance(critic, nn.Module):
        return
    for name, layer in critic.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (
            layer.training or layer.running_mean is None
        ):
            raise ValueError(
                f"critic must score each sample alone for a gradient penalty, got {type(layer).__name__} at {name!r}, "
                "which mixes the batch (norms come out wrong by factors of 2 to 20); replace it by GroupNorm, "
                "LayerNorm or InstanceNorm, or take SpectralNorm or WeightClipping as the penalty"
            )


def _check_samples(real: Tensor, fake: Tensor) -> None:
    if real.shape[1:] != fake.shape[1:] or real.ndim < 2:
        raise ValueError(
            f"real and fake must be batches [n, ...] of samples of one shape, got {list(real.shape)} and "
            f"{list(fake.shape)}; reshape one"
        )


@dataclass(frozen=True)
class GradientPenalty(Penalty):
    """λ E(‖∇v(x̂)‖ − 1)² at points x̂ between pairs of a real and a generated sample.

    Args:
        weight: λ.
        one_sided: Punish slopes above 1 alone (WGAN-LP), as the optimal critic's slope is *at most* 1 almost
            everywhere and equals it only along the transport rays.

    >>> critic = nn.Linear(3, 1)
    >>> _ = nn.init.constant_(critic.weight, 1.0)
    >>> float(GradientPenalty()(critic, torch.zeros(4, 3), torch.ones(4, 3)).detach())   # 10·(√3 − 1)²
    5.358...
    """

    weight: float | int = 10.0
    one_sided: bool = False

    per_sample = True

    def __post_init__(self) -> None:
        check_positive(self.weight, "weight")

    def __call__(
        self,
        critic: Critic,
        real: Float[Tensor, "n ..."],
        fake: Float[Tensor, "m ..."],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return λ E(‖∇v(x̂)‖ − 1)², with one α per sample; see the class."""
        _check_samples(real, fake)
        if len(real) != len(fake):
            raise ValueError(
                f"real and fake must hold as many samples as one another, got {len(real)} and {len(fake)}; "
                "each x̂ lies between a pair"
            )
        alpha = draw_rows(torch.rand, (len(real),) + (1,) * (real.ndim - 1), real, generator)
        between = alpha * real.detach() + (1 - alpha) * fake.detach()
        excess = input_gradients(critic, between).norm(dim=1) - 1
        return self.weight * (excess.relu() if self.one_sided else excess).square().mean()


@dataclass(frozen=True)
class DRAGAN(Penalty):
    """λ E(‖∇v(x + δ)‖ − 1)² around the real samples.

    Every entry of δ is Gaussian with `scale` times the standard deviation of the batch's entries, so that it means
    the same for data of any unit. (The authors' program draws it uniformly instead of from the Gaussian of their
    paper.)

    Args:
        weight: λ.
        scale: The size of δ, in standard deviations of the real batch over all its entries.

    >>> critic = nn.Linear(4, 1)
    >>> _ = nn.init.constant_(critic.weight, 1.0)
    >>> float(DRAGAN()(critic, torch.eye(4), torch.eye(4)).detach())   # 10·(√4 − 1)²
    10.0
    """

    weight: float | int = 10.0
    scale: float | int = 0.5

    per_sample = True

    def __post_init__(self) -> None:
        check_positive(self.weight, "weight")
        check_positive(self.scale, "scale")

    def __call__(
        self,
        critic: Critic,
        real: Float[Tensor, "n ..."],
        fake: Float[Tensor, "m ..."],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return λ E(‖∇v(x + δ)‖ − 1)²; see the class."""
        _check_samples(real, fake)
        x = real.detach()
        noise = draw_rows(torch.randn, tuple(x.shape), x, generator) * (
            self.scale * gather(x).std(correction=0)
        )
        return self.weight * (input_gradients(critic, x + noise).norm(dim=1) - 1).square().mean()


@dataclass(frozen=True)
class R1(Penalty):
    """γ/2 E‖∇v(x)‖² at the real samples.

    >>> critic = nn.Linear(3, 1)
    >>> _ = nn.init.constant_(critic.weight, 2.0)
    >>> float(R1(gamma=0.5)(critic, torch.zeros(4, 3), torch.ones(4, 3)).detach())   # ½·½·(3·2²)
    3.0
    """

    gamma: float | int

    per_sample = True

    def __post_init__(self) -> None:
        check_positive(self.gamma, "gamma")

    def __call__(
        self,
        critic: Critic,
        real: Float[Tensor, "n ..."],
        fake: Float[Tensor, "m ..."],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return γ/2 E‖∇v(real)‖²."""
        _check_samples(real, fake)
        return self.gamma / 2 * input_gradients(critic, real).square().sum(1).mean()


@dataclass(frozen=True)
class R2(Penalty):
    """γ/2 E‖∇v(x̃)‖² at the generated samples; beside `R1` it is what let R3GAN do without tricks.

    >>> critic = nn.Linear(3, 1)
    >>> _ = nn.init.constant_(critic.weight, 2.0)
    >>> float(R2(gamma=0.5)(critic, torch.zeros(4, 3), torch.ones(4, 3)).detach())
    3.0
    """

    gamma: float | int

    per_sample = True

    def __post_init__(self) -> None:
        check_positive(self.gamma, "gamma")

    def __call__(
        self,
        critic: Critic,
        real: Float[Tensor, "n ..."],
        fake: Float[Tensor, "m ..."],
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Return γ/2 E‖∇v(fake)‖²."""
        _check_samples(real, fake)
        return self.gamma / 2 * input_gradients(critic, fake).square().sum(1).mean()
