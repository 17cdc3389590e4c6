"""Fresh critics against the closed forms of N(0, 1) and N(1, 1), and in more dimensions."""

import math

import pytest
import torch
from torch import nn

import metrics
from gan import fresh_divergence, losses
from gan.fresh import _Scores


@pytest.fixture(scope="module")
def gaussians():
    x = torch.randn(2, 2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return x[0], x[1] + 1


CLOSED = [
    (losses.KL(), 0.5),
    (losses.ReverseKL(), 0.5),
    (losses.DonskerVaradhan(), 0.5),
    (losses.JensenShannon(), 0.111421),
    (losses.Pearson(), math.e - 1),
    (losses.SquaredHellinger(), 2 - 2 * math.exp(-1 / 8)),
    (losses.TotalVariation(), math.erf(0.5 / math.sqrt(2))),
    (losses.Wasserstein(), 1.0),
]


@pytest.mark.parametrize(("loss", "truth"), CLOSED, ids=[type(loss).__name__ for loss, _ in CLOSED])
def test_it_is_within_its_error_of_the_closed_form(gaussians, loss, truth):
    """Of 8 numbers none is beyond 3 errors, and no error is so large that this says nothing."""
    x, y = gaussians
    found = fresh_divergence(loss, real=x, fake=y, folds=2, steps=200)
    assert abs(found.value - truth) < 3 * found.stderr
    # A quarter, or a twelfth, with 4000 points; the error falls with the square root of their number.
    told = (0.25 if isinstance(loss, losses.Pearson) else 0.08) * math.sqrt(4000 / len(x))
    assert found.stderr < told * max(truth, 0.2)


def test_the_error_is_that_of_the_spread(gaussians):
    """W₁'s critic is x ↦ −x up to a constant: the error is √(1/n + 1/m)."""
    x, y = gaussians
    found = fresh_divergence(losses.Wasserstein(), real=x, fake=y, folds=2, steps=200)
    assert found.stderr == pytest.approx(math.sqrt(2 / 2000), rel=0.05)
    assert found.sizes == (2000, 2000)


def test_between_equal_distributions_it_is_nothing():
    """A critic that had seen the points would find a difference."""
    x = torch.randn(2, 600, 5, generator=torch.Generator().manual_seed(0))
    for loss in (losses.JensenShannon(), losses.Wasserstein()):
        found = fresh_divergence(loss, real=x[0], fake=x[1], folds=3, steps=200)
        assert found.value < 2.5 * found.stderr


@pytest.mark.parametrize("loss", [losses.KL(), losses.DonskerVaradhan(), losses.JensenShannon()])
def test_what_a_critic_has_by_heart_is_not_believed(loss):
    """300 points of 200 dimensions: the bound of an untempered critic lies many errors below 0."""
    x = torch.randn(2, 300, 200, generator=torch.Generator().manual_seed(0))
    found = fresh_divergence(loss, real=x[0], fake=x[1], folds=2, steps=100)
    assert -3 * found.stderr <= found.value <= 3 * found.stderr < 0.1


def test_a_tempered_critic_still_finds_what_is_there():
    """JS of N(0, I) and N(.15, I) in 200 dimensions, ‖μ‖² = 4.5, is .364 nats; a critic of 300 points sees less."""
    x = torch.randn(2, 300, 200, generator=torch.Generator().manual_seed(0))
    found = fresh_divergence(losses.JensenShannon(), real=x[0], fake=x[1] + 0.15, folds=2, steps=100)
    assert 0.15 < found.value < 0.364 + 3 * found.stderr


def test_the_temper_is_the_one_that_is_surest():
    """L = 3(x − ½) is three times log p/q of N(1, 1) and N(0, 1): s near a third."""
    x, y = torch.randn(2, 4000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = torch.nn.Linear(1, 1).double()
    with torch.no_grad():
        net.weight.fill_(3.0)
        net.bias.fill_(-1.5)
    best, temper = _Scores(net, losses.JensenShannon()).tempered(x + 1, y)
    assert temper == pytest.approx(2**-1.5)  # .354 of .5, .354, .25
    assert best == pytest.approx(0.111421, abs=0.01)
    with torch.no_grad():
        net.weight.neg_()
    assert _Scores(net, losses.JensenShannon()).tempered(x + 1, y) == (0, 0)


def test_w1_has_the_data_s_unit_and_stays_below_exact_transport():
    random = torch.Generator().manual_seed(0)
    x = 10 * torch.randn(500, 3, dtype=torch.float64, generator=random)
    y = 10 * torch.randn(500, 3, dtype=torch.float64, generator=random) + torch.tensor([30.0, 0.0, 0.0])
    found = fresh_divergence(losses.Wasserstein(), real=x, fake=y, folds=2, steps=200)
    assert abs(found.value - 30) < 3 * found.stderr + 1
    assert found.value < float(metrics.wasserstein(x, y, p=1))


def test_a_critic_with_batch_normalisation_sees_the_difference(gen):
    """JS of N(0, I) and N(½, I) in 16 dimensions, ‖μ‖² = 4, is .337 nats; normalised cloud by cloud it was 0."""
    x, y = torch.randn(2, 400, 16, generator=gen)

    def made(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = [nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1)]
            return nn.Sequential(*layers)

    found = fresh_divergence(losses.JensenShannon(), real=x, fake=y + 0.5, folds=2, steps=100, critic=made)
    assert 0.15 < found.value < 0.337 + 3 * found.stderr


def test_a_seed_repeats_and_nothing_else_is_drawn_from(gaussians):
    x, y = (cloud[:200] for cloud in gaussians)
    before = torch.get_rng_state()
    first, again = (
        fresh_divergence(losses.KL(), real=x, fake=y, folds=2, steps=30, seed=1) for _ in range(2)
    )
    assert first == again
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "context",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
@pytest.mark.parametrize("loss", [losses.KL(), losses.Wasserstein()])
def test_it_is_the_same_number_where_gradients_or_digits_are_off(gaussians, loss, context):
    x, y = (cloud[:200].float() for cloud in gaussians)
    plain = fresh_divergence(loss, real=x, fake=y, folds=2, steps=30)
    with context():
        assert fresh_divergence(loss, real=x, fake=y, folds=2, steps=30) == plain


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": losses.Sinkhorn()}, TypeError, "without a critic"),
        ({"loss": losses.Hinge()}, TypeError, "f-divergence"),
        ({"folds": 1}, ValueError, "folds"),
        ({"folds": 50}, ValueError, "fewer folds"),
        ({"real": torch.zeros(19, 1)}, ValueError, "more points"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate must be"),
        ({"fake": torch.zeros(100, 2)}, ValueError, "fake"),
        ({"loss": losses.Wasserstein(), "critic": lambda seed: None}, ValueError, "leave it out"),
    ],
)
def test_refuses(change, error, message):
    x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0))
    arguments = {"loss": losses.KL(), "real": x, "fake": x + 1} | change
    with pytest.raises(error, match=message):
        fresh_divergence(arguments.pop("loss"), **arguments)


def test_the_divergence_knows_no_unit(gen):
    """1e20² and 1e-25² are outside of float32: the clouds had all become one point, whose divergence is 0."""
    x, y = torch.randn(2, 200, 1, generator=gen)
    options = {"folds": 2, "steps": 60}
    for loss, power in ((losses.KL(), 0), (losses.Wasserstein(), 1)):
        right = fresh_divergence(loss, real=x, fake=y + 1, **options)
        for scale in (1e20, 1e-25, 1e4):
            found = fresh_divergence(loss, real=scale * x, fake=scale * (y + 1), **options)
            # Rounding grows along a training; the error is some .1.
            assert found.value / scale**power == pytest.approx(right.value, abs=0.02)
            assert found.stderr > 0
    wide = [1e200 * cloud.double() for cloud in (x, y + 1)]
    found = fresh_divergence(losses.KL(), real=wide[0], fake=wide[1], **options)
    assert found.value == pytest.approx(
        fresh_divergence(losses.KL(), real=x, fake=y + 1, **options).value, abs=0.02
    )


@pytest.mark.usefixtures("unchecked")
def test_each_fold_has_a_critic_of_its_own(gen):
    """One that learned from a fold has seen what it is measured on."""
    x, y = torch.randn(2, 200, 1, generator=gen)
    net = torch.nn.Linear(1, 1)
    for critic, told in (
        (net, "got a Linear"),
        (lambda seed: net, "got one for two folds"),
        (lambda seed: 1, "int"),
    ):
        with pytest.raises(TypeError, match=f"critic must .*{told}; write critic=lambda seed: MyCritic"):
            fresh_divergence(losses.KL(), real=x, fake=y, folds=2, steps=2, critic=critic)
    for loss, told in ((losses.KL, r"got the class KL; write KL\(\)"), ("kl", r"losses.named\('kl'\)")):
        with pytest.raises(TypeError, match=told):
            fresh_divergence(loss, real=x, fake=y, folds=2, steps=2)
