import pytest
import torch
from torch import nn
from torch.func import grad, vmap

from bayessgd.likelihoods import (
    Categorical,
    FlatPrior,
    Gaussian,
    GaussianPrior,
    log_joint,
    mean_negative_log_joint,
)
from bayessgd.theory import LinearRegression


def regression(gen, n=20):
    x = torch.randn(n, 3, dtype=torch.float64, generator=gen)
    return x, x.sum(1, keepdim=True) + torch.randn(n, 1, dtype=torch.float64, generator=gen)


def linear():
    return nn.Linear(3, 1, bias=False).double()


LAWS = {"likelihood": Gaussian(scale=0.5), "prior": GaussianPrior(precision=2.0)}


def test_all_the_data_give_the_log_joint_by_hand(gen):
    x, y = regression(gen)
    model, theta = linear(), torch.randn(1, 3, dtype=torch.float64, generator=gen)
    likelihood = torch.distributions.Normal(x @ theta.T, 0.5).log_prob(y).sum()
    prior = torch.distributions.Normal(0.0, 2.0**-0.5).log_prob(theta).sum()
    params = {"weight": theta}
    for T in (1.0, 4.0):
        expected = (likelihood + prior) / T
        torch.testing.assert_close(
            log_joint(model, params, x, y, num_data=20, temperature=T, **LAWS), expected
        )
        loss = mean_negative_log_joint(model, params, x, y, num_data=20, temperature=T, **LAWS)
        torch.testing.assert_close(loss, -expected / 20)


def test_batches_are_unbiased_for_all_the_data(gen):
    """Over all batches of an epoch the mean is exactly the loss of the whole: N in the prior, not S."""
    x, y = regression(gen)
    model, params = linear(), {"weight": torch.ones(1, 3, dtype=torch.float64)}
    whole = mean_negative_log_joint(model, params, x, y, num_data=20, **LAWS)
    parts = [
        mean_negative_log_joint(model, params, x[i : i + 5], y[i : i + 5], num_data=20, **LAWS)
        for i in range(0, 20, 5)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_minimum_and_curvature_are_those_of_the_posterior(gen):
    """Its minimum is Bayesian linear regression's mean, its Hessian that one's A: N A is the posterior's precision."""
    x, y = regression(gen)
    truth = LinearRegression(x, y[:, 0], noise_precision=4.0, prior_precision=2.0)
    model = linear()

    def loss(theta):
        return mean_negative_log_joint(model, {"weight": theta[None]}, x, y, num_data=20, **LAWS)

    slope = grad(loss)(truth.optimum)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.func.hessian(loss)(truth.optimum), truth.curvature)


def test_stacked_chains_under_vmap(gen):
    x, y = regression(gen)
    model, stacked = linear(), torch.randn(4, 1, 3, dtype=torch.float64, generator=gen)

    def loss(theta):
        return mean_negative_log_joint(model, {"weight": theta}, x, y, num_data=20, **LAWS)

    found = vmap(loss)(stacked)
    torch.testing.assert_close(found, torch.stack([loss(theta) for theta in stacked]))


def test_backward_reaches_a_plain_models_parameters(gen):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(8, 3, generator=gen), torch.randint(2, (8,), generator=gen)
    loss = mean_negative_log_joint(
        model, dict(model.named_parameters()), x, y, likelihood=Categorical(), prior=FlatPrior(), num_data=100
    )
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    torch.testing.assert_close(loss, nn.functional.cross_entropy(model(x), y))


def test_the_model_is_not_changed(gen):
    x, y = regression(gen)
    model = linear()
    before = model.weight.clone()
    mean_negative_log_joint(model, {"weight": torch.zeros(1, 3).double()}, x, y, num_data=20, **LAWS)
    assert torch.equal(model.weight, before)


def test_names_are_the_bare_networks_where_it_is_compiled(gen):
    x, y = regression(gen)
    bare = nn.Sequential(linear())
    whole, part = (
        torch.compile(bare, backend="eager"),
        nn.Sequential(torch.compile(linear(), backend="eager")),
    )
    part[0].load_state_dict(bare[0].state_dict(), strict=False)
    laws = {"likelihood": Gaussian(0.5), "prior": GaussianPrior({"0.weight": 2.0}), "num_data": 20}
    theta = {"0.weight": bare[0].weight.detach() + 1}
    want = mean_negative_log_joint(bare, theta, x, y, **laws)
    for model in (whole, part):
        torch.testing.assert_close(mean_negative_log_joint(model, theta, x, y, **laws), want)
        raw = {name: theta["0.weight"] for name, _ in model.named_parameters()}
        torch.testing.assert_close(mean_negative_log_joint(model, raw, x, y, **laws), want)


MODEL = nn.Linear(3, 1)
GOOD = {
    "model": MODEL,
    "params": dict(MODEL.named_parameters()),
    "x": torch.zeros(4, 3),
    "y": torch.zeros(4, 1),
    "likelihood": Gaussian(1.0),
    "prior": FlatPrior(),
    "num_data": 10,
}


@pytest.mark.parametrize("function", [log_joint, mean_negative_log_joint])
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": 3}, TypeError, "model must be a torch.nn.Module"),
        ({"params": [1]}, TypeError, "params must map names to tensors"),
        (
            {"params": {"stranger": torch.zeros(1)}},
            ValueError,
            r"params must name parameters of the model, got \['stranger'\]",
        ),
        ({"params": {}}, ValueError, "params must not be empty"),
        ({"num_data": 0}, ValueError, "num_data must be finite and above 0"),
        ({"num_data": "all"}, TypeError, "num_data must be a number"),
        ({"temperature": 0.0}, ValueError, "temperature must be finite and above 0"),
        ({"temperature": -1.0}, ValueError, "temperature must be finite and above 0"),
        ({"y": torch.zeros(4)}, ValueError, "target must have the shape of the output"),
        (
            {"x": torch.zeros(0, 3), "y": torch.zeros(0, 1)},
            ValueError,
            "at least one datum, got an empty batch",
        ),
    ],
)
def test_refusals(function, change, error, match):
    a = GOOD | change
    positional = [a.pop(name) for name in ("model", "params", "x", "y")]
    with pytest.raises(error, match=match):
        function(*positional, **a)
