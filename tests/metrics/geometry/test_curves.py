import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from metrics.geometry.curves import total_curvature, trajectory_length
from metrics.geometry.jets import Circle, curve_jets
from tests.metrics.geometry.oracles import linear, random_network, tanh_network, tents, unit_circle

ZERO = torch.zeros(2)


def test_plane_curves_with_known_length_and_turning():
    ellipse = Circle(ZERO, torch.tensor([2.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert trajectory_length(nn.Identity(), ellipse).item() == pytest.approx(9.688448220547674, rel=1e-12)
    assert total_curvature(nn.Identity(), ellipse).item() == pytest.approx(2 * math.pi, rel=1e-12)
    twice = lambda x: torch.stack([x[:, 0] ** 2 - x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], 1)  # noqa: E731
    circle = Circle(ZERO.double(), torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double())
    assert total_curvature(twice, circle).item() == pytest.approx(4 * math.pi, rel=1e-12)
    assert trajectory_length(twice, circle).item() == pytest.approx(4 * math.pi, rel=1e-12)
    parabola = lambda t: torch.stack([t, t * t], 1)  # noqa: E731
    assert total_curvature(nn.Identity(), parabola).item() == pytest.approx(math.atan(2), rel=1e-12)


def test_polylines(gen):
    square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    assert trajectory_length(nn.Identity(), square).item() == pytest.approx(4, rel=1e-14)
    assert total_curvature(nn.Identity(), square).item() == pytest.approx(2 * math.pi, rel=1e-14)
    assert total_curvature(nn.Identity(), square[:-1]).item() == pytest.approx(math.pi, rel=1e-14)
    assert total_curvature(nn.Identity(), torch.cat([square, square[-1:]])).item() == pytest.approx(
        2 * math.pi
    )
    assert trajectory_length(tents(6), torch.tensor([[0.0], [1.0]])).item() == pytest.approx(2**6, rel=1e-14)
    assert total_curvature(tents(6), torch.tensor([[0.0], [1.0]])).item() == pytest.approx(
        (2**6 - 1) * math.pi
    )
    # A smooth network of a fine polyline is as long as of the smooth curve.
    net, circle = tanh_network(3, 10, 4, gen=gen), unit_circle(3, gen)
    corners = circle(torch.linspace(0, 1, 2001).double())
    assert trajectory_length(net, corners).item() == pytest.approx(
        trajectory_length(net, circle).item(), rel=1e-5
    )
    # z ↦ z² keeps the corner's right angle and turns each side by the change of arg z, an eighth.
    square = torch.tensor([[1.0, 0], [1, 1], [0, 1]])
    twice = lambda x: torch.stack([x[:, 0] ** 2 - x[:, 1] ** 2, 2 * x[:, 0] * x[:, 1]], 1)  # noqa: E731
    assert total_curvature(twice, square).item() == pytest.approx(math.pi, rel=1e-12)


def test_a_relu_polyline_equals_fine_chords(gen):
    net, corners = random_network(3, 16, 16, 5, seed=3), torch.randn(4, 3, generator=gen)
    t = torch.linspace(0, 1, 100_001).double()
    fine = torch.cat([a + t[:, None] * (b - a) for a, b in pairwise(corners.double())])
    image = net.double()(fine).detach()
    steps = image.diff(dim=0)
    assert trajectory_length(net, corners).item() == pytest.approx(steps.norm(dim=1).sum().item(), rel=1e-5)
    # Chords that cut a corner turn by as much in two steps; within a piece the cosine is 1 up to rounding.
    steps = steps[steps.norm(dim=1) > 0]
    cosine = nn.functional.cosine_similarity(steps[1:], steps[:-1]).clamp(-1, 1)
    coarse = cosine[cosine < 1 - 1e-12].acos().sum().item()
    assert total_curvature(net, corners).item() == pytest.approx(coarse, rel=1e-4)


def test_crofton(gen):
    """The total curvature is π times the mean number of critical points of a random projection."""
    net, circle = tanh_network(8, 30, 30, 12, gen=gen), unit_circle(8, gen)
    got = total_curvature(net, circle).item()
    jets = curve_jets(net, circle, torch.arange(4000).double() / 4000)
    directions = torch.randn(12, 3000, generator=gen).double()
    slopes = jets.velocity @ directions
    counts = (slopes * slopes.roll(1, 0) < 0).sum(0).double()
    se = math.pi * counts.std().item() / 3000**0.5
    assert abs(math.pi * counts.mean().item() - got) < 4 * se
    assert se < 0.02 * got


@pytest.mark.parametrize(("gain", "low", "high"), [(2**0.5, 0.8, 1.02), (2.0, 24.0, 33.0)])
def test_relu_networks_keep_lengths_at_he(gain, low, high):
    """E length ≤ (σ_w/√2)^L: 0.98 measured at He's scale and 31.2 of 32 at σ_w² = 4, both L = 10, width 500."""
    ratios = []
    for seed in range(6):
        gen = torch.Generator().manual_seed(seed)
        modules = []
        for _ in range(10):
            modules += [linear(gain / 100**0.5 * torch.randn(100, 100, generator=gen)), nn.ReLU()]
        corners = unit_circle(100, gen)(torch.linspace(0, 1, 21).double())
        length = trajectory_length(nn.Sequential(*modules), corners)
        ratios.append(float(length / trajectory_length(nn.Identity(), corners)))
    assert low < sum(ratios) / 6 < high


SMOOTH = Circle(ZERO, torch.tensor([1.0, 0]), torch.tensor([0, 1.0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: total_curvature(nn.ReLU(), SMOOTH), ValueError, "got ReLU, .* served are smooth"),
        (
            lambda: total_curvature(nn.Sequential(nn.ReLU(), nn.Tanh()), torch.eye(2)),
            ValueError,
            "kinks and smooth activations together .* got ReLU",
        ),
        (lambda: trajectory_length(nn.Tanh(), "circle"), TypeError, "curve must be a function of t"),
        (lambda: trajectory_length("net", SMOOTH), TypeError, "net must be a network"),
        (lambda: trajectory_length(nn.Tanh(), torch.zeros(1, 2)), ValueError, "at least two corners"),
        (lambda: trajectory_length(nn.Tanh(), torch.zeros(3)), ValueError, "curve must have shape"),
        (lambda: trajectory_length(nn.Tanh(), torch.zeros(3, 2)), ValueError, "two different corners"),
        (lambda: trajectory_length(nn.Tanh(), SMOOTH, points=3), ValueError, "points must be at least 16"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
