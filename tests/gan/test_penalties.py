import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gan.networks import Packed, conv_critic, mlp_critic
from gan.penalties import (
    DRAGAN,
    R1,
    R2,
    GradientPenalty,
    Penalty,
    SpectralNorm,
    WeightClipping,
    input_gradients,
)
from gan.scored import Scored

CALLED = [GradientPenalty(), GradientPenalty(one_sided=True), DRAGAN(), R1(1.0), R2(1.0)]
ALL = [*CALLED, WeightClipping(), SpectralNorm()]


class Quadratic(nn.Module):
    """v(x) = ½ a‖x‖², whose gradient is a·x."""

    def __init__(self, a=1.0, dtype=torch.float64):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=dtype))

    def forward(self, x):
        return self.a * x.square().flatten(1).sum(1, keepdim=True) / 2


@pytest.fixture
def linear(gen):
    """v(x) = w·x + b, with ‖w‖ = 3."""
    critic = nn.Linear(5, 1, dtype=torch.float64)
    w = torch.randn(5, dtype=torch.float64, generator=gen)
    with torch.no_grad():
        critic.weight.copy_(3 * w / w.norm())
    return critic


@pytest.fixture
def clouds(gen):
    return torch.randn(2, 6, 5, dtype=torch.float64, generator=gen)


def test_of_a_linear_critic(linear, clouds):
    """Its gradient is w at every point of every cloud."""
    expected = {
        GradientPenalty(7.0): 7 * (3 - 1) ** 2,
        GradientPenalty(7.0, one_sided=True): 7 * (3 - 1) ** 2,
        DRAGAN(7.0): 7 * (3 - 1) ** 2,
        R1(0.5): 0.25 * 9,
        R2(0.5): 0.25 * 9,
    }
    for penalty, value in expected.items():
        torch.testing.assert_close(penalty(linear, *clouds).item(), float(value))


def test_whole_numbers_are_numbers(linear, clouds):
    torch.testing.assert_close(R1(1)(linear, *clouds).item(), 4.5)
    torch.testing.assert_close(GradientPenalty(10)(linear, *clouds).item(), 40.0)


def test_one_sided_lets_a_gentle_slope_be(linear, clouds):
    with torch.no_grad():
        linear.weight /= 6
    assert GradientPenalty(one_sided=True)(linear, *clouds).item() == 0
    torch.testing.assert_close(GradientPenalty()(linear, *clouds).item(), 10 * 0.25)


def test_zero_centred_ones_of_a_quadratic_critic(clouds):
    real, fake = clouds
    critic = Quadratic(2.0)
    for penalty, x in ((R1(0.5), real), (R2(0.5), fake)):
        value = penalty(critic, real, fake)
        torch.testing.assert_close(value, 0.25 * 4 * x.square().sum(1).mean())
        # d/da of γ/2·a²‖x‖²: the penalty reaches the critic's weights through its gradient.
        (slope,) = torch.autograd.grad(value, critic.a)
        torch.testing.assert_close(slope, 0.5 * 2 * x.square().sum(1).mean())


def test_norm_is_per_sample_and_not_of_the_whole_batch(gen):
    """Copying the batch changes a mean over samples by nothing, and a norm over the whole batch by √2."""
    x = torch.randn(4, 3, dtype=torch.float64, generator=gen)
    critic = Quadratic(2.0)
    value = GradientPenalty()(critic, x, x)  # equal clouds, so x̂ is x whatever α
    torch.testing.assert_close(value, 10 * (2 * x.norm(dim=1) - 1).square().mean())
    doubled = torch.cat([x, x])
    torch.testing.assert_close(GradientPenalty()(critic, doubled, doubled), value)
    whole_batch = 10 * (2 * x.norm() - 1).square()
    assert abs((whole_batch - value).item()) > 1


@pytest.mark.parametrize("shape", [(64, 3), (64, 2, 3, 3)])
def test_one_alpha_per_sample_and_not_per_batch_or_per_pixel(shape, gen):
    """The points at which the critic is asked lie on the lines between the pairs, each with its own α."""
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1, keepdim=True)

    real, fake = torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    GradientPenalty()(critic, real, fake, generator=gen)
    alpha = seen[0].flatten(1)  # x̂ = α·1 + (1 − α)·0
    assert float((alpha - alpha[:, :1]).abs().max()) == 0
    assert float(alpha.min()) >= 0
    assert float(alpha.max()) <= 1
    # 64 uniforms: mean ½ and standard deviation 1/√12, each within five standard errors.
    assert abs(float(alpha[:, 0].mean()) - 0.5) < 5 / math.sqrt(12 * 64)
    assert abs(float(alpha[:, 0].std()) - 12**-0.5) < 5 * math.sqrt((1 / 80 - 1 / 144) / (4 / 12) / 64)


@pytest.mark.parametrize("penalty", CALLED, ids=repr)
def test_samples_do_not_couple(penalty, gen):
    """The mean over a batch is the mean of the penalties of its samples alone."""
    critic = mlp_critic(3).double()
    x = torch.randn(5, 3, dtype=torch.float64, generator=gen)
    y = x.flip(0) if isinstance(penalty, R2) else x
    if isinstance(penalty, DRAGAN):
        penalty = DRAGAN(scale=1e-12)  # no noise to speak of, since its scale is the batch's
        alone = [penalty(critic, torch.cat([z, z]), torch.cat([z, z])) for z in x.split(1)]
    else:
        alone = [penalty(critic, z, z) for z in x.split(1)]
    torch.testing.assert_close(penalty(critic, x, y), torch.stack(alone).mean())


def test_any_shape_of_sample(gen):
    real, fake = torch.randn(2, 6, 1, 4, 4, dtype=torch.float64, generator=gen)
    norm = real.flatten(1).norm(dim=1)
    torch.testing.assert_close(R1(2.0)(Quadratic(), real, fake), norm.square().mean())
    torch.testing.assert_close(GradientPenalty()(Quadratic(), real, real), 10 * (norm - 1).square().mean())


def test_a_pack_has_one_gradient(gen):
    """The norm of a packed critic is over the pack's m·d numbers, and the mean over the packs."""
    x = torch.randn(6, 3, dtype=torch.float64, generator=gen)
    assert input_gradients(Packed(Quadratic(), pack=2), x).shape == (3, 6)
    value = GradientPenalty()(Packed(Quadratic(), pack=2), x, x)
    torch.testing.assert_close(value, 10 * (x.reshape(3, 6).norm(dim=1) - 1).square().mean())


def test_a_flat_critic_gets_finite_gradients(clouds):
    """At ∇v = 0 the norm has a kink; autograd's subgradient there must be 0 and not NaN."""
    critic = nn.Linear(5, 1, dtype=torch.float64)
    nn.init.zeros_(critic.weight)
    for penalty in CALLED:
        critic.zero_grad()
        penalty(critic, *clouds).backward()
        assert critic.weight.grad is not None
        assert bool(critic.weight.grad.isfinite().all())


@pytest.mark.parametrize("penalty", CALLED, ids=repr)
def test_leaves_the_generator_alone(penalty, dtype, gen):
    real = torch.randn(4, 3, dtype=dtype, generator=gen)
    fake = torch.randn(4, 3, dtype=dtype, generator=gen).requires_grad_()
    critic = mlp_critic(3).to(dtype)
    value = penalty(critic, real, fake)
    assert value.shape == ()
    assert value.dtype == dtype
    value.backward()
    assert fake.grad is None
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in critic.parameters())


def test_dragan_stays_around_the_real_samples(gen):
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum(1, keepdim=True)

    real = 5 + 2 * torch.randn(400, 10, dtype=torch.float64, generator=gen)
    DRAGAN()(critic, real, real - 100, generator=gen)
    noise = seen[0] - real
    # 4000 Gaussians of standard deviation ½·2 (itself known to 1/√8000): five standard errors each.
    assert abs(float(noise.mean())) < 5 / math.sqrt(4000)
    assert abs(float(noise.std()) - 1) < 5 * math.sqrt(2 / 8000)
    # The deviation of the batch's entries, over their number: of two entries 0 and 2 it is 1, and not √2.
    few = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    seen.clear()
    for _ in range(2000):
        DRAGAN()(critic, few, few, generator=gen)
    spread = (torch.stack(seen) - few).square().mean().sqrt()
    assert abs(float(spread) - 0.5) < 5 * 0.5 / math.sqrt(2 * 4000)


@pytest.mark.parametrize("penalty", [GradientPenalty(), DRAGAN()], ids=repr)
def test_draws_come_from_the_generator_alone(penalty, clouds):
    before = torch.get_rng_state()
    values = [
        penalty(Quadratic(), *clouds, generator=torch.Generator().manual_seed(seed)).item()
        for seed in (1, 1, 2)
    ]
    assert values[0] == values[1] != values[2]
    assert torch.equal(before, torch.get_rng_state())


def test_weight_clipping_clamps_every_parameter(gen):
    critic = mlp_critic(3)
    before = [p.detach().clone() for p in critic.parameters()]
    WeightClipping(0.02).project(critic)
    for p, old in zip(critic.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), old.sign() * old.abs().clamp(max=0.02), rtol=0, atol=0)
    assert {-1.0, 1.0} == {float(v.sign()) for v in critic[0].weight.detach().flatten() if abs(v) == 0.02}


def test_spectral_norm_takes_one_power_iteration_a_pass(gen):
    """u ← Wv/‖Wv‖, v ← Wᵀu/‖Wᵀu‖: the iteration of Miyato et al. 2018, algorithm 1, begun with v."""
    layer = nn.Linear(3, 3)
    # Singular values so near each other that the iteration is still under way.
    weight = torch.linalg.qr(torch.randn(3, 3, generator=gen)).Q * torch.tensor([1.0, 0.97, 0.95])
    layer.weight.data.copy_(weight)
    SpectralNorm().prepare(layer)
    norm = layer.parametrizations.weight[0]
    v = norm._v.clone()
    layer(torch.randn(2, 3, generator=gen))
    u = nn.functional.normalize(weight @ v, dim=0)
    torch.testing.assert_close(norm._u, u)
    torch.testing.assert_close(norm._v, nn.functional.normalize(weight.T @ u, dim=0))


def test_spectral_norm_bounds_the_largest_singular_value():
    critic = mlp_critic(6)
    with torch.no_grad():
        for p in critic.parameters():
            p *= 5
    SpectralNorm().prepare(critic)
    for _ in range(200):  # the power iteration goes on with every forward pass in training mode
        critic(torch.zeros(1, 6))
    critic.eval()
    for layer in critic:
        if isinstance(layer, nn.Linear):
            largest = torch.linalg.matrix_norm(layer.weight.detach(), 2)
            # The iteration approaches σ from below by the square of the angle left over.
            assert 1 - 1e-5 < float(largest) < 1 + 1e-3


@pytest.mark.parametrize("make", [lambda: mlp_critic(6), conv_critic], ids=["mlp", "conv"])
def test_spectral_norm_prepares_once_and_leaves_the_global_seed(make):
    critic, other = make(), make()
    SpectralNorm().prepare(critic)
    torch.rand(1)  # the second one finds the global generator elsewhere, and leaves it there
    before = torch.get_rng_state()
    SpectralNorm().prepare(other)
    assert torch.equal(before, torch.get_rng_state())
    keys = list(critic.state_dict())
    SpectralNorm().prepare(critic)
    assert list(critic.state_dict()) == keys
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    for key, value in critic.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_spectral_norm_leaves_a_layer_that_has_it_in_the_older_form():
    layer = nn.utils.spectral_norm(nn.Linear(6, 1))
    SpectralNorm().prepare(layer)
    assert not parametrize.is_parametrized(layer)
    layer(torch.ones(1, 6))
    torch.testing.assert_close(float(torch.linalg.matrix_norm(layer.weight.detach(), 2)), 1.0)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_each_is_a_penalty_with_three_hooks(penalty, clouds):
    assert isinstance(penalty, Penalty)
    critic = nn.Linear(5, 1, dtype=torch.float64)
    penalty.prepare(critic)
    value = penalty(critic, *clouds)
    assert value.shape == ()
    assert bool(value.isfinite())
    penalty.project(critic)


def test_works_without_grad_mode(linear, clouds):
    """Judging a critic needs the number alone."""
    with torch.no_grad():
        value = R1(0.5)(linear, *clouds)
    torch.testing.assert_close(float(value), 2.25)
    assert not value.requires_grad


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_on_cuda_with_a_generator_on_either_device(where):
    real, fake = torch.ones(2, 6, 5, device="cuda")
    critic = mlp_critic(5).cuda()
    before = torch.cuda.get_rng_state()
    SpectralNorm().prepare(critic)
    for penalty in CALLED:
        value = penalty(critic, real, fake, generator=torch.Generator(where).manual_seed(0))
        assert value.device.type == "cuda"
        assert bool(value.isfinite())
    assert torch.equal(before, torch.cuda.get_rng_state())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GradientPenalty(0.0), ValueError, "weight must be finite and above 0"),
        (lambda: GradientPenalty("10"), TypeError, "weight must be a number"),
        (lambda: DRAGAN(scale=-1.0), ValueError, "scale must be"),
        (lambda: R1(-1.0), ValueError, "gamma must be"),
        (lambda: R2(math.nan), ValueError, "gamma must be"),
        (lambda: WeightClipping(0.0), ValueError, "limit must be"),
        (
            lambda: GradientPenalty()(mlp_critic(2), torch.zeros(3, 2), torch.zeros(4, 2)),
            ValueError,
            "as many",
        ),
        (lambda: R1(1.0)(mlp_critic(2), torch.zeros(3, 2), torch.zeros(3, 4)), ValueError, "of one shape"),
        (lambda: R1(1.0)(mlp_critic(2), torch.zeros(2), torch.zeros(2)), ValueError, "batches"),
        (lambda: R1(1.0)(mlp_critic(2, output_dim=3), *torch.zeros(2, 4, 2)), ValueError, "scores"),
        (lambda: R1(1.0)(lambda x: x.sum(1), *torch.zeros(2, 4, 2)), ValueError, "scores"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [R1, R2])
def test_kept_scores_give_the_penalty_of_a_pass_of_its_own(make):
    """Value and slope in the weights, with one pass fewer; other samples, or a copy, are passed anew."""
    critic = mlp_critic(3, hidden=(8, 8)).double()
    passes = []
    critic.register_forward_hook(lambda *_: passes.append(1))
    x, y = (
        torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in (0, 1)
    )
    scored = Scored(critic)
    torch.testing.assert_close(scored.score(x), critic(x), rtol=0, atol=0)
    scored.score(y)
    seen = len(passes)
    mine = make(2.0)(scored, x, y)
    assert len(passes) == seen
    wanted = make(2.0)(critic, x, y)
    torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=0)
    weights = [p for p in critic.parameters() if p.ndim == 2]
    for a, b in zip(torch.autograd.grad(mine, weights), torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(make(2.0)(scored, x.clone(), y.clone()), wanted, rtol=1e-12, atol=0)
