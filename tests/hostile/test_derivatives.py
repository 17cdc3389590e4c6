"""Derivatives where they are hard: at coincident points, at ties, at zero weights; and those of second order.

A value of one argument, on a path t ↦ x + t·v through the point. Where it has a kink its derivative is one-sided, and
what autograd gives must lie between the slopes from both sides: a subgradient in that direction.
"""

import pytest
import torch
from torch import Tensor

from metrics.kernels import Gaussian
from tests.hostile.attacks import refused
from tests.hostile.cases import CASES_BY_NAME

H = 1e-6
SMOOTH = {
    "gaussians.bures_wasserstein": ("mean_p", "cov_p"),
    "gaussians.frechet_distance": ("x", "weights_x"),
    "gaussians.gaussian_kl": ("mean_p", "cov_p"),
    "kernels.energy_distance": ("x", "weights_x"),
    "kernels.mmd2": ("x", "weights_x"),
    "predictions.brier_score": ("probs",),
    "predictions.categorical_nll": ("probs",),
    "predictions.crps_ensemble": ("samples", "y"),
    "predictions.crps_gaussian": ("mean", "std", "y"),
    "predictions.energy_score": ("samples", "y"),
    "predictions.gaussian_nll": ("mean", "std", "y"),
    "theory.kl_to_posterior": ("cov", "A"),
    "transport.entropic_cost": ("cost",),
    "transport.sinkhorn_divergence": ("x", "weights_x"),
    "transport.sliced_wasserstein": ("x", "weights_x"),
    "transport.wasserstein": ("x", "weights_x"),
}
"""Functions of one number, and the arguments that gradients flow to."""

NAMED = [(name, parameter) for name, parameters in SMOOTH.items() for parameter in parameters]


def value(case, arguments) -> Tensor:
    """The function's number."""
    found = case.call(**arguments)
    return found if isinstance(found, Tensor) else found.value


def arguments_of(case):
    arguments = case.make(torch.Generator().manual_seed(3), torch.float64)
    arguments.pop("generator", None)  # without one the directions are the same at every call
    # What else follows the points, ε and the bandwidth, is a constant to the gradient.
    if case.name in ("transport.sinkhorn_divergence", "transport.entropic_cost"):
        arguments |= {"tol": 1e-10, "eps": 0.5}
    if case.name == "kernels.mmd2":
        arguments["kernel"] = Gaussian(1.0)
    return arguments


def direction(parameter: str, x: Tensor) -> Tensor:
    """A direction in which the argument stays what it must be."""
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    if parameter in ("cov_p", "cov", "A"):
        return v + v.mT
    return v - v.mean(-1, keepdim=True) if parameter in ("probs", "weights_x") else v


def slopes(case, arguments, parameter, x, v):
    """The slopes to the left and to the right."""
    at = [float(value(case, arguments | {parameter: x + t * v})) for t in (-H, 0.0, H)]
    return (at[1] - at[0]) / H, (at[2] - at[1]) / H


def derivative(case, arguments, parameter, x, v):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(case, arguments | {parameter: leaf}), leaf)
    assert gradient.isfinite().all()
    return float((gradient * v).sum())


@pytest.mark.parametrize(("name", "parameter"), NAMED)
def test_a_derivative_is_the_difference_quotient(name, parameter):
    case = CASES_BY_NAME[name]
    arguments = arguments_of(case)
    x = arguments[parameter]
    v = direction(parameter, x)
    left, right = slopes(case, arguments, parameter, x, v)
    found = derivative(case, arguments, parameter, x, v)
    size = max(abs(left), abs(right), 1e-2)
    assert abs(found - (left + right) / 2) < 2e-4 * size + abs(left - right)


COINCIDENT = [name for name, parameters in SMOOTH.items() if "x" in parameters]


@pytest.mark.parametrize("name", COINCIDENT)
@pytest.mark.parametrize("where", ["x in y", "x twice", "x is y"])
def test_at_coincident_points_a_derivative_is_a_subgradient(name, where):
    case = CASES_BY_NAME[name]
    arguments = arguments_of(case)
    x, y = arguments["x"], arguments["y"]
    if where == "x in y":
        x = torch.cat([y[:5], x[5:]])
    elif where == "x twice":
        x = torch.cat([x[:7], x[:7]])
    else:
        x = y.clone()
    v = direction("x", x)
    left, right = slopes(case, arguments, "x", x, v)
    found = derivative(case, arguments, "x", x, v)
    slack = 1e-3 * max(abs(left), abs(right), 1e-2)
    assert min(left, right) - slack <= found <= max(left, right) + slack


@pytest.mark.parametrize(("name", "parameter"), NAMED)
def test_second_derivatives_are_right_or_refused(name, parameter):
    """By differences of the first, along one direction."""
    case = CASES_BY_NAME[name]
    arguments = arguments_of(case)
    x = arguments[parameter]
    v = direction(parameter, x)

    def curvature():
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(case, arguments | {parameter: leaf}), leaf, create_graph=True)
        if not gradient.requires_grad:
            return torch.zeros(())
        return (torch.autograd.grad((gradient * v).sum(), leaf, allow_unused=True)[0] * v).sum()

    try:
        found, words = refused(curvature)
    except RuntimeError as error:
        found, words = None, str(error)
        assert "can be differentiated once" in words
    if words is None:
        h = 1e-7  # within one order of the points on a line
        up, down = (derivative(case, arguments, parameter, x + t * v, v) for t in (h, -h))
        right = (up - down) / (2 * h)
        assert abs(float(found) - right) < 1e-2 * max(abs(right), 1e-2)
