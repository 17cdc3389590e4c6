import math

import pytest
import torch
from torch import nn

from metrics.geometry.jets import Circle, Jets, curve_jets
from tests.metrics.geometry.oracles import tanh_network, unit_circle


def test_jets_of_tanh_by_hand(gen):
    """x' = s h', x'' = s h'' − 2 t s h'² with s = 1 − t²."""
    circle, t = unit_circle(6, gen), torch.rand(7, generator=gen).double()
    first = tanh_network(6, 8, gen=gen)
    before = curve_jets(first, circle, t)
    after = curve_jets(nn.Sequential(*first, nn.Tanh()), circle, t)
    x = before.position.tanh()
    s = 1 - x**2
    torch.testing.assert_close(after.velocity, s * before.velocity)
    torch.testing.assert_close(after.acceleration, s * before.acceleration - 2 * x * s * before.velocity**2)
    kappa2 = after.acceleration.square().sum(1) / after.speed**4
    kappa2 -= (after.velocity * after.acceleration).sum(1) ** 2 / after.speed**6
    torch.testing.assert_close(after.curvature, kappa2.sqrt(), rtol=1e-9, atol=0)


def test_an_ellipse_has_the_curvature_of_the_textbook():
    """κ = ab/(a² sin² + b² cos²)^{3/2}, and its speed is 2π times the root below."""
    a, b, t = 3.0, 0.5, torch.tensor([0.0, 0.1, 0.25, 0.6], dtype=torch.float64)
    ellipse = Circle(torch.zeros(2), torch.tensor([a, 0.0]).double(), torch.tensor([0.0, b]).double())
    angle = 2 * math.pi * t
    root = (a**2 * angle.sin() ** 2 + b**2 * angle.cos() ** 2).sqrt()
    jets = curve_jets(nn.Identity(), ellipse, t)
    torch.testing.assert_close(jets.speed, 2 * math.pi * root)
    torch.testing.assert_close(jets.curvature, a * b / root**3)
    torch.testing.assert_close(jets.turning, 2 * math.pi * a * b / root**2)


def test_an_image_that_stands_still_does_not_turn():
    still, moves = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    assert Jets(moves, still, moves).turning.tolist() == [0, 0]
    assert Jets(moves, moves, 2 * moves).turning.tolist() == pytest.approx([0, 0], abs=1e-15)
