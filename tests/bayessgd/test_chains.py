from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from bayessgd.chains import Chains
from bayessgd.collectors import IterateAverage
from bayessgd.likelihoods import Categorical, FlatPrior, Gaussian, GaussianPrior, mean_negative_log_joint
from bayessgd.optim import SGHMC, SGLD
from bayessgd.predict import predict

CHAINS, BATCH = 4, 6


def mlp(dtype=torch.float64):
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 3)
    ).double()


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def batches(steps, dtype=torch.float64):
    draw = partial(torch.randn, generator=gen(), dtype=dtype)
    return [(draw(CHAINS, BATCH, 3), draw(CHAINS, BATCH, 1)) for _ in range(steps)]


def assert_same(chains, alone, tolerance):
    for i, model in enumerate(alone):
        ours = dict(chains.chain(i).state_dict())
        for name, value in model.state_dict().items():
            torch.testing.assert_close(ours[name], value, rtol=tolerance, atol=tolerance)


# A batched product may sum in another order than a single one: a few ulp per step, over 20 steps. Adam divides
# by √v + eps, which can magnify them where a gradient is small.
@pytest.mark.parametrize(
    ("make", "ulps"),
    [
        (partial(torch.optim.SGD, lr=0.1), 1e3),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True), 1e3),
        (partial(torch.optim.Adam, lr=0.05), 1e5),
        (partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1), 1e5),
    ],
    ids=["sgd", "nesterov", "adam", "adamw"],
)
def test_each_chain_is_the_same_chain_run_alone(make, ulps, dtype):
    chains = Chains(mlp(dtype), CHAINS, seed=3)
    alone = [chains.chain(i) for i in range(CHAINS)]
    optimizer, optimizers = make(chains.parameters()), [make(m.parameters()) for m in alone]
    for x, y in batches(20, dtype):
        optimizer.zero_grad()
        losses = chains.loss(mse_loss, x, y)
        losses.sum().backward()
        optimizer.step()
        for i, (model, single) in enumerate(zip(alone, optimizers, strict=True)):
            single.zero_grad()
            loss = mse_loss(model(x[i]), y[i])
            torch.testing.assert_close(losses[i].detach(), loss.detach())
            loss.backward()
            single.step()
    assert_same(chains, alone, ulps * torch.finfo(dtype).eps)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_each_chain_of_sgld_and_sghmc_is_the_same_chain_with_its_noise(momentum):
    """Alone, a chain must get its rows of the stacked noise: SGD on the gradient plus what is drawn."""
    lr, num_data, steps = 0.1, 50, 10
    chains = Chains(mlp(), CHAINS, seed=3)
    alone = [chains.chain(i) for i in range(CHAINS)]
    if momentum == 0:
        optimizer = SGLD(chains.parameters(), lr, num_data=num_data, generator=gen(7))
    else:
        optimizer = SGHMC(chains.parameters(), lr, num_data=num_data, momentum=momentum, generator=gen(7))
    singles = [torch.optim.SGD(m.parameters(), lr, momentum=momentum) for m in alone]
    noise_source = gen(7)
    for x, y in batches(steps):
        optimizer.zero_grad()
        chains.loss(mse_loss, x, y).sum().backward()
        optimizer.step()
        noise = [torch.empty_like(p).normal_(generator=noise_source) for p in chains.parameters()]
        std = (2 * (1 - momentum) * lr / num_data) ** 0.5
        for i, (model, single) in enumerate(zip(alone, singles, strict=True)):
            single.zero_grad()
            mse_loss(model(x[i]), y[i]).backward()
            for p, xi in zip(model.parameters(), noise, strict=True):
                p.grad -= std / lr * xi[i]
            single.step()
    assert_same(chains, alone, 1e-12)


def test_buffers_are_kept_per_chain():
    """BatchNorm: training, running statistics and outputs in evaluation are those of chains alone."""
    chains = Chains(convnet(), CHAINS)
    alone = [chains.chain(i) for i in range(CHAINS)]
    optimizer = torch.optim.SGD(chains.parameters(), 0.1)
    singles = [torch.optim.SGD(m.parameters(), 0.1) for m in alone]
    x = torch.randn(3, CHAINS, 8, 1, 6, 6, generator=gen(), dtype=torch.float64)
    y = torch.randint(3, (3, CHAINS, 8), generator=gen())
    for xs, ys in zip(x, y, strict=True):
        optimizer.zero_grad()
        chains.loss(cross_entropy, xs, ys).sum().backward()
        optimizer.step()
        for i, (model, single) in enumerate(zip(alone, singles, strict=True)):
            single.zero_grad()
            cross_entropy(model(xs[i]), ys[i]).backward()
            single.step()
    assert_same(chains, alone, 1e-12)
    assert int(dict(chains.named_buffers())["1.num_batches_tracked"][0]) == 3
    chains.eval()
    outputs = torch.stack([m.eval()(x[0, 0]) for m in alone])
    torch.testing.assert_close(chains(x[0, 0], shared=True), outputs)


def test_a_collector_listens_to_the_chains():
    """Over time and chains: the average of every chain's iterates, under the model's names."""
    chains = Chains(mlp(), CHAINS)
    optimizer = torch.optim.SGD(chains.parameters(), 0.1)
    average, kept = IterateAverage(chains), []
    with average.attach(optimizer):
        for x, y in batches(5):
            optimizer.zero_grad()
            chains.loss(mse_loss, x, y).sum().backward()
            optimizer.step()
            kept.append(dict(chains.chain(2).named_parameters()))
    for name, mean in average.posterior().mean.items():
        torch.testing.assert_close(mean[2], torch.stack([k[name].detach() for k in kept]).mean(0))


def test_posterior_is_the_ensemble_of_the_chains():
    chains = Chains(mlp(), CHAINS)
    law = chains.posterior()
    draws = {name: p.detach().clone() for name, p in chains.named_parameters()}
    for p in chains.parameters():
        p.data.zero_()  # the ensemble keeps its own copy
    assert len(law) == CHAINS
    for name, drawn in law.sample(CHAINS).items():
        assert torch.equal(drawn, draws[name])


def test_one_shared_batch():
    chains = Chains(mlp(), CHAINS)
    x, y = batches(1)[0]
    own = chains.loss(mse_loss, x[:1].expand_as(x), y[:1].expand_as(y))
    torch.testing.assert_close(chains.loss(mse_loss, x[0], y[0], shared=True), own)
    assert chains(x[0], shared=True).shape == (CHAINS, BATCH, 1)


def test_map_gives_each_chain_its_own_log_joint():
    chains = Chains(mlp(), CHAINS)
    x, y = batches(1)[0]
    joint = partial(mean_negative_log_joint, likelihood=Gaussian(0.5), prior=GaussianPrior(2.0), num_data=100)
    losses = chains.map(joint, x, y)
    losses.sum().backward()
    for i in range(CHAINS):
        model = chains.chain(i)
        loss = joint(model, dict(model.named_parameters()), x[i], y[i])
        loss.backward()
        torch.testing.assert_close(losses[i].detach(), loss.detach())
        for name, p in model.named_parameters():
            torch.testing.assert_close(dict(chains.named_parameters())[name].grad[i], p.grad)


def test_dropout_masks_differ_between_chains():
    chains = Chains(nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5)), 2, jitter=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = chains(torch.ones(4, 3), shared=True)
    assert not torch.equal(outputs[0], outputs[1])


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    model[1].weight = model[0].weight
    chains = Chains(model, 2)
    assert [name for name, _ in chains.named_parameters()] == ["0.weight"]
    x = torch.randn(2, 5, 3, generator=gen(), dtype=torch.float64)
    w = dict(chains.named_parameters())["0.weight"]
    torch.testing.assert_close(chains(x), x @ (w @ w).mT)


def test_state_resumes_in_place():
    chains, other = Chains(convnet(), 3, seed=0), Chains(convnet(), 3, seed=1)
    kept = list(other.parameters())
    other.load_state_dict(chains.state_dict())
    assert all(a is b for a, b in zip(kept, other.parameters(), strict=True))
    assert all(torch.equal(other.state_dict()[k], v) for k, v in chains.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        Chains(convnet(), 2).load_state_dict(chains.state_dict())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"model": mse_loss}, TypeError, "model must be a torch.nn.Module, got function"),
        ({"num_chains": 0}, ValueError, "num_chains must be at least 1, got 0"),
        ({"seed": None}, TypeError, "seed must be an int, got NoneType"),
        ({"model": nn.ReLU()}, ValueError, "model must have parameters that require gradients"),
    ],
)
def test_refusals(arguments, error, match):
    with pytest.raises(error, match=match):
        Chains(**({"model": mlp(), "num_chains": 2} | arguments))


@pytest.mark.parametrize(
    ("fn", "shape", "match"),
    [
        (
            mse_loss,
            (3, 6, 3),
            r"x must have shape \[chains, batch, ...\] with 4 chains, got \[3, 6, 3\].*shared=True",
        ),
        (
            partial(mse_loss, reduction="none"),
            (4, 6, 3),
            r"fn must return a 0-dim tensor per chain, got \[6, 1\]",
        ),
    ],
)
def test_loss_refusals(fn, shape, match):
    chains = Chains(mlp(), CHAINS)
    with pytest.raises(ValueError, match=match):
        chains.loss(fn, torch.zeros(shape).double(), torch.zeros(4, 6, 1).double())


def test_refuses_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"x must be a torch.Tensor, got list"):
        Chains(mlp(), 2)([[1.0, 2.0, 3.0]])


def test_map_keeps_buffers_per_chain_too():
    chains, other = Chains(convnet(), 3), Chains(convnet(), 3)
    x = torch.randn(3, 8, 1, 6, 6, generator=gen(), dtype=torch.float64)
    y = torch.randint(3, (3, 8), generator=gen())
    joint = partial(mean_negative_log_joint, likelihood=Categorical(), prior=FlatPrior(), num_data=100)
    torch.testing.assert_close(chains.map(joint, x, y), other.loss(cross_entropy, x, y))
    for name, buffer in chains.named_buffers():
        assert torch.equal(buffer, dict(other.named_buffers())[name])
        assert name.startswith("1.")
    assert not torch.equal(*dict(chains.named_buffers())["1.running_mean"][:2])


def test_chain_refuses_an_index_beyond_the_last():
    with pytest.raises(ValueError, match=r"index must be below the number of chains, 4, got 4"):
        Chains(mlp(), CHAINS).chain(4)


def test_chains_of_a_compiled_network_have_the_bare_names():
    net = nn.Linear(2, 1)
    bare, compiled = (Chains(model, 2, seed=0) for model in (net, torch.compile(net, backend="eager")))
    assert [name for name, _ in compiled.named_parameters()] == ["weight", "bias"]
    assert torch.equal(compiled.posterior().draws["weight"], bare.posterior().draws["weight"])


class Wrapped(nn.Module):
    """A layer under the name that torch.compile gives it."""

    def __init__(self, layer):
        super().__init__()
        self._orig_mod = layer

    def forward(self, x):
        return self._orig_mod(x)


def test_chains_of_a_network_with_a_wrapped_layer_have_the_bare_names():
    layer = nn.BatchNorm1d(2)
    net = nn.Sequential(nn.Linear(2, 2), Wrapped(layer))
    chains, x = Chains(net, 2, jitter=0.1).eval(), torch.randn(5, 2)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [name for name, _ in chains.named_parameters()] == names
    assert [name for name, _ in chains.named_buffers()] == [f"1.{name}" for name, _ in layer.named_buffers()]
    law = chains.posterior()
    torch.testing.assert_close(predict(nn.Sequential(net[0], layer), law, x), chains(x, shared=True))
    torch.testing.assert_close(chains.chain(1)(x), chains(x, shared=True)[1])


def test_a_loss_that_fails_is_not_blamed_on_the_inputs():
    chains, x = Chains(nn.Linear(3, 1), 2), torch.randn(5, 3)
    with pytest.raises(ValueError, match=r"^Target size"):  # torch's, of a function of the user's own
        chains.loss(binary_cross_entropy_with_logits, x, torch.zeros(5), shared=True)
    with pytest.raises(ValueError, match=r"model cannot take inputs torch.float32 \[5, 2\]"):
        chains.loss(binary_cross_entropy_with_logits, x[:, :2], torch.zeros(5, 1), shared=True)
