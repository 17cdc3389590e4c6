"""What every loss owes its user; a new loss is one name in the catalogue and inherits all of this."""

import pytest
import torch
from torch import nn

from gan import losses
from gan.losses import SampleLoss, ScoreLoss
from gan.penalties import R1

SCORE = [name for name in losses.NAMES if isinstance(losses.named(name), ScoreLoss)]
SAMPLE = [name for name in losses.NAMES if name not in SCORE]
PAIRED = {"rpgan"}
# The minimax generator of Goodfellow et al. (2014) has no slope left where the critic is sure.
SATURATING = {"js"}


def score_loss(name):
    loss = losses.named(name)
    assert isinstance(loss, ScoreLoss)
    return loss


def sample_loss(name):
    loss = losses.named(name)
    assert isinstance(loss, SampleLoss)
    return loss


def scores(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)[:, None].requires_grad_()


def gradients(value, *inputs):
    grads = torch.autograd.grad(value, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, inputs, strict=True)]


def test_catalogue_has_every_name_of_the_command_line():
    expected = "js ns kl reverse-kl pearson neyman hellinger tv dv lsgan hinge rpgan wgan wgan-gp wgan-lp"
    expected += " sinkhorn sinkhorn-critic mmd energy sliced"
    assert list(losses.NAMES) == expected.split()


@pytest.mark.parametrize("name", losses.NAMES)
def test_named_is_fresh_frozen_and_comparable(name):
    loss = losses.named(name)
    assert loss == losses.named(name)
    assert hash(loss) == hash(losses.named(name))
    assert isinstance(loss, ScoreLoss) != isinstance(loss, SampleLoss)
    with pytest.raises(AttributeError):
        loss.another = 1  # pyright: ignore


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match=r"must be one of js, ns, .*, sliced; got 'gan'"):
        losses.named("gan")


@pytest.mark.parametrize("name", SCORE)
def test_score_loss_is_finite_and_0_dim_in_its_inputs_type(name, dtype):
    r, s = scores(0.7, -0.3, dtype=dtype), scores(-0.5, 0.1, dtype=dtype)
    for value in (score_loss(name).critic_loss(r, s), score_loss(name).generator_loss(r, s)):
        assert value.shape == ()
        assert value.dtype == dtype
        assert bool(value.isfinite())


@pytest.mark.parametrize("name", SCORE)
def test_critic_step_parts_the_scores_and_generator_step_raises_its_own(name):
    loss = score_loss(name)
    # Inside (0, 1), so that the least squares' targets 0 and 1 lie on the right side of every score.
    r, s = scores(0.7, 0.2), scores(0.5, 0.1)
    by_real, by_fake = gradients(loss.critic_loss(r, s), r, s)
    assert bool((by_real < 0).all())
    assert bool((by_fake > 0).all())
    (by_fake,) = gradients(loss.generator_loss(r, s), s)
    assert bool((by_fake < 0).all())


@pytest.mark.parametrize("name", SCORE)
def test_gradients_are_those_of_finite_differences(name):
    r, s = scores(0.7, -0.3), scores(-0.5, 0.1)
    assert torch.autograd.gradcheck(score_loss(name).critic_loss, (r, s))
    assert torch.autograd.gradcheck(score_loss(name).generator_loss, (r, s))


@pytest.mark.parametrize("name", SCORE)
@pytest.mark.parametrize("size", [30.0, 100.0])
def test_a_wild_critic_can_come_back(name, size, dtype):
    """Scores on the wrong side, ±100: finite losses, finite gradients, and none of them zero."""
    loss = score_loss(name)
    r, s = scores(-size, dtype=dtype), scores(size, dtype=dtype)
    value = loss.critic_loss(r, s)
    by_real, by_fake = gradients(value, r, s)
    assert bool(value.isfinite())
    assert bool(by_real.isfinite() & (by_real < 0))
    assert bool(by_fake.isfinite() & (by_fake > 0))


@pytest.mark.parametrize("name", SCORE)
@pytest.mark.parametrize("size", [30.0, 100.0])
def test_a_wild_critic_still_teaches_the_generator(name, size, dtype):
    loss = score_loss(name)
    r, s = scores(size, dtype=dtype), scores(-size, dtype=dtype)
    value = loss.generator_loss(r, s)
    (by_fake,) = gradients(value, s)
    assert bool(value.isfinite() & by_fake.isfinite())
    assert bool(by_fake < 0) or (name in SATURATING and bool(by_fake <= 0))


@pytest.mark.parametrize("name", sorted(set(SCORE) - PAIRED))
def test_clouds_may_differ_in_size(name):
    loss = score_loss(name)
    r, s = scores(0.7, -0.3), scores(-0.5, 0.1)
    for objective in (loss.critic_loss, loss.generator_loss):
        value = objective(r, torch.cat([s, s]))
        torch.testing.assert_close(value, objective(r, s))


REFUSED = {
    "list": ([[0.0]], TypeError, "must be a torch.Tensor, got list"),
    "integers": (torch.zeros(2, 1, dtype=torch.int64), TypeError, "must be float32 or float64"),
    "half": (torch.zeros(2, 1).half(), TypeError, "must be float32 or float64"),
    "vector": (torch.zeros(2), ValueError, r"must have shape \[n, 1\], got \[2\]"),
    "embedding": (torch.zeros(2, 3), ValueError, "a critic with one output"),
    "empty": (torch.zeros(0, 1), ValueError, "must not be empty"),
    "other type": (torch.zeros(2, 1).double(), TypeError, "the same dtype"),
}


@pytest.mark.parametrize("name", SCORE)
@pytest.mark.parametrize("case", REFUSED)
def test_score_loss_refuses(name, case):
    bad, error, message = REFUSED[case]
    loss, good = score_loss(name), torch.zeros(2, 1)
    for objective in (loss.critic_loss, loss.generator_loss):
        for pair in ((bad, good), (good, bad)):
            with pytest.raises(error, match=message):
                objective(*pair)


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_paired_loss_refuses_unequal_clouds(name):
    with pytest.raises(ValueError, match="got 2 and 3"):
        score_loss(name).critic_loss(torch.zeros(2, 1), torch.zeros(3, 1))


@pytest.mark.parametrize("name", SAMPLE)
def test_sample_loss_is_finite_and_0_dim_in_its_inputs_type(name, dtype, gen):
    real = torch.randn(12, 3, dtype=dtype, generator=gen)
    fake = (torch.randn(9, 3, dtype=dtype, generator=gen) + 1).requires_grad_()
    value = sample_loss(name)(real, fake)
    (grad,) = gradients(value, fake)
    assert value.shape == ()
    assert value.dtype == dtype
    assert bool(value.isfinite())
    assert bool(grad.isfinite().all())
    assert bool((grad != 0).any())


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_sample_loss_has_a_gradient_at_every_scale(name, scale, gen):
    """No underflow far away, and the direction is right: shrinking the gap lowers the loss."""
    real = scale * torch.randn(12, 3, generator=gen)
    fake = (real.flip(0) + 5 * scale).requires_grad_()
    (grad,) = gradients(sample_loss(name)(real, fake), fake)
    assert bool(grad.isfinite().all())
    if not sample_loss(name).learned_cost:
        assert float(grad.sum()) > 0


@pytest.mark.parametrize("name", SAMPLE)
def test_sample_loss_between_equal_clouds_stays_finite(name, gen):
    real = torch.randn(8, 3, generator=gen)
    fake = real.clone().requires_grad_()
    value = sample_loss(name)(real, fake)
    (grad,) = gradients(value, fake)
    assert bool(value.isfinite())
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (torch.zeros(4), ValueError),
        (torch.zeros(4, 2), ValueError),
        (torch.full((4, 3), torch.nan), ValueError),
        (torch.zeros(4, 3).double(), TypeError),
        (torch.zeros(4, 3, dtype=torch.int64), TypeError),
    ],
    ids=["vector", "other d", "NaN", "other type", "integers"],
)
def test_sample_loss_refuses(name, bad, error):
    good = torch.eye(3)
    with pytest.raises(error):
        sample_loss(name)(bad, good)
    with pytest.raises(error):
        sample_loss(name)(good, bad)


class Shift(nn.Module):
    """G(z) = z + θ, the smallest generator: what it has to learn is the mean."""

    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([start]))

    def forward(self, z):
        return z + self.theta


def step(optimizer, value):
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


@pytest.mark.parametrize("name", losses.NAMES)
def test_training_moves_the_generated_law_to_the_real_one(name, gen):
    """The game in one dimension, N(3, 1) against N(0, 1), with a linear critic: at least halves the distance.

    A linear critic is what the log-ratio of the two calls for; an embedding (1, x) on the circle is an angle.
    """
    loss, generator = losses.named(name), Shift(3.0)
    needs_critic = isinstance(loss, ScoreLoss) or loss.learned_cost
    critic = nn.Linear(1, 1 if isinstance(loss, ScoreLoss) else 2)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.0], [1.0]])[: len(critic.weight)])
        critic.bias.copy_(torch.tensor([1.0, 0.0])[: len(critic.bias)])
    of_generator = torch.optim.Adam(generator.parameters(), lr=0.1, betas=(0.0, 0.99))
    of_critic = torch.optim.Adam(critic.parameters(), lr=0.05, betas=(0.0, 0.99))
    for _ in range(40):
        for _ in range(2 if needs_critic else 0):
            real, z = torch.randn(2, 64, 1, generator=gen)
            fake = generator(z).detach()
            if isinstance(loss, ScoreLoss):
                value = loss.critic_loss(critic(real), critic(fake)) + R1(0.1)(critic, real, fake)
            else:
                value = -loss(critic(real), critic(fake), generator=gen)
            step(of_critic, value)
        real, z = torch.randn(2, 64, 1, generator=gen)
        fake = generator(z)
        if isinstance(loss, ScoreLoss):
            value = loss.generator_loss(critic(real), critic(fake))
        elif needs_critic:
            value = loss(critic(real), critic(fake), generator=gen)
        else:
            value = loss(real, fake, generator=gen)
        step(of_generator, value)
    assert abs(generator.theta.item()) < 1.5
