"""The conformity table: a row per architecture, a test per job.

Every job must agree with a Python loop over copies of the network, to 1e-6 of the largest number in float32, or be
refused in words that the row names. Where vmap cannot run a network, one warning says so and no other is given.
"""

import contextlib
import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import SWAG, Chains, Ensemble, Trajectory, calibrate, effective_temperature, predict, snapshots
from bayessgd._over import telling
from bayessgd.batchnorm import has_statistics
from bayessgd.calibration.curvature import curvature_in_span
from bayessgd.calibration.problem import Problem
from bayessgd.calibration.span import span_of
from bayessgd.likelihoods import mean_negative_log_joint
from bayessgd.noise import per_example_gradients
from bayessgd.params import named_parameters
from bayessgd.priors import GaussianPrior
from bayessgd.reference import nuts
from tests.bayessgd.conformity.architectures import ROWS, N, built
from tests.bayessgd.conformity.plain import called, draws_of, loaded, potential, refreshed, rows

PRECISION = 2.0

each_architecture = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


def close(found, truth, *, factor=1.0):
    """To 1e-6 of the largest number, or what `factor` makes of it; eight units in the last place at least."""
    scale = float(truth.abs().max()) or 1.0
    torch.testing.assert_close(found, truth, rtol=0, atol=factor * 1e-6 * max(scale, 1.0))


def data(row):
    gen = torch.Generator().manual_seed(1)
    return row.x(gen), row.y(gen)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def told(row, *, also=()):
    """Allow the one warning of a loop where the row says so, and those that begin like `also`."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    said = [str(w.message) for w in seen if issubclass(w.category, UserWarning)]
    loops = [s for s in said if "one by one" in s]
    assert len(loops) <= (1 if row.loops else 0), loops
    rest = [s for s in said if s not in loops and not s.startswith(tuple(also) or ("\0",))]
    assert not rest, rest


def collected(row, collector, net, *, steps=8):
    x, y = data(row)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.02)
    net.train()
    with torch.random.fork_rng(devices=[]), collector.attach(optimizer):
        torch.manual_seed(0)
        for _ in range(steps):
            optimizer.zero_grad()
            (-row.likelihood.log_prob(called(net, x, row.output), y).mean()).backward()
            optimizer.step()
    return collector.posterior()


def states(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def unchanged(net, before):
    now = net.state_dict()
    assert all(torch.equal(now[name], t) and type(now[name]) is torch.Tensor for name, t in before.items())


@each_architecture
def test_collect_and_predict(row):
    net = built(row)
    posterior = collected(row, SWAG(net, rank=4), net)
    x, _ = data(row)
    refresh = {"refresh_batchnorm": [x]} if has_statistics(net) else {}
    before, kept = states(net), copy.deepcopy(posterior.mean)
    found = []
    for chunk in (None, 1, 3):
        with told(row):
            found.append(
                predict(
                    net,
                    posterior,
                    x,
                    num_samples=4,
                    generator=seeded(),
                    output=row.output,
                    chunk_size=chunk,
                    **refresh,
                )
            )
    truth = []
    for draw in draws_of(posterior.sample(4, generator=seeded())):
        own = loaded(net, draw)
        own = refreshed(own, x) if refresh else own
        with torch.no_grad():
            truth.append(called(own, x, row.output))
    for outputs in found:
        close(outputs, torch.stack(truth))
    unchanged(net, before)
    assert all(torch.equal(posterior.mean[name], t) for name, t in kept.items())


@each_architecture
def test_an_ensemble_with_its_buffers_through_a_file(row, tmp_path):
    nets = [built(row, seed) for seed in range(3)]
    for net in nets:
        collected(row, SWAG(net, rank=0), net)
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                module.bias.data += torch.randn(module.bias.shape, generator=seeded()) * 0.1
        net.eval()
    x, _ = data(row)
    truth = []
    for net in nets:
        with torch.no_grad():
            truth.append(called(copy.deepcopy(net), x, row.output))
    law = Ensemble.of_modules(nets)
    law.save(tmp_path / "law")
    stranger = built(row, 9)
    stranger.load_state_dict(
        {n: t for n, t in nets[0].state_dict().items() if n not in law.draws}, strict=False
    )
    draws = copy.deepcopy(law.draws)
    for posterior in (
        law,
        bayessgd.load(tmp_path / "law"),
        Ensemble.of_modules([n.state_dict() for n in nets], model=nets[0]),
    ):
        with told(row):
            close(predict(stranger, posterior, x, output=row.output), torch.stack(truth))
    assert all(torch.equal(law.draws[name], t) for name, t in draws.items())


@each_architecture
def test_curvature_of_calibrate_in_its_span(row):
    net = built(row)
    posterior = collected(row, SWAG(net, rank=4), net)
    x, y = data(row)
    refresh = [x] if has_statistics(net) else None
    prior = GaussianPrior(PRECISION)
    problem = Problem(net, x, y, row.likelihood, prior, N, refresh, row.output)
    span = span_of(posterior)
    with told(row), telling():
        found = curvature_in_span(problem, posterior.mean, span)
    # J v by central differences in float64, over copies; H of −log p by autograd.
    double = copy.deepcopy(net).double()
    wide = _double(x)

    def output(theta):
        own = loaded(double, theta)
        own = refreshed(own, wide) if refresh else own
        with torch.no_grad():
            return called(own, wide, row.output)

    mean = {name: t.double() for name, t in posterior.mean.items()}
    basis = {name: t.double() for name, t in span.basis.items()}
    pushed = []
    for v in draws_of(basis):
        ahead, behind = (output({n: t + s * 1e-5 * v[n] for n, t in mean.items()}) for s in (1, -1))
        pushed.append((ahead - behind) / 2e-5)
    J = torch.stack(pushed)
    at = output(mean)
    target = y.double() if y.is_floating_point() else y
    H = torch.autograd.functional.hessian(lambda f: -row.likelihood.log_prob(f, target).sum(), at)
    H = H.reshape(at.numel(), at.numel())
    V = torch.cat([v.flatten(1) for v in basis.values()], 1)
    A = J.flatten(1) @ H @ J.flatten(1).T + PRECISION * V @ V.T
    values = torch.linalg.eigvalsh(A).flip(0)
    torch.testing.assert_close(found.values, values, rtol=2e-5, atol=2e-6 * float(values.max()))
    laws = {"likelihood": row.likelihood, "prior": prior, "output": row.output, "refresh_batchnorm": refresh}
    misfits = ("draws within the span", "U is no quadratic", "1 of", "2 of", "3 of", "4 of", "the mean is")
    with told(row, also=misfits):
        law = calibrate(net, posterior, x, y, **laws, num_samples=4, generator=seeded()).posterior
    assert all(torch.equal(law.mean[n], t) for n, t in posterior.mean.items())


def _double(x):
    if isinstance(x, dict):
        return {name: _double(part) for name, part in x.items()}
    if isinstance(x, tuple):
        return tuple(_double(part) for part in x)
    return x.double() if x.is_floating_point() else x


@each_architecture
def test_effective_temperature(row):
    net = built(row)
    iterates = collected(row, Trajectory(net), net, steps=4)
    x, y = data(row)
    net.eval()
    optimum = {name: p.detach().clone() for name, p in named_parameters(net).items()}
    prior = GaussianPrior(PRECISION)
    with told(row, also=("model has BatchNorm",)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*never move among")
        found = effective_temperature(
            net,
            iterates,
            x,
            y,
            likelihood=row.likelihood,
            prior=prior,
            optimum=optimum,
            output=row.output,
        )
    each = []
    for draw in draws_of({**iterates.draws, **iterates.buffers}):
        each.append(potential(loaded(net, draw, vectors=False), row, x, y, PRECISION))
    lowest = potential(loaded(net, {}, vectors=True), row, x, y, PRECISION)
    truth = 2 / found.directions * sum(u - lowest for u in each) / len(each)
    # A difference of energies of some hundred nats in float32.
    scale = max(abs(u) for u in each) * 2 / found.directions
    assert abs(found.value - truth) < 1e-6 * scale + 1e-6


@each_architecture
def test_per_example_gradients(row):
    net = built(row)
    x, y = data(row)

    def loss(output, target):
        return -row.likelihood.log_prob(output, target).sum()

    if "per example" in row.refused:
        with pytest.raises(ValueError, match=row.refused["per example"]):
            per_example_gradients(net.train(), loss, x, y, output=row.output)
    net.eval()
    before = states(net)
    with told(row):
        found = per_example_gradients(net, loss, x, y, output=row.output)
    unchanged(net, before)
    for i in range(N):
        own = copy.deepcopy(net)
        loss(called(own, rows(x, slice(i, i + 1)), row.output), y[i : i + 1]).backward()
        for name, p in own.named_parameters():
            if p.requires_grad:
                close(found[name][i], torch.zeros_like(p) if p.grad is None else p.grad)


@each_architecture
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_chains(row, training):
    net = built(row)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    chains = Chains(net, 3, jitter=0.1)
    chains.network.train(training)
    alone = [chains.chain(i).train(training) for i in range(3)]
    x, y = data(row)

    def loss(out, target):
        return -row.likelihood.log_prob(out if row.output is None else row.output(out), target).mean()

    with told(row):
        losses = chains.loss(loss, x, y, shared=True)
        losses.sum().backward()
    for i, own in enumerate(alone):
        single = -row.likelihood.log_prob(called(own, x, row.output), y).mean()
        single.backward()
        close(losses[i].detach(), single.detach())
        for name, p in own.named_parameters():
            if p.requires_grad:
                stacked = dict(chains.named_parameters())[name].grad[i]
                close(stacked, torch.zeros_like(p) if p.grad is None else p.grad, factor=2)
        for name, b in own.named_buffers():
            torch.testing.assert_close(dict(chains.named_buffers())[name][i], b)
    chains.network.eval()
    with told(row):
        outputs = chains(x, shared=True, output=row.output).detach()
    bank = chains.posterior()
    with told(row):
        again = predict(built(row, 0), bank, x, output=row.output)
    if not row.loops or "counting" not in type(net).__name__.lower():
        close(again, outputs)


@each_architecture
def test_snapshots(row):
    net = built(row).eval()
    x, y = data(row)
    laws = {"likelihood": row.likelihood, "prior": GaussianPrior(PRECISION), "output": row.output}
    before = states(net)
    with told(row, also=("not at equilibrium",)):
        law = snapshots(
            net, x, y, **laws, lr=1e-3, batch_size=4, passes=4, num_draws=4, num_chains=2, progress=False
        )
    unchanged(net, before)
    with told(row):
        found = predict(net, law, x, output=row.output)
    for outputs, draw in zip(found, draws_of({**law.draws, **law.buffers}), strict=True):
        with torch.no_grad():
            close(outputs, called(loaded(net, draw, vectors=False), x, row.output))
    # The gradient that drives a chain is that of a copy.
    chains = Chains(net, 2, jitter=0.1)
    chains.network.eval()
    joint = partial(mean_negative_log_joint, num_data=N, **laws)
    with told(row):
        values = chains.map(joint, x, y, shared=True)
    for i in range(2):
        own = chains.chain(i).eval()
        close(values[i].detach() * N, torch.tensor(potential(own, row, x, y, PRECISION), dtype=values.dtype))


SMALL = [name for name, row in ROWS.items() if row.sampled]


@pytest.mark.parametrize("name", SMALL)
def test_nuts(name):
    row = ROWS[name]
    net = built(row).eval()
    x, y = data(row)
    laws = {"likelihood": row.likelihood, "prior": GaussianPrior(PRECISION), "output": row.output}
    if "NUTS" in row.refused:
        with pytest.raises(ValueError, match=row.refused["NUTS"]):
            nuts(net, x, y, **laws, progress=False)
        return
    before = states(net)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="NUTS ended with|the gradient cannot be traced")
        law = nuts(
            net, x, y, **laws, num_samples=4, num_chains=1, num_warmup=2, max_tree_depth=2, progress=False
        )
    unchanged(net, before)
    with told(row):
        found = predict(net, law, x, output=row.output)
    for outputs, draw in zip(found, draws_of({**law.draws, **law.buffers}), strict=True):
        with torch.no_grad():
            close(outputs, called(loaded(net, draw, vectors=False), x, row.output))
