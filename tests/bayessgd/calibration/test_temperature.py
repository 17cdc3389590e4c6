import math

import pytest
import torch

from bayessgd.calibration import effective_temperature
from bayessgd.posteriors import Ensemble
from tests.bayessgd.calibration.problems import D, Regression


@pytest.fixture
def regression():
    return Regression()


def test_the_temperature_of_scaled_draws_is_the_scale(regression):
    cov = torch.linalg.inv(60 * regression.A)
    z = torch.randn(4000, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    draws = regression.mean + math.sqrt(2.5) * z @ torch.linalg.cholesky(cov).T
    found = effective_temperature(
        regression.net,
        Ensemble({"weight": draws[:, None]}, chains=4),
        regression.x,
        regression.y,
        **regression.laws,
        optimum=regression.optimum,
    )
    assert abs(found.value - 2.5) < 4 * found.stderr
    assert found.stderr == pytest.approx(2.5 * math.sqrt(2 / D / 4000), rel=0.25)


def test_one_iterate_has_an_energy_and_no_error(regression):
    one = Ensemble({"weight": regression.mean[None] + 0.1})
    laws = {**regression.laws, "optimum": regression.optimum}
    found = effective_temperature(regression.net, one, regression.x, regression.y, **laws)
    assert found.value > 0
    assert math.isnan(found.stderr)


def test_refusals_of_iterates(regression):
    laws = {**regression.laws, "optimum": regression.optimum}
    with pytest.raises(TypeError, match="iterates must be an Ensemble"):
        effective_temperature(regression.net, 3, regression.x, regression.y, **laws)
    path, laws["optimum"] = Ensemble({"weight": regression.mean[None]}), {}
    with pytest.raises(ValueError, match="optimum must have the names"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": regression.mean[:, 1:]}
    with pytest.raises(ValueError, match="optimum must have the shape"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": torch.full_like(regression.mean, math.nan)}
    with pytest.raises(ValueError, match="must be finite"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
    laws["optimum"] = {"weight": torch.full_like(regression.mean, 1e200)}
    with pytest.raises(ValueError, match="optimum must have a finite potential, got U = inf"):
        effective_temperature(regression.net, path, regression.x, regression.y, **laws)
