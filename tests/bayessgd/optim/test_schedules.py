import math

import pytest
import torch

from bayessgd.optim import SGHMC, SGLD, CyclicalSchedule


def weight():
    theta = torch.zeros(1, requires_grad=True)
    theta.grad = torch.zeros(1)
    return theta


def trace(schedule, optimizer, steps):
    out = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        out.append((float(group["lr"]), schedule.sampling, group.get("temperature")))
        optimizer.step()
        schedule.step()
    return out


def test_learning_rates_of_the_paper():
    """200 epochs, 4 cycles of 50, lr₀ = 0.5, noise in the last 5 of each 50."""
    sgd = torch.optim.SGD([weight()], lr=0.5)
    rows = trace(CyclicalSchedule(sgd, num_steps=200, num_cycles=4), sgd, 250)
    for k, (lr, sampling, _) in enumerate(rows):
        assert math.isclose(lr, 0.25 * (1 + math.cos(math.pi * (k % 50) / 50)), rel_tol=1e-12)
        assert sampling == (k % 50 >= 45)


@pytest.mark.parametrize("make", [SGLD, SGHMC])
def test_temperature_is_off_while_exploring(make):
    sampler = make([weight()], 0.5, num_data=10, temperature=0.7)
    rows = trace(CyclicalSchedule(sampler, num_steps=20, num_cycles=2, exploration=0.6), sampler, 20)
    assert [t for _, _, t in rows] == ([0.0] * 6 + [0.7] * 4) * 2


def test_exploration_draws_nothing():
    theta = weight()
    sampler = SGLD([theta], 0.5, num_data=10, generator=torch.Generator().manual_seed(0))
    schedule = CyclicalSchedule(sampler, num_steps=4, num_cycles=1, exploration=0.5)
    moved = []
    for _ in range(4):
        sampler.step()
        schedule.step()
        moved.append(float(theta.detach()) != 0)
    assert moved == [False, False, True, True]


def test_uneven_cycles_round_up():
    sgd = torch.optim.SGD([weight()], lr=1.0)
    assert CyclicalSchedule(sgd, num_steps=10, num_cycles=3).cycle_length == 4


def test_learning_rate_as_a_tensor():
    sampler = SGLD([weight()], torch.tensor(0.5), num_data=10)
    rows = trace(CyclicalSchedule(sampler, num_steps=10, num_cycles=2), sampler, 10)
    assert isinstance(sampler.param_groups[0]["lr"], torch.Tensor)
    assert math.isclose(rows[6][0], 0.25 * (1 + math.cos(math.pi / 5)), rel_tol=1e-6)


def test_resumes_in_the_middle_of_a_cycle():
    def build():
        sampler = SGLD([weight()], 0.5, num_data=10, temperature=0.7)
        return sampler, CyclicalSchedule(sampler, num_steps=10, num_cycles=1, exploration=0.5)

    sampler, schedule = build()
    trace(schedule, sampler, 3)
    again, resumed = build()
    again.load_state_dict(sampler.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert trace(resumed, again, 7) == trace(schedule, sampler, 7)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_steps": 0}, ValueError, "num_steps must be at least 2, got 0"),
        ({"num_steps": 1.5}, TypeError, "num_steps must be an int"),
        ({"num_cycles": 0}, ValueError, "num_cycles must be at least 1"),
        ({"num_steps": 1}, ValueError, "num_steps must be at least 2, got 1"),
        ({"exploration": 1.0}, ValueError, r"exploration must be in \[0, 1\), got 1.0"),
        ({"optimizer": None}, TypeError, "NoneType is not an Optimizer"),
    ],
)
def test_refusals(arguments, error, match):
    good = {"optimizer": torch.optim.SGD([weight()], lr=1.0), "num_steps": 10, "num_cycles": 2}
    with pytest.raises(error, match=match):
        CyclicalSchedule(**(good | arguments))
