import pytest
import torch
from torch import nn

from metrics.geometry.curves import total_curvature
from metrics.geometry.jets import Circle
from metrics.geometry.mean_field import MeanField
from metrics.geometry.simulation import simulated_circle
from tests.metrics.geometry.oracles import linear


def test_curvature_of_wide_networks_is_mean_field():
    """Eight networks of width 1000; one varies by about 1 %, and the mean is to be within 2 %."""
    field = MeanField(torch.tanh, 4.0, 0.3)
    gen = torch.Generator().manual_seed(0)
    draws = [simulated_circle(field, width=1000, depth=6, points=64, generator=gen) for _ in range(8)]
    for layer, want in enumerate(field.circle(6)):
        for name in ("q", "g", "gauss_length"):
            mean = sum(getattr(draw[layer], name) for draw in draws) / 8
            assert mean == pytest.approx(getattr(want, name), rel=0.02), (layer, name)


def test_the_departure_from_mean_field_falls_with_the_width():
    field, gen = MeanField(torch.tanh, 4.0, 0.3), torch.Generator().manual_seed(0)
    gaps = []
    for width in (30, 240):
        draws = [simulated_circle(field, width=width, depth=6, points=128, generator=gen) for _ in range(25)]
        gaps.append(1 - sum(d[5].gauss_length for d in draws) / 25 / field.gauss_length(6))
    assert gaps[0] > 3 * abs(gaps[1])
    assert gaps[0] > 0.1


def test_the_simulation_is_the_total_curvature_of_its_network():
    """The same draws, put into an nn.Sequential."""
    field, gen = MeanField(torch.tanh, 2.0, 0.3), torch.Generator().manual_seed(5)
    layers = simulated_circle(
        field, width=20, depth=3, points=512, generator=torch.Generator().manual_seed(5)
    )
    first, second = (
        torch.linalg.qr(torch.randn(20, 2, dtype=torch.float64, generator=gen))[0].T
        * (20 * field.q_star) ** 0.5
    )
    modules = []
    for _ in range(2):
        weight = torch.randn(20, 20, dtype=torch.float64, generator=gen) * 2 / 20**0.5
        modules += [
            nn.Tanh(),
            linear(weight, 0.3 * torch.randn(1, 20, dtype=torch.float64, generator=gen)[0]),
        ]
    net, circle = nn.Sequential(*modules), Circle(torch.zeros(20).double(), first, second)
    for depth in (1, 2, 3):
        part = nn.Sequential(nn.Identity(), *net[: 2 * (depth - 1)])
        assert layers[depth - 1].gauss_length == pytest.approx(total_curvature(part, circle).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 1, "depth": 2}, "width must be at least 2"),
        ({"width": 2, "depth": 0}, "depth must be at least 1"),
        ({"width": 2, "depth": 2, "points": 7}, "points must be at least 8"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValueError, match=message):
        simulated_circle(MeanField(torch.tanh, 1.5, 0.1), **wrong)
