import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.nn.utils import prune

import bayessgd
from bayessgd import Ensemble, LowRankGaussian


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    net(3 * torch.randn(64, 2) + 1)
    return net


def bank(net, count=3):
    random = torch.Generator().manual_seed(0)
    return Ensemble(
        {k: p.detach() + torch.randn(count, *p.shape, generator=random) for k, p in net.named_parameters()}
    )


class Siamese(nn.Module):
    """One BatchNorm for two inputs."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x, z):
        return self.norm(x) - self.norm(z)


@pytest.fixture(autouse=True)
def forked():
    with torch.random.fork_rng():
        yield


def batches():
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return [(part, None) for part in x.split(25)]  # the last is shorter


@pytest.mark.parametrize("draw", [None, 0, 2])
def test_it_predicts_what_predict_does(draw):
    net = network()
    law, x = bank(net), torch.randn(5, 2)
    before = copy.deepcopy(net.state_dict())
    module = law.module(net, draw=draw, refresh_batchnorm=batches())
    values = law.mean if draw is None else {k: t[draw] for k, t in law.draws.items()}
    one = Ensemble({k: t[None] for k, t in values.items()})
    want = bayessgd.predict(net, one, x, num_samples=1, refresh_batchnorm=batches())[0]
    torch.testing.assert_close(module(x).detach(), want)
    assert not module.training
    assert net.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_the_statistics_are_means_over_the_data():
    net = network()
    module = bank(net).module(net, draw=1, refresh_batchnorm=batches())
    hidden = torch.cat([module[0](x) for x, _ in batches()]).detach()
    torch.testing.assert_close(module[1].running_mean, hidden.mean(0))
    parts = [module[0](x).detach() for x, _ in batches()]
    variance = sum(len(p) / 60 * p.var(0) for p in parts)  # torch's, unbiased within a batch
    torch.testing.assert_close(module[1].running_var, variance)


def test_it_is_ordinary_saved_exported_and_traced(tmp_path):
    net, x = network(), torch.randn(5, 2)
    module = bank(net).module(net, refresh_batchnorm=batches())
    torch.save(module.state_dict(), tmp_path / "net.pt")
    other = network().eval()
    other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
    want = module(x)
    assert torch.equal(other(x), want)
    torch.testing.assert_close(torch.jit.trace(module, (x,))(x), want)
    exported = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(exported(x), want)
    module.train()(x).sum().backward()  # its parameters train on
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("wrap", [lambda n: torch.compile(n, backend="eager"), DataParallel])
def test_what_wraps_a_network_is_left_behind(wrap):
    net = nn.Linear(2, 1)
    module = bank(net).module(wrap(net))
    assert type(module) is nn.Linear
    assert list(module.state_dict()) == ["weight", "bias"]


def test_a_part_leaves_the_rest_and_ties_stay():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 1))
    net[1].weight = net[0].weight
    law = Ensemble({"0.weight": torch.ones(1, 2, 2)})
    module = law.module(net)
    assert module[1].weight is module[0].weight
    assert torch.equal(module[1].weight, torch.ones(2, 2))
    assert torch.equal(module[2].weight, net[2].weight)


def test_dict_batches_refresh():
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, a, b):
            return self.norm(a + b)

    net = Keywords()
    law = Ensemble({k: p.detach()[None] for k, p in net.named_parameters()})
    data = [{"a": torch.randn(8, 2), "b": torch.randn(8, 2)}]
    found = law.module(net, refresh_batchnorm=data)
    torch.testing.assert_close(found.norm.running_mean, (data[0]["a"] + data[0]["b"]).mean(0))


def test_spectral_norms_vectors_are_those_of_the_drawn_weights():
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 8)), nn.Linear(8, 1)).eval()
    law, x = bank(net), torch.randn(5, 3)
    torch.testing.assert_close(law.module(net, draw=1)(x), bayessgd.predict(net, law, x)[1])


@pytest.mark.parametrize(
    "computing",
    [
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
        nn.utils.spectral_norm,
        pytest.param(
            nn.utils.weight_norm, marks=pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
        ),
    ],
)
def test_networks_that_hold_what_they_have_computed_are_copied(computing):
    net = nn.Sequential(computing(nn.Linear(3, 8)), nn.Linear(8, 1))
    law, x = bank(net), torch.randn(5, 3)
    net(x)  # leaves a weight with a graph
    net.eval()
    torch.testing.assert_close(law.module(net, draw=1)(x), bayessgd.predict(net, law, x)[1])
    chains = bayessgd.Chains(net, 2, jitter=0.0).eval()
    torch.testing.assert_close(chains(x, shared=True)[1], net(x))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(5, 4), nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x):
        return self.head(self.norm(self.embedding(x)))


@pytest.mark.filterwarnings("error")
def test_members_from_bare_state_dicts_keep_their_statistics_and_ties():
    x, nets = torch.arange(5), [Tied(), Tied()]
    for net in nets:
        net(x)
        net.eval()
    law = Ensemble.of_modules([net.state_dict() for net in nets])
    for i, net in enumerate(nets):
        module = law.module(nets[0], draw=i)
        torch.testing.assert_close(module(x), net(x))
        assert module.head.weight is module.embedding.weight
    with pytest.warns(UserWarning, match="pass refresh_batchnorm=train_loader"):
        law.module(nets[0])  # a mean of statistics is none of the mean's


def test_a_layer_that_a_pass_calls_twice_has_the_mean_over_both():
    net = Siamese()
    law = Ensemble({k: p.detach()[None] for k, p in net.named_parameters()})
    x, z = torch.randn(7, 2), torch.randn(7, 2) + 5
    module = law.module(net, draw=0, refresh_batchnorm=[(x[:4], z[:4]), (x[4:], z[4:])])
    torch.testing.assert_close(module.norm.running_mean, (x + z).mean(0) / 2)


def test_a_single_datum_is_refused_and_empty_batches_are_passed_over():
    net = network()
    law, x = bank(net), torch.randn(6, 2)
    with pytest.raises(ValueError, match="refresh_batchnorm must have at least 2 data"):
        law.module(net, draw=0, refresh_batchnorm=x[:1])
    found = law.module(net, draw=0, refresh_batchnorm=[x[:0], x])
    torch.testing.assert_close(found[1].running_mean, found[0](x).detach().mean(0))
    with pytest.raises(ValueError, match="must yield batches, got none"):
        law.module(net, draw=0, refresh_batchnorm=[x[:0]])


def test_statistics_that_nothing_made_are_warned_of():
    net = network()
    with pytest.warns(UserWarning, match="pass refresh_batchnorm=train_loader"):
        bank(net).module(net)


def test_refusals_and_the_remedy_of_a_law_without_numbers():
    net = nn.Linear(2, 1)
    law = bank(net)
    one = {k: t[0] for k, t in law.draws.items()}
    gaussian = LowRankGaussian(one, {k: torch.ones_like(t) for k, t in one.items()})
    with pytest.raises(TypeError, match=r"Ensemble\(posterior.sample\(n\)\)"):
        gaussian.module(net, draw=0)
    drawn = Ensemble(gaussian.sample(2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(drawn.module(net, draw=1).weight, drawn.draws["weight"][1])
    with pytest.raises(ValueError, match="draw"):
        law.module(net, draw=3)
    with pytest.raises(ValueError, match=r"unknown \['bias'\]; it is of another network"):
        law.module(nn.Linear(2, 1, bias=False))
    with pytest.raises(ValueError, match=r"shape \[1, 3\] of the model's weight, got \[1, 2\]"):
        law.module(nn.Linear(3, 1))
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module"):
        law.module(3)
    bn = network()
    with pytest.raises(ValueError, match="must yield batches, got none"):
        bank(bn).module(bn, refresh_batchnorm=[])
