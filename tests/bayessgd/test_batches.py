from collections import UserDict, namedtuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bayessgd import Ensemble, calibrate, effective_temperature, predict, snapshots
from bayessgd.batches import batches_of, whole
from bayessgd.calibration import potential
from bayessgd.collectors import SWAG
from bayessgd.likelihoods import Categorical, mean_negative_log_joint
from bayessgd.noise import gauss_newton, gradient_noise, hessian, per_example_gradients
from bayessgd.priors import GaussianPrior
from bayessgd.reference import nuts

LAWS = {"likelihood": Categorical(), "prior": GaussianPrior(1.0)}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(1, 2)

    def forward(self, x, z, scale=1.0):
        return scale * (self.left(x) + self.right(z))


class Dicts(Dataset):
    def __init__(self, x, z, y):
        self.x, self.z, self.y = x, z, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"x": self.x[i], "z": self.z[i], "labels": self.y[i]}


@pytest.fixture
def data(gen):
    x, z = torch.randn(10, 3, generator=gen), torch.randn(10, 1, generator=gen)
    return x, z, torch.randint(2, (10,), generator=gen)


def forms(x, z, y):
    """Every form in which people have the same data."""
    return {
        "tuple": ((x, z), y),
        "dict": ({"x": x, "z": z}, y),
        "dict with a flag": ({"x": x, "z": z, "scale": 1.0}, y),
        "encoding": (UserDict(x=x, z=z), y),
        "dict that holds its targets": ({"x": x, "z": z, "labels": y}, None),
        "loader of dicts": (DataLoader(Dicts(x, z, y), batch_size=4), None),
        "loader of tuples": (DataLoader(TensorDataset(x, z, y), batch_size=4), None),
        "pairs": ([((x[:7], z[:7]), y[:7]), ((x[7:], z[7:]), y[7:])], None),
        "pairs with a dict": ([({"x": x, "z": z}, y)], None),
        "generator": (
            ((xs, zs, ys) for xs, zs, ys in zip(x.split(4), z.split(4), y.split(4), strict=True)),
            None,
        ),
    }


FORMS = list(forms(*(torch.zeros(10, 1) for _ in range(3))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:the mean is .* deviations from the minimum")  # nothing was trained
def test_one_protocol_everywhere(form, data):
    net = Two()
    mean = {name: p.detach().clone() for name, p in net.named_parameters()}
    bank = Ensemble({n: torch.stack([t, 1.1 * t, 0.9 * t]) for n, t in mean.items()})
    swag = SWAG(net, rank=2)
    for factor in (1.0, 1.02, 0.97, 1.01):
        with torch.no_grad():
            for name, p in net.named_parameters():
                p.copy_(factor * mean[name])
        swag.update()
    law = swag.posterior()

    def given():
        return forms(*data)[form]

    plain = data[:2], data[2]
    loss = nn.functional.cross_entropy
    jobs = {
        "predict": lambda a, _: predict(net, bank, a),
        "potential": lambda a, b: potential(net, bank.draws, a, b, **LAWS),
        "temperature": lambda a, b: torch.tensor(
            effective_temperature(net, bank, a, b, **LAWS, optimum=mean).value
        ),
        "joint": lambda a, b: mean_negative_log_joint(
            net, dict(net.named_parameters()), a, b, **LAWS, num_data=10
        ),
        "gradients": lambda a, b: per_example_gradients(net, loss, a, b)["left.weight"],
        "noise": lambda a, b: gradient_noise(net, loss, a, b).trace,
        "hessian": lambda a, b: hessian(net, loss, a, b).matrix(),
        "gauss_newton": lambda a, b: gauss_newton(net, loss, a, b).matrix(),
        "calibrate": lambda a, b: torch.tensor(
            calibrate(net, law, a, b, **LAWS, num_samples=2, generator=torch.Generator().manual_seed(0)).scale
        ),
    }
    for name, job in jobs.items():
        torch.testing.assert_close(job(*given()), job(*plain), msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.filterwarnings("ignore:NUTS ended with", "ignore:not at equilibrium")
@pytest.mark.parametrize("form", ["dict", "loader of dicts", "loader of tuples"])
def test_samplers_take_the_same_forms(form, data):
    net, plain = Two(), (data[:2], data[2])
    runs = [
        lambda a, b: nuts(net, a, b, **LAWS, num_samples=4, num_warmup=2, num_chains=1, progress=False),
        lambda a, b: snapshots(
            net, a, b, **LAWS, lr=0.01, batch_size=5, passes=3, num_draws=3, progress=False
        ),
    ]
    for run in runs:
        found, truth = run(*forms(*data)[form]), run(*plain)
        for name, draws in truth.draws.items():
            torch.testing.assert_close(found.draws[name], draws)


def test_a_named_tuple_is_a_tuple(data):
    pair = namedtuple("pair", ["x", "z"])(*data[:2])
    net = Two()
    bank = Ensemble({n: p.detach()[None] for n, p in net.named_parameters()})
    torch.testing.assert_close(predict(net, bank, pair), predict(net, bank, data[:2]))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)),
        nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)),
    ],
)
def test_a_sequential_runs_once_where_its_input_comes_by_name(net, data):
    bank = Ensemble({n: p.detach() + torch.randn(2, *p.shape) for n, p in net.named_parameters()})
    truth = predict(net, bank, data[0])
    torch.testing.assert_close(predict(net, bank, {"input": data[0]}), truth)
    torch.testing.assert_close(predict(net, bank, [{"input": data[0], "labels": data[2]}]), truth)


class Pairs(TensorDataset):
    """(x, (y, w)), which a DataLoader makes lists of."""

    def __getitem__(self, index):
        x, y, w = super().__getitem__(index)
        return x, (y, w)


def test_a_pair_of_targets_from_a_loader_is_a_pair(data):
    (x, _, y), w = data, torch.rand(10)
    loader = DataLoader(Pairs(x, y, w), batch_size=4)
    _, (targets, weights) = whole(loader, None, nn.Linear(3, 2))
    assert torch.equal(targets, y)
    assert torch.equal(weights, w)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_target_is_refused_and_to_be_left_out(data):
    net, (x, _, y) = nn.Linear(3, 2), data
    params, index = dict(net.named_parameters()), torch.arange(10)
    with pytest.raises(
        TypeError, match=r"take Weighted.*, and leave out what is no target, such as an index"
    ):
        mean_negative_log_joint(net, params, [(x, y, index)], **LAWS, num_data=10)
    obeyed = mean_negative_log_joint(net, params, [(x, y)], **LAWS, num_data=10)
    assert torch.equal(obeyed, mean_negative_log_joint(net, params, x, y, **LAWS, num_data=10))


@pytest.mark.parametrize("pick", [0, "logits"])
def test_what_picks_nothing_is_refused(pick, data):
    net = nn.Linear(3, 2)
    bank = Ensemble({n: p.detach()[None] for n, p in net.named_parameters()})
    with pytest.raises(
        TypeError, match=r"output must be a function that picks a tensor, got .*lambda o: o\[0\]"
    ):
        predict(net, bank, data[0], output=pick)


def test_targets_are_told_from_inputs_by_what_forward_asks_for():
    x, z, y = torch.zeros(4, 3), torch.zeros(4, 1), torch.zeros(4)
    [one] = batches_of([(x, y)], nn.Linear(3, 1))
    assert one.inputs is x
    assert one.targets is y
    [two] = batches_of([(x, z, y)], Two())
    assert two.inputs[1] is z
    assert two.targets is y
    [weighted] = batches_of([(x, y, z)], nn.Linear(3, 1))
    assert weighted.targets[1] is z


class Conditional(nn.Module):
    """A network that takes a label, as class-conditional ones do."""

    def forward(self, x, label):
        return x + label


class Masked(nn.Linear):
    def forward(self, input, mask=None):
        return super().forward(input if mask is None else input * mask)


def test_what_might_be_an_optional_input_is_told(data, recwarn):
    (x, z, y), net = data, Masked(3, 2)
    mask = (z > 0).float()
    bank = Ensemble({n: p.detach()[None] for n, p in net.named_parameters()})
    with pytest.warns(UserWarning, match=r"if one is its mask, yield \(\(x, mask\), y\), or dicts"):
        dropped = predict(net, bank, [(x, mask, y)])
    torch.testing.assert_close(dropped, predict(net, bank, [(x, y)]))
    found = predict(net, bank, [((x, mask), y)])
    torch.testing.assert_close(found, predict(net, bank, {"input": x, "mask": mask}))
    assert not recwarn


def test_a_label_that_is_an_input_is_no_target():
    x, label, y = torch.zeros(4, 1), torch.ones(4, 1), torch.zeros(4)
    [batch] = batches_of({"x": x, "label": label, "target": y}, Conditional())
    assert batch.targets is y
    assert batch.inputs["label"] is label
    [own] = batches_of({"x": x, "label": label}, Conditional())
    assert own.targets is label  # a network that computes its own loss


NET = Two()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            [{"x": torch.zeros(2, 3), "zz": torch.zeros(2, 1)}],
            ValueError,
            r"got unknown \['zz'\]; rename or drop",
        ),
        (
            [{"x": torch.zeros(2, 3), "z": torch.zeros(2, 1), "label": torch.zeros(2), "y": torch.zeros(2)}],
            ValueError,
            r"must have one target, got \['label', 'y'\]; drop",
        ),
        ({"x": torch.zeros(2, 3), "mask": None}, ValueError, r"names, \['scale', 'x', 'z'\]"),
        (
            [(torch.zeros(2, 3),)],
            ValueError,
            r"the 2 inputs \['x', 'z'\].*got 1 entries; yield \(\(x, z\), y\)",
        ),
        (
            Dicts(*(torch.zeros(2, 3) for _ in range(3))),
            TypeError,
            "got Dicts; wrap it in a torch DataLoader",
        ),
        (torch.zeros(2, 3).numpy(), TypeError, "got ndarray; use torch.as_tensor"),
        ("text", TypeError, "got str"),
        ([3.0], TypeError, "got a batch of type float"),
        ([], ValueError, "x must yield batches, got none"),
    ],
)
def test_refusals(x, error, message):
    bank = Ensemble({n: p.detach()[None] for n, p in NET.named_parameters()})
    with pytest.raises(error, match=message):
        predict(NET, bank, x)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([torch.zeros(2, 3)], torch.zeros(2), TypeError, "x must be a torch.Tensor, got list.*and no y"),
        ([torch.zeros(2, 3)], None, ValueError, "y must be given, got None"),
        (torch.zeros(2, 3), None, ValueError, "y must be given, got None"),
        (
            [(torch.zeros(2, 3), torch.zeros(2)), (torch.zeros(2, 4), torch.zeros(2))],
            None,
            ValueError,
            r"one shape after the first dimension, got \[\(3,\), \(4,\)\]; pad them alike",
        ),
    ],
)
def test_refusals_of_whole_data(x, y, error, message):
    with pytest.raises(error, match=message):
        whole(x, y, nn.Linear(3, 1))


def test_outputs_of_different_lengths_are_refused_and_one_length_is_not():
    net = nn.Embedding(5, 2)
    bank = Ensemble({"weight": torch.randn(2, 5, 2)})
    batches = [torch.zeros(2, 3).long(), torch.zeros(2, 4).long()]
    with pytest.raises(ValueError, match=r"one shape after the batch, got \[\(3, 2\), \(4, 2\)\]; pad them"):
        predict(net, bank, batches)
    assert predict(net, bank, [nn.functional.pad(b, (0, 4 - b.shape[1])) for b in batches]).shape == (
        2,
        4,
        4,
        2,
    )
