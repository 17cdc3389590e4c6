import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.func import grad

from bayessgd.likelihoods import Poisson


def test_it_is_scipys(dtype):
    f = torch.linspace(-5, 5, 12, dtype=dtype).reshape(4, 3)
    y = torch.arange(12).reshape(4, 3)
    want = scipy.stats.poisson.logpmf(y.numpy(), np.exp(f.double().numpy())).sum(1)
    np.testing.assert_allclose(Poisson().log_prob(f, y), want, rtol=1e-5 if dtype == torch.float32 else 1e-12)
    torch.testing.assert_close(Poisson()(f).mean, f.exp())
    torch.testing.assert_close(Poisson()(f).log_prob(y.to(dtype)), Poisson().log_prob(f, y))


def test_its_slope_is_count_minus_rate_even_where_the_rate_underflows():
    f = torch.tensor([[-200.0], [0.5]])
    slope = grad(lambda t: Poisson().log_prob(t, torch.tensor([[3], [2]])).sum())(f)
    torch.testing.assert_close(slope, torch.tensor([[3.0], [2 - math.exp(0.5)]]))


def test_refusals():
    with pytest.raises(ValueError, match="target must have the shape of the output"):
        Poisson().log_prob(torch.zeros(3, 1), torch.zeros(3))
    with pytest.raises(TypeError, match="output must be floating point"):
        Poisson().log_prob(torch.zeros(3, 1).long(), torch.zeros(3, 1))
