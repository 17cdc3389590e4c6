"""`predict` and networks that have buffers, write to themselves, or cannot run under vmap; how many draws it takes."""

import copy
import warnings
from collections import OrderedDict, deque

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.data import DataLoader, TensorDataset

from bayessgd import (
    SWAG,
    Chains,
    Ensemble,
    IterateAverage,
    LowRankGaussian,
    Mixture,
    Trajectory,
    calibrate,
    effective_temperature,
    load,
    predict,
    snapshots,
)
from bayessgd.likelihoods import Categorical, Gaussian
from bayessgd.params import named_parameters
from bayessgd.priors import GaussianPrior
from bayessgd.reference import nuts

ROUNDING = 1e-6
"""Of a few float32 operations, which members together may do in another order than one alone; members differ by .1."""

LAWS = {"likelihood": Categorical(), "prior": GaussianPrior(1.0)}


ONE = Ensemble({"0.weight": torch.ones(2, 1, 1)})


def normed():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def bank_of(net, count, generator):
    return Ensemble(
        {
            n: p.detach() + 0.3 * torch.randn(count, *p.shape, generator=generator)
            for n, p in named_parameters(net).items()
        }
    )


def trained(count, generator):
    nets = [normed() for _ in range(count)]
    for net in nets:
        for _ in range(3):
            net(2 * torch.randn(20, 3, generator=generator) + 1)
    return [net.eval() for net in nets]


def outputs(nets, x):
    with torch.no_grad():
        return torch.stack([net(x) for net in nets])


def test_buffers_of_members_go_through_every_posterior(gen, tmp_path):
    nets, x = trained(3, gen), torch.randn(5, 3, generator=gen)
    truth = outputs(nets, x)
    law = Ensemble.of_modules(nets)
    parts = Mixture([Ensemble.of_modules([net]) for net in nets])
    parts.save(tmp_path / "parts")
    with_draws = Ensemble({**law.draws, **{n: b for n, b in law.buffers.items() if b.is_floating_point()}})
    for posterior in (
        law,
        law.to(dtype=torch.float64),
        parts,
        load(tmp_path / "parts"),
        with_draws,
        Ensemble.of_modules([net.state_dict() for net in nets]),
        Ensemble.of_modules([nn.DataParallel(net).state_dict() for net in nets], model=nets[0]),
    ):
        torch.testing.assert_close(predict(normed(), posterior, x), truth, rtol=ROUNDING, atol=ROUNDING)
    picked = predict(normed(), law, x, num_samples=7, generator=gen)
    assert all(any(torch.allclose(p, t, rtol=ROUNDING, atol=ROUNDING) for t in truth) for p in picked)
    before = truth.clone()
    nets[0][1].running_mean += 1  # the ensemble keeps copies
    torch.testing.assert_close(predict(normed(), law, x), before, rtol=ROUNDING, atol=ROUNDING)


class Around(nn.Module):
    """A network whose child has the name that DDP puts in front."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(3, 2)

    def forward(self, x):
        return self.module(x)


def test_members_in_a_module_list_are_members(gen):
    nets, x = trained(3, gen), torch.randn(5, 3, generator=gen)
    torch.testing.assert_close(
        predict(nets[0], Ensemble.of_modules(nn.ModuleList(nets)), x), outputs(nets, x)
    )


def test_a_linearised_ensemble_has_no_statistics_of_its_own(gen):
    nets, x = trained(2, gen), torch.randn(5, 3, generator=gen)
    law = Ensemble.of_modules(nets)
    with pytest.warns(UserWarning, match="model has BatchNorm, whose running statistics"):
        predict(nets[0], law, x, linearised=True)
    mean = law.module(nets[0], refresh_batchnorm=x)
    found = predict(nets[0], law, x, linearised=True, refresh_batchnorm=x).mean(0)  # the deviations sum to 0
    torch.testing.assert_close(found, mean(x).detach())


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel])
def test_a_child_named_module_is_no_wrapper(wrap, gen):
    nets, x = [Around(), Around()], torch.randn(5, 3, generator=gen)
    law = Ensemble.of_modules([wrap(net).state_dict() for net in nets], model=nets[0])
    torch.testing.assert_close(predict(nets[0], law, x), outputs(nets, x))


def test_a_trajectory_keeps_the_buffers_of_its_iterates(gen, tmp_path):
    net, x = normed(), torch.randn(20, 3, generator=gen)
    memory, file = Trajectory(net), Trajectory(net, path=tmp_path / "rows")
    copies = []
    for step in range(4):
        net.train()(x + step)
        with torch.no_grad():
            net[0].weight += 0.1
        for collector in (memory, file):
            collector.update()
        copies.append(copy.deepcopy(net).eval())
    again = Trajectory(net)
    again.load_state_dict(memory.state_dict())
    for collector in (memory, file, again):
        found = predict(normed(), collector.posterior(skip=1, thin=2), x)
        torch.testing.assert_close(found, outputs(copies[1::2], x))


def test_members_with_their_own_frozen_parts(gen):
    nets = trained(2, gen)
    for net in nets:
        net[0].requires_grad_(False)
    law, x = Ensemble.of_modules(nets), torch.randn(5, 3, generator=gen)
    assert "0.weight" in law.draws
    torch.testing.assert_close(predict(normed(), law, x), outputs(nets, x), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("legacy", [False, True])
def test_spectral_norm_follows_the_weights(legacy, gen):
    kind = nn.utils.spectral_norm if legacy else parametrizations.spectral_norm

    def make():
        return nn.Sequential(kind(nn.Conv2d(1, 3, 2)), nn.Flatten(), kind(nn.Linear(12, 2)))

    nets, x = [make() for _ in range(3)], torch.randn(4, 1, 3, 3, generator=gen)
    for net in nets:
        for _ in range(500):
            net(x)
        net.eval()
    draws = {
        n: torch.stack([dict(net.named_parameters())[n].detach() for net in nets])
        for n, _ in nets[0].named_parameters()
    }
    found = predict(nets[0], Ensemble(draws), x)  # no vectors of its own: those of each weight
    torch.testing.assert_close(found, outputs(nets, x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(predict(make(), Ensemble.of_modules(nets), x), outputs(nets, x))


class Writes(nn.Module):
    """It writes to everything that it has."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("level", torch.tensor(1.0))
        self.register_buffer("count", torch.zeros(()))
        self.cache, self.seen, self.plain = {}, [], torch.zeros(2)
        self.window, self.named, self.held = deque(maxlen=3), OrderedDict(), [torch.zeros(2)]

    def forward(self, x):
        with torch.no_grad():
            self.layer.weight.mul_(0.9)
            self.frozen.mul_(0.5)
            self.plain.add_(1.0)
        out = self.layer(x) * self.frozen * (self.level + self.count + self.plain + self.held[0])
        out = out + len(self.window) + len(self.named)
        self.held[0].add_(1.0)
        self.window.append(out)
        self.named["x"] = out
        self.level = self.level + x.mean()
        self.count += 1
        self.cache["x"], self.new = out, 1
        self.seen.append(out)
        return out


@pytest.mark.parametrize("kind", ["ensemble", "gaussian"])
def test_nothing_is_changed_and_no_draw_sees_another(kind, gen):
    net, x = Writes(), torch.randn(4, 3, generator=gen)
    law = bank_of(net, 5, gen)
    if kind == "gaussian":
        law = LowRankGaussian(law.mean, {n: t.var(0) for n, t in law.draws.items()})
    pristine, kept = copy.deepcopy(net), copy.deepcopy(law)
    seed = torch.Generator()
    truth = []
    for i in range(5):
        own = copy.deepcopy(pristine).eval()
        draws = law.sample(5, generator=seed.manual_seed(1))
        own.load_state_dict({n: t[i] for n, t in draws.items()}, strict=False)
        with torch.no_grad():
            truth.append(own(x))
    for chunk in (None, 1, 2):
        given = x.clone()
        found = predict(net, law, given, num_samples=5, chunk_size=chunk, generator=seed.manual_seed(1))
        torch.testing.assert_close(found, torch.stack(truth))
        assert torch.equal(given, x)
        twice = predict(net, law, [x, x], num_samples=5, chunk_size=chunk, generator=seed.manual_seed(1))
        torch.testing.assert_close(twice, torch.stack(truth).repeat(1, 2, 1))
    assert all(torch.equal(t, net.state_dict()[n]) for n, t in pristine.state_dict().items())
    assert (net.cache, net.seen, hasattr(net, "new"), net.training) == ({}, [], False, True)
    assert (len(net.window), len(net.named), net.held[0].tolist()) == (0, 0, [0, 0])
    assert not net.plain.any()
    assert all(torch.equal(t, law.mean[n]) for n, t in kept.mean.items())
    net(x)  # and it still works
    copy.deepcopy(net.state_dict())


def test_the_calls_of_calibrate_and_its_kin_change_nothing_either(gen):
    net = normed().train()
    x, y = torch.randn(33, 3, generator=gen), torch.randint(2, (33,), generator=gen)
    swag, path = SWAG(net, rank=3), Trajectory(net)
    for _ in range(5):
        with torch.no_grad():
            for p in net.parameters():
                p += 0.02 * torch.randn(p.shape, generator=gen)
        net(x)
        swag.update()
        path.update()
    before = copy.deepcopy(net.state_dict())
    loader = DataLoader(TensorDataset(x, y), batch_size=16)  # its last batch is one datum
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="draws within the span|U is no quadratic|.*directions of the span"
        )
        calibrate(net, swag.posterior(), x, y, **LAWS, num_samples=2, refresh_batchnorm=loader)
    optimum = swag.posterior().mean
    found = effective_temperature(
        net, path.posterior(), x, y, **LAWS, optimum=optimum, refresh_batchnorm=loader
    )
    assert (found.directions, found.still) == (34, 0)
    assert all(torch.equal(t, net.state_dict()[n]) for n, t in before.items())
    assert net.training


def test_weights_that_never_move_are_told_and_left_out(gen):
    net, x = nn.Linear(3, 2, bias=False), torch.randn(9, 3, generator=gen)
    x[:, 0] = 0
    path = bank_of(net, 8, gen)
    path.draws["weight"][:, :, 0] = net.weight[:, 0].detach()
    optimum = {"weight": net.weight.detach()}
    laws = {"likelihood": Gaussian(1.0), "prior": GaussianPrior(1.0)}
    with pytest.warns(
        UserWarning, match="2 of 6 weights never move among the iterates and are left out of the 4"
    ):
        found = effective_temperature(net, path, x, torch.zeros(9, 2), **laws, optimum=optimum)
    less = nn.Linear(2, 2, bias=False)
    less.weight.data = net.weight.data[:, 1:].clone()
    alone = effective_temperature(
        less,
        Ensemble({"weight": path.draws["weight"][:, :, 1:]}),
        x[:, 1:],
        torch.zeros(9, 2),
        **laws,
        optimum={"weight": less.weight.detach()},
    )
    assert found.value == pytest.approx(alone.value, rel=1e-5)
    assert (found.directions, alone.directions) == (4, 4)


def test_refresh_joins_a_batch_of_one_and_refuses_a_single_datum(gen):
    net, x = normed(), torch.randn(65, 3, generator=gen)
    law = bank_of(net, 2, gen)
    found = predict(net, law, x, refresh_batchnorm=DataLoader(TensorDataset(x), batch_size=64))
    torch.testing.assert_close(found, predict(net, law, x, refresh_batchnorm=x))
    pairs = predict(net, law, x, refresh_batchnorm=list(x[:6].split(1)))
    torch.testing.assert_close(pairs, predict(net, law, x, refresh_batchnorm=list(x[:6].split(2))))
    with pytest.raises(ValueError, match="refresh_batchnorm must have at least 2 data"):
        predict(net, law, x, refresh_batchnorm=x[:1])
    used = predict(net, law, x, refresh_batchnorm=iter([x]), chunk_size=1)  # for both chunks
    torch.testing.assert_close(used, predict(net, law, x, refresh_batchnorm=x))


def test_how_many_draws(gen):
    net, x = nn.Linear(3, 2), torch.zeros(1, 3)
    members = bank_of(net, 7, gen)
    wide = LowRankGaussian(members.mean, {n: t.var(0) for n, t in members.draws.items()})
    still = LowRankGaussian(members.mean, {n: torch.zeros_like(t) for n, t in members.mean.items()})
    average = IterateAverage(net)
    average.update()
    point = average.posterior()
    cases = [
        (members, 7),
        (point, 1),
        (wide, 30),
        (still, 1),
        (Mixture([point] * 3), 3),
        (Mixture([wide] * 4), 32),
    ]
    for posterior, count in [
        *cases,
        (Mixture([members, point], weights=[7.0, 1.0]), 8),
        (Mixture([members, point]), 30),
    ]:
        assert len(predict(net, posterior, x)) == count
    assert torch.equal(predict(net, members, x), predict(net, members, x, num_samples=7))


def test_a_frozen_backbone_runs_once(gen):
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    net = nn.Sequential(Counted(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net[:2].requires_grad_(False)
    law, x = bank_of(net, 6, gen), torch.randn(5, 3, generator=gen)
    found = predict(net, law, x, chunk_size=2)
    assert len(calls) == 1
    torch.testing.assert_close(
        found,
        torch.stack([net[1](net[0](x)) @ w.T + b for w, b in zip(*law.draws.values(), strict=True)]).detach(),
    )


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def test_one_warning_however_often_it_loops(gen):
    net, x, y = Recurrent(), torch.randn(40, 5, 3, generator=gen), torch.randint(2, (40,), generator=gen)
    law = bank_of(net, 6, gen)
    swag = SWAG(net, rank=2)
    for i in range(4):
        with torch.no_grad():
            for n, p in net.named_parameters():
                p.copy_(law.draws[n][i])
        swag.update()
    chains = Chains(net, 3, jitter=0.1)

    def chained():
        for _ in range(3):
            chains.loss(nn.functional.cross_entropy, x, y, shared=True).sum().backward()

    for job in (
        lambda: predict(net, law, list(x.split(8)), chunk_size=2),
        lambda: calibrate(net, swag.posterior(), x, y, **LAWS, num_samples=2),
        chained,
    ):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            job()
        said = [w for w in seen if "one by one" in str(w.message)]
        assert len(said) == 1
        assert said[0].filename == __file__


def test_bfloat16_predicts_and_is_refused_where_its_rounding_decides(gen):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).bfloat16()
    swag = SWAG(net, rank=2)
    for _ in range(4):
        with torch.no_grad():
            for p in net.parameters():
                p += 0.1 * torch.randn(p.shape, generator=gen).bfloat16()
        swag.update()
    x, y = torch.randn(6, 3, generator=gen), torch.randint(2, (6,), generator=gen)
    law = swag.posterior()
    found = predict(net, law, x.bfloat16(), num_samples=3, generator=gen.manual_seed(1))
    draws = law.sample(3, generator=gen.manual_seed(1))
    for i, output in enumerate(found):
        own = copy.deepcopy(net)
        own.load_state_dict({n: t[i] for n, t in draws.items()})
        with torch.no_grad():
            torch.testing.assert_close(output, own(x.bfloat16()), rtol=2**-7, atol=2**-7)
    assert predict(net, law, x.bfloat16(), reduce="mean_probs").dtype == torch.float32
    jobs = [
        lambda: calibrate(net, law, x.bfloat16(), y, **LAWS),
        lambda: nuts(net, x.bfloat16(), y, **LAWS),
        lambda: snapshots(net, x.bfloat16(), y, **LAWS, lr=0.1, batch_size=2),
    ]
    for job in jobs:
        with pytest.raises(
            ValueError, match=r"float32 or float64 for .*got torch.bfloat16 .*pass model.float\(\)"
        ):
            job()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrate(net.float(), law, x, y, **LAWS, num_samples=2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Ensemble.of_modules([]), ValueError, "modules must not be empty"),
        (lambda: Ensemble.of_modules([1]), TypeError, "list of torch.nn.Modules, or of state dicts, got"),
        (
            lambda: Ensemble.of_modules({"a": normed()}),
            TypeError,
            r"a dict of them; pass list\(modules.values\(\)\)",
        ),
        (lambda: ONE.to(device="meta"), TypeError, "must hold numbers, got a tensor on the meta device"),
        (
            lambda: predict(
                nn.BatchNorm1d(1),
                Ensemble({"weight": torch.ones(1, 1)}),
                torch.ones(2, 1),
                refresh_batchnorm=True,
            ),
            TypeError,
            "or an iterable of batches, got bool",
        ),
        (
            lambda: Ensemble.of_modules([nn.Linear(1, 1), nn.Linear(2, 1)]),
            ValueError,
            r"one architecture, but modules\[1\] and modules\[0\] differ in the parameters \['weight'\]",
        ),
        (
            lambda: Ensemble.of_modules([nn.Linear(1, 1).state_dict()], model=normed()),
            ValueError,
            "all parameters of model, but lack",
        ),
        (
            lambda: Ensemble.of_modules(
                [{f"net.{n}": t for n, t in nn.Linear(1, 1).state_dict().items()}], model=nn.Linear(1, 1)
            ),
            ValueError,
            r"lack \['bias', 'weight'\].* the names without what a trainer put before them, such as 'net\.'",
        ),
        *[
            (job, ValueError, "is lazy; run one batch through it first")
            for job in (
                lambda: predict(nn.Sequential(nn.Linear(1, 1), nn.LazyLinear(2)), ONE, torch.ones(2, 1)),
                lambda: ONE.module(nn.Sequential(nn.Linear(1, 1), nn.LazyBatchNorm1d(affine=False))),
                lambda: Chains(nn.Sequential(nn.Linear(1, 1), nn.LazyBatchNorm1d(affine=False)), 2),
            )
        ],
        (
            lambda: predict(
                torch.export.export(nn.Linear(1, 1), (torch.ones(2, 1),)).module(), ONE, torch.ones(2, 1)
            ),
            TypeError,
            "must have an evaluation mode, got GraphModule: .* pass the module that was exported",
        ),
        (
            lambda: Ensemble({"w": torch.ones(2, 1)}, buffers={"b": torch.ones(3)}),
            ValueError,
            r"buffers\['b'\] must have a row for each of the 2 draws, got \[3\]",
        ),
        (
            lambda: Ensemble({"w": torch.ones(2, 1)}, buffers={"b": 1}),
            TypeError,
            r"buffers\['b'\] must be a tensor",
        ),
        (
            lambda: predict(
                nn.Linear(1, 1),
                Ensemble({"weight": torch.ones(1, 1, 1)}),
                torch.ones(1, 1),
                output=lambda o: {},
            ),
            TypeError,
            "output must pick a tensor, got dict",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
