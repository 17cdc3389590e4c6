import math

import pytest
import torch
from torch import nn
from torch.func import vmap

from bayessgd.priors import ElementwisePrior, FlatPrior, GaussianPrior, Prior, check_no_weight_decay


def params(gen, dtype=torch.float64):
    return {
        "w": torch.randn(2, 3, dtype=dtype, generator=gen),
        "b": torch.randn(2, dtype=dtype, generator=gen),
    }


def test_gaussian_is_normalised(gen, dtype):
    theta = params(gen, dtype)
    law = torch.distributions.Normal(0.5, 4.0**-0.5)
    expected = sum(law.log_prob(value).sum() for value in theta.values())
    torch.testing.assert_close(GaussianPrior(4.0, mean=0.5).log_prob(theta), expected)


def test_precision_by_name(gen):
    theta = params(gen)
    found = GaussianPrior({"w": 1.0, "b": 9.0}).log_prob(theta)
    expected = GaussianPrior(1.0).log_prob({"w": theta["w"]}) + GaussianPrior(9.0).log_prob({"b": theta["b"]})
    torch.testing.assert_close(found, expected)


def test_elementwise_gaussian_is_the_gaussian(gen):
    theta = params(gen)
    torch.testing.assert_close(
        ElementwisePrior(torch.distributions.Normal(0.0, 0.5)).log_prob(theta),
        GaussianPrior(4.0).log_prob(theta),
    )


def test_draws_have_the_law(gen):
    n = 40_000
    draws = GaussianPrior({"w": 4.0}, mean=1.0).sample(
        {"w": torch.zeros(n, dtype=torch.float64)}, generator=gen
    )["w"]
    assert abs(float(draws.mean()) - 1) < 4 * 0.5 / math.sqrt(n)
    # A variance from n draws is known to √(2/n) of its value.
    assert float(draws.var()) == pytest.approx(0.25, rel=4 * math.sqrt(2 / n))


def test_draws_repeat_with_their_generator():
    like = {"w": torch.zeros(3)}
    a, b = (
        GaussianPrior(1.0).sample(like, generator=torch.Generator().manual_seed(3))["w"] for _ in range(2)
    )
    assert torch.equal(a, b)


def test_flat_is_zero_and_all_are_priors(gen):
    assert FlatPrior().log_prob(params(gen)) == 0
    for prior in (FlatPrior(), GaussianPrior(1.0), ElementwisePrior(torch.distributions.Laplace(0.0, 1.0))):
        assert isinstance(prior, Prior)


def test_one_chain_at_a_time_under_vmap(gen):
    stacked = {"w": torch.randn(5, 2, 3, generator=gen)}
    for prior in (GaussianPrior(2.0), ElementwisePrior(torch.distributions.Laplace(0.0, 1.0))):
        found = vmap(prior.log_prob)(stacked)
        torch.testing.assert_close(found[1], prior.log_prob({"w": stacked["w"][1]}))


def test_weight_decay_is_the_gaussian_it_is_said_to_be(gen):
    """w of SGD on the mean loss is a precision of N·w: the two gradients agree."""
    theta = torch.randn(4, dtype=torch.float64, generator=gen, requires_grad=True)
    (-GaussianPrior(100 * 0.03).log_prob({"t": theta}) / 100).backward()
    torch.testing.assert_close(theta.grad, 0.03 * theta.detach())


def test_weight_decay_alone_is_allowed():
    sgd = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1, weight_decay=0.1)
    check_no_weight_decay(sgd, FlatPrior())
    check_no_weight_decay(sgd, None)
    plain = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    check_no_weight_decay(plain, GaussianPrior(1.0))


def test_refuses_weight_decay_beside_a_prior():
    model = nn.Linear(2, 1)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.2}]
    for optimizer in (torch.optim.SGD(groups, lr=0.1), torch.optim.Adam(groups, lr=0.1)):
        with pytest.raises(ValueError, match=r"weight_decay=0 next to a prior, got 0\.2 in group 1"):
            check_no_weight_decay(optimizer, GaussianPrior(1.0))
    # AdamW decays by default.
    with pytest.raises(ValueError, match=r"got 0\.01 in group 0"):
        check_no_weight_decay(torch.optim.AdamW(model.parameters()), GaussianPrior(1.0))
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer"):
        check_no_weight_decay("sgd", GaussianPrior(1.0))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((0.0,), ValueError, "precision must be finite and above 0"),
        (("1",), TypeError, "precision must be a number"),
        (({"w": -1.0},), ValueError, r"precision\['w'\] must be finite and above 0"),
        ((1.0, "0"), TypeError, "mean must be a number"),
        ((1.0, float("nan")), ValueError, "mean must be finite"),
    ],
)
def test_gaussian_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        GaussianPrior(*arguments)


@pytest.mark.parametrize(
    ("distribution", "error", "match"),
    [
        ("normal", TypeError, "distribution must be a torch.distributions.Distribution"),
        (
            torch.distributions.Normal(torch.zeros(3), 1.0),
            ValueError,
            r"one of scalars, with shape \[\], got \[3\]",
        ),
    ],
)
def test_elementwise_refusals(distribution, error, match):
    with pytest.raises(error, match=match):
        ElementwisePrior(distribution)


@pytest.mark.parametrize(
    "prior", [FlatPrior(), GaussianPrior(1.0), ElementwisePrior(torch.distributions.Normal(0.0, 1.0))]
)
def test_refuses_params(prior):
    with pytest.raises(TypeError, match="params must map names to tensors, got list"):
        prior.log_prob([torch.zeros(1)])
    with pytest.raises(ValueError, match="params must not be empty"):
        prior.log_prob({})


def test_refuses_a_parameter_without_precision():
    with pytest.raises(
        ValueError, match=r"precision must name every parameter, got none for 'b'; it has \['w'\]"
    ):
        GaussianPrior({"w": 1.0}).log_prob({"w": torch.zeros(1), "b": torch.zeros(1)})
