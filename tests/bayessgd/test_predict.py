import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from bayessgd.params import named_parameters
from bayessgd.posteriors import Ensemble, LowRankGaussian, Mixture, load
from bayessgd.predict import predict


def mlp(dtype=torch.float32):
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).to(dtype)


def images():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def law(net, generator, *, rank=3) -> LowRankGaussian:
    mean = {name: p.detach().clone() for name, p in named_parameters(net).items()}

    def draw(*lead):
        return {
            k: 0.3 * torch.randn((*lead, *t.shape), dtype=t.dtype, generator=generator)
            for k, t in mean.items()
        }

    return LowRankGaussian(mean, {k: t.square() for k, t in draw().items()}, draw(rank))


def one_by_one(net, draws, x) -> Tensor:
    """The oracle: a copy of the network, loaded with each draw in turn."""
    outputs = []
    for i in range(len(next(iter(draws.values())))):
        own = copy.deepcopy(net).eval()
        own.load_state_dict({k: t[i] for k, t in draws.items()}, strict=False)
        with torch.no_grad():
            outputs.append(own(x))
    return torch.stack(outputs)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


class Holds(nn.Module):
    """The same network in a module of one's own, which runs under vmap and not as a plain perceptron."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("wrap", [lambda net: net, Holds], ids=["perceptron", "vmap"])
@pytest.mark.parametrize("chunk_size", [None, 1, 4, 7, 100])
def test_it_is_a_loop_over_the_draws(wrap, chunk_size, dtype, gen):
    net = wrap(mlp(dtype))
    posterior = law(net, gen)
    x = torch.randn(5, 3, dtype=dtype, generator=gen)
    ours = predict(net, posterior, x, num_samples=7, generator=seeded(), chunk_size=chunk_size)
    truth = one_by_one(net, posterior.sample(7, generator=seeded()), x)
    assert ours.shape == (7, 5, 2)
    assert ours.dtype == dtype
    # Matrix products of 8 terms in another order: a few units in the last place.
    torch.testing.assert_close(
        ours, truth, rtol=0, atol=float(truth.abs().max()) * 32 * torch.finfo(dtype).eps
    )


def test_a_draw_is_one_function_over_all_inputs(gen):
    # Elsewhere: weights drawn anew for every batch. Then two copies of one input get different predictions.
    net = mlp()
    posterior = law(net, gen)
    point = torch.randn(1, 3, generator=gen)
    x = torch.cat([point, torch.randn(300, 3, generator=gen), point])
    out = predict(net, posterior, x, num_samples=6, generator=gen)
    torch.testing.assert_close(out[:, 0], out[:, -1])
    anew = torch.cat(
        [predict(net, posterior, half, num_samples=6, generator=gen) for half in x.split(151)], 1
    )
    assert float((anew[:, 0] - anew[:, -1]).abs().max()) > 0.01


def test_a_bank_of_draws_is_the_same_functions_in_every_call(gen):
    net = mlp()
    bank = Ensemble(law(net, gen).sample(6, generator=gen))
    x = torch.randn(9, 3, generator=gen)
    whole = predict(net, bank, x, num_samples=6)
    pieces = torch.cat([predict(net, bank, part, num_samples=6) for part in x.split(4)], 1)
    torch.testing.assert_close(whole, pieces)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training, gen):
    net = nn.Sequential(images(), nn.Dropout(0.5)).train(training)
    net[0][1].eval()  # a mode of its own
    posterior = law(net, gen)
    state = copy.deepcopy(net.state_dict())
    modes = [m.training for m in net.modules()]
    momentum = net[0][1].momentum
    gradients = [p.requires_grad for p in net.parameters()]
    x = torch.randn(6, 1, 8, 8, generator=gen)
    before = torch.random.get_rng_state()
    predict(net, posterior, x, num_samples=3, generator=gen, refresh_batchnorm=[x])
    assert all(torch.equal(net.state_dict()[k], t) for k, t in state.items())
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == gradients
    assert net[0][1].momentum == momentum
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_model_is_left_as_it_was_by_an_error(gen):
    net = mlp().train()
    with pytest.raises(RuntimeError):
        predict(net, law(net, gen), torch.zeros(2, 99), num_samples=2)
    assert all(m.training for m in net.modules())


def test_dropout_is_off_and_stays_off_after_loading(gen, tmp_path):
    # Elsewhere: `eval()` forgotten on load.
    net = nn.Sequential(mlp(), nn.Dropout(0.5)).train()
    law(net, gen).save(tmp_path / "posterior")
    x = torch.randn(4, 3, generator=gen)
    posterior = load(tmp_path / "posterior")
    a, b = (predict(net, posterior, x, num_samples=3, generator=seeded()) for _ in range(2))
    assert torch.equal(a, b)
    assert bool((a != 0).all())


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
def test_batchnorm_is_refreshed_for_each_draw(chunk_size, gen):
    # The oracle is torch's own: update_bn on a copy of the network with each draw's weights.
    net = images()
    posterior = law(net, gen)
    data = TensorDataset(torch.randn(40, 1, 8, 8, generator=gen), torch.zeros(40))
    loader = DataLoader(data, batch_size=10)
    x = torch.randn(6, 1, 8, 8, generator=gen)
    ours = predict(
        net, posterior, x, num_samples=3, generator=seeded(), chunk_size=chunk_size, refresh_batchnorm=loader
    )
    draws = posterior.sample(3, generator=seeded())
    truth = []
    for i in range(3):
        own = copy.deepcopy(net)
        own.load_state_dict({k: t[i] for k, t in draws.items()}, strict=False)
        update_bn(loader, own)
        with torch.no_grad():
            truth.append(own.eval()(x))
    torch.testing.assert_close(ours, torch.stack(truth), rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match="running statistics belong to its own weights"):
        stale = predict(net, posterior, x, num_samples=3, generator=seeded())
    assert float((stale - ours).abs().max()) > 0.01


class Branches(nn.Module):
    """For batches of one size its way depends on the numbers, which vmap cannot follow."""

    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.size = size

    def forward(self, x):
        out = self.norm(self.linear(x))
        return -out if len(x) == self.size and out.sum() > 0 else out


@pytest.mark.parametrize("size", [5, 7, 12], ids=["first batch", "second batch", "inputs"])
def test_where_vmap_cannot_go_it_loops_and_says_so_once(size, gen):
    net = Branches(size)
    posterior = law(net, gen)
    x = torch.randn(12, 3, generator=gen)
    with pytest.warns(
        UserWarning, match="one by one, for vmap cannot run this model: vmap: It looks"
    ) as seen:
        ours = predict(
            net,
            posterior,
            x,
            num_samples=4,
            generator=seeded(),
            chunk_size=2,
            refresh_batchnorm=[x[:5], x[5:]],
        )
    assert len(seen) == 1
    draws = posterior.sample(4, generator=seeded())
    for i in range(4):
        own = copy.deepcopy(net)
        own.load_state_dict({k: t[i] for k, t in draws.items()}, strict=False)
        own.norm.train()
        with torch.no_grad():
            for part, seen_before in ((x[:5], 0), (x[5:], 5)):
                own.norm.momentum = len(part) / (seen_before + len(part))
                own(part)
            torch.testing.assert_close(ours[i], own.eval()(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_wrapped_models_predict_as_the_bare_one(wrap, gen):
    net = mlp()
    posterior = law(net, gen)
    x = torch.randn(5, 3, generator=gen)
    a, b = (predict(m, posterior, x, num_samples=4, generator=seeded()) for m in (net, wrap(net)))
    assert torch.equal(a, b)


def test_a_compiled_part_is_found_under_its_own_name(gen):
    net, part = mlp(), mlp()
    part.load_state_dict(net.state_dict())
    posterior = law(net, gen)
    part[0] = torch.compile(part[0], backend="eager")
    x = torch.randn(5, 3, generator=gen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vmap over a compiled part may have to loop
        b = predict(part, posterior, x, num_samples=4, generator=seeded())
    torch.testing.assert_close(predict(net, posterior, x, num_samples=4, generator=seeded()), b)


def test_parameters_outside_the_posterior_are_the_models_own(gen):
    net = mlp()
    net[0].requires_grad_(False)
    last = law(net, gen)
    assert list(last.mean) == ["2.weight", "2.bias"]
    x = torch.randn(5, 3, generator=gen)
    ours = predict(net, last, x, num_samples=3, generator=seeded())
    torch.testing.assert_close(ours, one_by_one(net, last.sample(3, generator=seeded()), x))


def test_tied_parameters_move_together(gen):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x))

    net = Tied()
    w = torch.randn(3, 2, 2, generator=gen)
    x = torch.randn(4, 2, generator=gen)
    out = predict(net, Ensemble({"first.weight": w}), x, num_samples=3)
    torch.testing.assert_close(out, torch.stack([x @ m.T @ m.T for m in w]))


def test_several_inputs_are_a_tuple(gen):
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(2, 4), nn.Linear(3, 4)

        def forward(self, a, b):
            return self.left(a) * self.right(b)

    net = Product()
    x = torch.randn(5, 2, generator=gen), torch.randn(5, 3, generator=gen)
    posterior = law(net, gen)
    ours = predict(net, posterior, x, num_samples=2, generator=seeded())
    draws = posterior.sample(2, generator=seeded())
    truth = [functional_call(net, {k: t[i] for k, t in draws.items()}, x) for i in range(2)]
    torch.testing.assert_close(ours, torch.stack(truth).detach())


@pytest.mark.parametrize(
    "posterior",
    [
        lambda net, gen: Mixture([law(net, gen), law(net, gen, rank=2)]),
        lambda net, gen: Ensemble(law(net, gen).sample(5, generator=gen)),
        lambda net, gen: law(net, gen).to(dtype=torch.float64),  # comes to the model's type
    ],
)
def test_anything_with_draws_will_do(posterior, gen):
    net = mlp()
    out = predict(net, posterior(net, gen), torch.randn(4, 3, generator=gen), num_samples=6, generator=gen)
    assert out.shape == (6, 4, 2)
    assert out.dtype == torch.float32
    assert not out.requires_grad


def test_the_predictive_of_a_linear_model_has_its_closed_form(gen):
    # f(x) = w·x + b with Gaussian (w, b): the covariance of f between inputs is XΣXᵀ, also across inputs.
    net = nn.Linear(2, 1).double()
    posterior = law(net, gen)
    x = torch.randn(4, 2, dtype=torch.float64, generator=gen)
    design = torch.cat([x, torch.ones(4, 1, dtype=torch.float64)], 1)
    truth = design @ posterior.to_distribution().covariance_matrix @ design.T
    n = 40_000
    out = predict(net, posterior, x, num_samples=n, generator=gen).squeeze(-1)
    centred = out - design @ torch.cat([net.weight[0], net.bias]).detach()
    d = truth.diagonal()
    error = ((d[:, None] * d + truth.square()) / n).sqrt()
    assert bool(((centred.T @ centred / n - truth).abs() < 5 * error).all())


X = torch.zeros(2, 3)


def bank(**draws):
    return Ensemble(draws or {k: p.detach()[None] for k, p in named_parameters(mlp()).items()})


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        return self.linear(x), x


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: predict("net", bank(), X), TypeError, "model must be a torch.nn.Module, got str"),
        (
            lambda: predict(mlp(), {"0.weight": X}, X),
            TypeError,
            r"posterior must have sample\(n, generator=\)",
        ),
        (lambda: predict(mlp(), bank(), [1.0]), TypeError, r"x must be a tensor \[batch, \.\.\.\]"),
        (lambda: predict(mlp(), bank(), ()), TypeError, "or a tuple of them, got \\[\\]"),
        (lambda: predict(mlp(), bank(), torch.tensor(1.0)), TypeError, "x must be a tensor"),
        (lambda: predict(mlp(), bank(), X, num_samples=0), ValueError, "num_samples must be at least 1"),
        (lambda: predict(mlp(), bank(), X, chunk_size=0), ValueError, "chunk_size must be at least 1"),
        (lambda: predict(mlp(), bank(v=torch.ones(1)), X), ValueError, r"got unknown \['v'\]"),
        (
            lambda: predict(nn.Linear(3, 1), bank(weight=torch.ones(4, 2, 2)), X),
            ValueError,
            r"shape \[1, 3\] of the model's weight, got \[2, 2\]",
        ),
        (
            lambda: predict(TwoOutputs(), bank(**{"linear.bias": torch.ones(1, 1)}), X),
            TypeError,
            "model must return one tensor, got tuple",
        ),
        (
            lambda: predict(
                images(),
                bank(**{"5.bias": torch.ones(1, 2)}),
                torch.zeros(1, 1, 8, 8),
                refresh_batchnorm=iter(()),
            ),
            ValueError,
            "must yield batches, got none; pass a loader",
        ),
        # The network's own error, and no word of vmap.
        (lambda: predict(mlp(), bank(), torch.zeros(2, 9)), RuntimeError, "mat1 and mat2 shapes"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_linearised_predictions_of_a_gaussian_have_their_closed_form(gen):
    # f(x; m) + J(x)(θ − m) is Gaussian with covariance J Σ Jᵀ, whatever the network.
    net = mlp(torch.float64)
    posterior = law(net, gen)
    x = torch.randn(4, 3, generator=gen, dtype=torch.float64)
    found = predict(net, posterior, x, num_samples=20000, generator=gen, linearised=True).flatten(1)
    jacobian = torch.func.jacrev(lambda t: functional_call(net, t, (x,)).flatten())(posterior.mean)
    J = torch.cat([jacobian[name].flatten(1) for name in posterior.mean], 1)
    exact = J @ posterior.to_distribution().covariance_matrix @ J.T
    spread = exact.diagonal().sqrt()
    centre = functional_call(net, posterior.mean, (x,)).flatten()
    assert bool(((found.mean(0) - centre).abs() < 5 * spread / 20000**0.5).all())
    # A covariance's error is at most √(2/n) of σᵢσⱼ.
    assert bool(((found.T.cov() - exact).abs() < 5 * (2 / 20000) ** 0.5 * spread[:, None] * spread).all())


def test_linearised_predictions_of_a_linear_network_are_its_predictions(gen):
    net = nn.Linear(3, 2).double()
    posterior = law(net, gen)
    x = torch.randn(4, 3, generator=gen, dtype=torch.float64)
    plain, linear = (
        predict(net, posterior, x, num_samples=9, generator=seeded(), linearised=choice)
        for choice in (False, True)
    )
    torch.testing.assert_close(linear, plain)


def test_refusal_to_linearise_without_a_mean(gen):
    class Draws:
        def sample(self, n, *, generator=None):
            return {"weight": torch.zeros(n, 1, 2), "bias": torch.zeros(n, 1)}

    with pytest.raises(TypeError, match="posterior must have a mean to linearise around, got Draws"):
        predict(nn.Linear(2, 1), Draws(), torch.zeros(1, 2), linearised=True)
