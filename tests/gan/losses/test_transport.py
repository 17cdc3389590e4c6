import math

import pytest
import torch

from gan.losses import Sinkhorn, SlicedWasserstein
from metrics.transport import sinkhorn, sinkhorn_divergence, sliced_wasserstein


@pytest.fixture
def clouds(gen):
    x, y = torch.randn(2, 20, 3, dtype=torch.float64, generator=gen)
    return x, y + 1


@pytest.mark.parametrize("eps", [None, 0.3])
def test_sinkhorn_is_the_measure(clouds, eps):
    assert torch.equal(Sinkhorn(eps=eps)(*clouds), sinkhorn_divergence(*clouds, eps=eps))


def test_cost_is_the_squared_euclidean_distance():
    """Between two single points: 3² + 4², not 3 + 4 and not half of it."""
    value = Sinkhorn(eps=1.0)(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(float(value), 25.0, rtol=1e-5, atol=0)


def test_small_eps_far_away_does_not_underflow(clouds):
    """e^{−C/ε} is e^{−80 000} here, which a small constant added under the logarithm would hide."""
    x, _ = clouds
    y = (x + 200).requires_grad_()
    value = Sinkhorn(eps=1.0)(x, y)
    # y is x shifted, so S_ε is the shift's square exactly: the optimal plan of a translate is the same.
    torch.testing.assert_close(value.item(), 3 * 200.0**2, rtol=1e-6, atol=0)
    (grad,) = torch.autograd.grad(value, y)
    torch.testing.assert_close(grad.sum(0), torch.full((3,), 400.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_gradient_lives_where_the_divergence_is_small(gen):
    """Two draws of one law: debiased and not clamped, S_ε still has a slope."""
    x, y = torch.randn(2, 50, 2, dtype=torch.float64, generator=gen)
    y.requires_grad_()
    (grad,) = torch.autograd.grad(Sinkhorn(eps=5.0)(x, y), y)
    assert float(grad.norm(dim=1).min()) > 0


@pytest.mark.parametrize("make", [Sinkhorn, SlicedWasserstein])
def test_learned_cost_is_free_of_scale(make, clouds):
    loss = make(learned_cost=True)
    x, y = clouds
    torch.testing.assert_close(loss(7 * x, 0.1 * y), loss(x, y), rtol=1e-9, atol=0)
    # On the unit sphere the cost is 2 − 2cos, at most 4.
    assert 0 < float(loss(x, y)) < 4


@pytest.mark.parametrize("make", [Sinkhorn, SlicedWasserstein])
def test_learned_cost_reaches_both_clouds(make, clouds):
    x, y = (cloud.requires_grad_() for cloud in clouds)
    for grad in torch.autograd.grad(make(learned_cost=True)(x, y), (x, y)):
        assert bool(grad.isfinite().all())
        assert float(grad.abs().max()) > 0


def test_sliced_is_the_square_of_the_measure(clouds, gen):
    state = gen.get_state()
    value = SlicedWasserstein(50)(*clouds, generator=gen)
    gen.set_state(state)
    root = sliced_wasserstein(*clouds, p=2, num_projections=50, generator=gen)
    torch.testing.assert_close(value, root.square())


def test_sliced_draws_anew_from_a_generator_and_repeats_without_one(clouds, gen):
    loss = SlicedWasserstein(8)
    before = torch.get_rng_state()
    assert not torch.equal(loss(*clouds, generator=gen), loss(*clouds, generator=gen))
    assert torch.equal(loss(*clouds), loss(*clouds))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sinkhorn(eps=0.0), ValueError, "eps must be finite and above 0"),
        (lambda: Sinkhorn(eps=math.inf), ValueError, "eps must be finite and above 0"),
        (lambda: Sinkhorn(eps="small"), TypeError, "eps must be a number"),
        (lambda: SlicedWasserstein(0), ValueError, "num_projections must be at least 1"),
        (lambda: SlicedWasserstein(2.0), TypeError, "num_projections must be an int"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("eps", [None, 0.3])
def test_a_split_self_term_is_its_formula(gen, eps):
    """β = 1 in place of the diagonal: OT(x, y) − ½OT(x, x) − ½OT(y′, y″)."""
    x, y = torch.randn(12, 2, generator=gen).double(), torch.randn(10, 2, generator=gen).double() + 1
    mean = float(torch.cdist(x, y).square().mean())
    used = 0.05 * mean if eps is None else eps

    def ot(a, b):
        return sinkhorn(a, b, eps=used).value

    wanted = ot(x, y) - ot(x, x) / 2 - (0.3 * ot(y, y) + 0.7 * ot(y[:5], y[5:])) / 2
    torch.testing.assert_close(Sinkhorn(eps=eps, split=0.7)(x, y), wanted, rtol=1e-4, atol=1e-4)


def test_a_split_self_term_does_not_draw_samples_together(gen):
    """Clouds of one normal distribution: the generated one is drawn inwards by S_ε, and less, or not, with halves."""

    def pull(split):
        slopes = []
        for _ in range(40):
            x, y = (torch.randn(64, 8, generator=gen).double() for _ in range(2))
            scale = torch.ones((), dtype=torch.float64, requires_grad=True)
            Sinkhorn(eps=0.4, split=split)(x, scale * y).backward()
            slopes.append(float(scale.grad))
        slopes = torch.tensor(slopes)
        return float(slopes.mean()), float(slopes.std() / len(slopes) ** 0.5)

    (plain, error), (halves, error_of_halves) = pull(0.0), pull(1.0)
    assert plain > 5 * error
    assert halves < plain - 5 * (error**2 + error_of_halves**2) ** 0.5


def test_a_split_needs_two_halves():
    with pytest.raises(ValueError, match="at least 4 samples to be split"):
        Sinkhorn(split=0.5)(torch.zeros(4, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="split must be in"):
        Sinkhorn(split=1.5)


@pytest.mark.parametrize("split", [0.0, 0.6])
def test_several_pairs_at_once_are_each_by_itself(gen, split):
    x, y = torch.randn(2, 3, 12, 2, dtype=torch.float64, generator=gen)
    loss = Sinkhorn(eps=0.5, split=split)
    each = torch.stack([loss(a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(loss.of_batch(x, y), each, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("split", [0.3, 1.0])
def test_the_split_self_term_is_its_formula(gen, split):
    x, y = torch.randn(2, 40, 3, dtype=torch.float64, generator=gen)
    y = (2 * y + 5).requires_grad_()
    mine = Sinkhorn(eps=0.7, split=split)(x, y)
    whole, halves = (sinkhorn(a, b, eps=0.7, tol=1e-9).value for a, b in ((y, y), (y[:20], y[20:])))
    wanted = sinkhorn_divergence(x, y, eps=0.7) + split / 2 * (whole - halves)
    torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=0)
    slopes = [torch.autograd.grad(value, y)[0] for value in (mine, wanted)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)
