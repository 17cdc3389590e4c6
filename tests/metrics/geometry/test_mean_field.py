import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import dblquad, quad
from torch import nn

from metrics.geometry.mean_field import MeanField


def sech2(x):
    return 1 / math.cosh(min(abs(x), 300)) ** 2


def gauss(z):
    return math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def adaptive(f, kinks=()):
    """QUADPACK on pieces between the kinks: E f(z)."""
    edges = sorted({-12.0, -3.0, -1.0, 0.0, 1.0, 3.0, 12.0, *kinks})
    pairs = pairwise(edges)
    return sum(quad(lambda z: f(z) * gauss(z), a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in pairs)


# φ, φ', φ'' by hand, and where φ' jumps.
ACTIVATIONS = {
    "tanh": (
        torch.tanh,
        math.tanh,
        lambda x: sech2(x),
        lambda x: -2 * math.tanh(x) * sech2(x),
    ),
    "sigmoid": (
        nn.Sigmoid(),
        lambda x: 0.5 + 0.5 * math.tanh(x / 2),
        lambda x: 0.25 * sech2(x / 2),
        lambda x: -0.25 * math.tanh(x / 2) * sech2(x / 2),
    ),
    "softplus": (
        nn.Softplus(threshold=100),
        lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0),
        lambda x: 0.5 + 0.5 * math.tanh(x / 2),
        lambda x: 0.25 * sech2(x / 2),
    ),
    "ELU": (
        nn.ELU(),
        lambda x: x if x > 0 else math.expm1(x),
        lambda x: 1.0 if x > 0 else math.exp(x),
        lambda x: 0.0 if x > 0 else math.exp(x),
    ),
    "GELU": (
        nn.GELU(),
        lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
        lambda x: 0.5 * math.erfc(-x / math.sqrt(2)) + x * gauss(x),
        lambda x: (2 - x * x) * gauss(x),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [1e-4, 0.7, 12.6, 900.0])
def test_moments_equal_quadpack(name, q):
    phi, *by_hand = ACTIVATIONS[name]
    field = MeanField(phi, 1.7, 0.4)
    root = math.sqrt(q)
    want = [
        adaptive(lambda z, f=f: f(root * z) ** 2, (4 / root, -4 / root) if root > 0.4 else ())
        for f in by_hand
    ]
    got = [(field.length_map(q) - 0.16) / 1.7**2, field.chi1_at(q) / 1.7**2, field.chi2_at(q) / 1.7**2]
    assert got == pytest.approx(want, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("q", [0.3, 30.0])
def test_moments_of_kinked_activations_equal_quadpack(q):
    root = math.sqrt(q)
    leaky = MeanField(nn.LeakyReLU(0.2), 1.0, 0.0)
    assert leaky.length_map(q) == pytest.approx(q * (1 + 0.04) / 2, rel=1e-12)
    assert leaky.chi1_at(q) == pytest.approx((1 + 0.04) / 2, rel=1e-12)
    hard = MeanField(nn.Hardtanh(-1.0, 0.5), 1.0, 0.0)
    clip = lambda x: min(max(x, -1.0), 0.5)  # noqa: E731
    assert hard.length_map(q) == pytest.approx(
        adaptive(lambda z: clip(root * z) ** 2, (-1 / root, 0.5 / root)), rel=1e-9
    )
    assert hard.chi1_at(q) == pytest.approx(
        0.5 * (math.erf(1 / root / 2**0.5) + math.erf(0.5 / root / 2**0.5)), rel=1e-9
    )


@pytest.mark.parametrize("q", [0.02, 0.3, 30.0])
def test_an_activation_that_jumps_has_lengths_and_correlations(q):
    """A step at 0.37: a share of the Gaussian, and for the sign the law of the quadrant, (2/π) asin c."""
    step = MeanField(lambda x: (x > 0.37).to(x.dtype), 1.0, 0.0)
    assert step.length_map(q) == pytest.approx(math.erfc(0.37 / (2 * q) ** 0.5) / 2, rel=1e-10)
    sign = MeanField(torch.sign, 1.5, 0.3)
    assert sign.q_star == pytest.approx(1.5**2 + 0.3**2, rel=1e-12)
    for c in (-0.9, 0.2, 0.7):
        want = (1.5**2 * 2 / math.pi * math.asin(c) + 0.3**2) / sign.q_star
        assert sign.correlation_map(c, q=q) == pytest.approx(want, abs=1e-10)


@pytest.mark.parametrize("c", [-0.95, -0.3, 0.0, 0.6, 0.999])
@pytest.mark.parametrize("name", ["tanh", "ELU"])
def test_correlations_equal_quadpack(name, c):
    phi, by_hand, *_ = ACTIVATIONS[name]
    q, s = 2.3, math.sqrt(1 - c * c)
    root = math.sqrt(q)

    def both(y, x):
        return by_hand(root * x) * by_hand(root * (c * x + s * y)) * gauss(x) * gauss(y)

    want = dblquad(both, -8, 8, -8, 8, epsabs=1e-10, epsrel=1e-10)[0]
    got = (MeanField(phi, 1.0, 0.0).correlation_map(c, q=q)) * MeanField(phi, 1.0, 0.0).length_map(q)
    assert got == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("q", [0.05, 1.0, 50.0])
def test_closed_forms_equal_the_quadrature(q):
    """The same function under another name is integrated."""
    for closed, integrated in ((torch.erf, lambda x: torch.erf(x)), (torch.relu, lambda x: x.clamp(min=0))):
        a, b = MeanField(closed, 1.3, 0.2), MeanField(integrated, 1.3, 0.2)
        assert a.length_map(q) == pytest.approx(b.length_map(q), rel=1e-11)
        assert a.chi1_at(q) == pytest.approx(b.chi1_at(q), rel=1e-11)
        for c in (-1.0, -0.7, 0.0, 0.4, 0.99, 1.0):
            assert a.correlation_map(c, q=q) == pytest.approx(b.correlation_map(c, q=q), abs=1e-11)
    assert MeanField(torch.erf, 1.3, 0.2).chi2_at(q) == pytest.approx(
        MeanField(lambda x: torch.erf(x), 1.3, 0.2).chi2_at(q), rel=1e-11
    )


PUBLISHED = {
    1.3: (0.607047, 0.939807, 0.543472, 1.0, (1.4329, 2.2016, 2.9136)),
    2.5: (4.079124, 1.585225, 1.196041, 0.122104, (3.1989, 9.2115, 31.3457)),
    4.0: (12.604149, 2.367261, 1.857176, 0.029696, (5.5376, 25.7033, 225.0163)),
}


@pytest.mark.parametrize("sigma_w", PUBLISHED)
def test_tanh_at_bias_three_tenths(sigma_w):
    q, chi1, chi2, c, lengths = PUBLISHED[sigma_w]
    field = MeanField(nn.Tanh(), sigma_w, 0.3)
    assert (field.q_star, field.chi1, field.chi2, field.c_star) == pytest.approx((q, chi1, chi2, c), abs=6e-7)
    got = [field.gauss_length(depth) / (2 * math.pi) for depth in (2, 5, 10)]
    assert got == pytest.approx(lengths, abs=6e-5)
    assert field.critical_sigma_w() == pytest.approx(1.395584, abs=6e-7)
    closed = [1 + 3 * chi2 / chi1 * q * (chi1 ** (depth - 1) - 1) / (chi1 - 1) for depth in (2, 5, 10)]
    assert got == pytest.approx([math.sqrt(x) for x in closed], rel=2e-5)
    assert field.gauss_length(1) == pytest.approx(2 * math.pi, rel=1e-14)


def test_fixed_points_are_fixed():
    for phi, sigma_w in (
        (torch.tanh, 1.1),
        (torch.erf, 3.0),
        (nn.GELU(), 1.0),
        (nn.ELU(), 1.2),
        (torch.relu, 1.2),
    ):
        field = MeanField(phi, sigma_w, 0.3)
        assert field.length_map(field.q_star) == pytest.approx(field.q_star, rel=1e-12)
        assert field.correlation_map(field.c_star) == pytest.approx(field.c_star, abs=1e-12)
        slope = (
            1 - field.correlation_map(1 - 1e-5)
        ) / 1e-5  # χ₁ is the map's slope at 1; kinks add O(√(1 − c))
        assert slope == pytest.approx(field.chi1, rel=5e-3)
        if phi in (torch.tanh, torch.erf):
            assert MeanField(phi, field.critical_sigma_w(), 0.3).chi1 == pytest.approx(1, abs=1e-12)
    assert MeanField(torch.tanh, 0.9, 0.0).q_star == 0
    assert MeanField(torch.relu, 1.2, 0.3).q_star == pytest.approx(0.09 / (1 - 0.72), rel=1e-13)
    assert MeanField(torch.relu, 1.7, 0.0).critical_sigma_w() == math.sqrt(2)
    assert MeanField(torch.relu, 1.7, 0.0).chi1 == pytest.approx(1.7**2 / 2)


def test_a_general_start_follows_its_own_lengths():
    """b/a = ḡκ̄² grows by 3χ₂a/χ₁ with χ at the length of that layer; at q* it is the closed form."""
    field = MeanField(torch.tanh, 2.5, 0.3)
    assert field.gauss_length(6, start=field.q_star - 0.09) != field.gauss_length(6)
    a, b, q = 0.5, 0.5, 0.59
    for _ in range(4):
        chi1, chi2 = field.chi1_at(q), field.chi2_at(q)
        a, b, q = chi1 * a, chi1 * b + 3 * chi2 * a * a, field.length_map(q)
    last = field.circle(5, start=0.5)[-1]
    assert (last.q, last.g) == pytest.approx((q, a), rel=1e-13)
    assert last.gauss_length == pytest.approx(2 * math.pi * math.sqrt(b / a), rel=1e-13)


def test_sharp_activations_are_resolved():
    """tanh(40x) at q is tanh at 1600q."""
    sharp, plain = MeanField(lambda x: torch.tanh(40 * x), 1.0, 0.0), MeanField(torch.tanh, 1.0, 0.0)
    assert sharp.length_map(0.5) == pytest.approx(plain.length_map(800.0), rel=1e-10)
    assert sharp.chi1_at(0.5) == pytest.approx(1600 * plain.chi1_at(800.0), rel=1e-10)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MeanField("tanh", 1.0, 0.1), TypeError, "activation must be a function"),
        (lambda: MeanField(torch.sum, 1.0, 0.1), ValueError, "activation must map every entry"),
        (lambda: MeanField(lambda x: x.softmax(0), 1.0, 0.1), ValueError, "activation must map every entry"),
        (lambda: MeanField(torch.tanh, 0.0, 0.1), ValueError, "sigma_w must be finite and above 0"),
        (lambda: MeanField(torch.tanh, 1.0, -0.1), ValueError, "sigma_b must be finite and above 0"),
        (lambda: MeanField(torch.sign, 1.0, 0.1).chi1, ValueError, "got a jump at 0, .* served are tanh"),
        (
            lambda: MeanField(torch.round, 1.0, 0.1).gauss_length(2),
            ValueError,
            "got a jump at .*5, .* served",
        ),
        (lambda: MeanField(torch.relu, 1.0, 0.1).chi2, ValueError, "got a kink at 0, .* served are tanh"),
        (lambda: MeanField(nn.Hardtanh(), 1.0, 0.1).gauss_length(3), ValueError, "got a kink at -1"),
        (lambda: MeanField(torch.relu, 1.5, 0.1).q_star, ValueError, "sigma_w must be below √2"),
        (lambda: MeanField(nn.Identity(), 1.5, 0.1).q_star, ValueError, "must have a stable fixed point"),
        (lambda: MeanField(nn.GELU(), 1.0, 0.3).critical_sigma_w(), ValueError, "before its length diverges"),
        (lambda: MeanField(torch.tanh, 1.5, 0.1).correlation_map(1.5), ValueError, "c must be a correlation"),
        (lambda: MeanField(torch.tanh, 1.5, 0.1).gauss_length(0), ValueError, "depth must be at least 1"),
        (lambda: MeanField(torch.tanh, 1.5, 0.1).circle(2, start=-1.0), ValueError, "start must be finite"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()
