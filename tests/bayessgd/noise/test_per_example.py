import pytest
import torch
from torch import nn
from torch.nn import functional as nnf

from bayessgd.noise import per_example_gradients


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def batch(gen, n=6, dtype=torch.float64):
    return torch.randn(n, 3, dtype=dtype, generator=gen), torch.randint(2, (n,), generator=gen)


def loop(model, loss, x, y):
    """One backward per datum."""
    rows = []
    for i in range(len(x)):
        model.zero_grad()
        loss(model(x[i : i + 1]), y[i : i + 1]).backward()
        rows.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    model.zero_grad()
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_agrees_with_one_backward_per_datum(gen, dtype):
    model, (x, y) = network(dtype), batch(gen, dtype=dtype)
    found = per_example_gradients(model, nnf.cross_entropy, x, y)
    expected = loop(model, nnf.cross_entropy, x, y)
    assert list(found) == list(expected) == [name for name, _ in model.named_parameters()]
    for name in expected:
        # The same sums in another order.
        torch.testing.assert_close(
            found[name], expected[name], rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=1e-7
        )


def test_every_reduction_of_one_datum_is_the_same(gen):
    model, (x, y) = network(), batch(gen)
    results = [
        per_example_gradients(model, lambda o, t, r=r: nnf.cross_entropy(o, t, reduction=r), x, y)["0.weight"]
        for r in ("mean", "sum", "none")
    ]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_mean_of_gradients_is_the_gradient_of_the_mean(gen):
    model, (x, y) = network(), batch(gen)
    nnf.cross_entropy(model(x), y).backward()
    found = per_example_gradients(model, nnf.cross_entropy, x, y)
    for name, p in model.named_parameters():
        torch.testing.assert_close(found[name].mean(0), p.grad)


def test_frozen_parameters_and_buffers_are_constants(gen):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double().eval()
    model[0].requires_grad_(False)
    x, y = batch(gen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = per_example_gradients(model, nnf.cross_entropy, x, y)
    assert set(found) == {"1.weight", "1.bias", "2.weight", "2.bias"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())


def test_tied_weights_count_once(gen):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    model[2].weight = model[0].weight
    x, y = batch(gen)
    found = per_example_gradients(model, nnf.cross_entropy, x, y)
    expected = loop(model, nnf.cross_entropy, x, y)
    assert list(found) == ["0.weight"]
    torch.testing.assert_close(found["0.weight"], expected["0.weight"])


def test_parameters_may_be_given(gen):
    model, (x, y) = network(), batch(gen)
    moved = network()
    with torch.no_grad():
        moved[0].weight += 1
    given = {"0.weight": moved[0].weight}
    found = per_example_gradients(model, nnf.cross_entropy, x, y, params=given)
    expected = per_example_gradients(moved, nnf.cross_entropy, x, y)
    assert list(found) == list(expected)
    torch.testing.assert_close(found["2.weight"], expected["2.weight"])


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False).eval()])
def test_refuses_batch_statistics(layer, gen):
    x, y = batch(gen, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"must not mix the data of a batch, got BatchNorm1d .* at '0'"):
        per_example_gradients(nn.Sequential(layer, nn.Linear(3, 2)), nnf.cross_entropy, x, y)


def test_refuses_dropout_in_training(gen):
    x, y = batch(gen, dtype=torch.float32)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="must be deterministic, got Dropout"):
        per_example_gradients(model, nnf.cross_entropy, x, y)
    per_example_gradients(model.eval(), nnf.cross_entropy, x, y)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(3, 1, dropout=0.5, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        h = x[:, None].expand(-1, 2, -1)
        return self.out(self.attention(h, h, h, need_weights=False)[0][:, 0])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.out = nn.GRU(3, 3, 2, dropout=0.5, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.cells(x[:, None])[0][:, 0])


@pytest.mark.filterwarnings("ignore:the data run one by one")
@pytest.mark.parametrize("make", [Attending, Recurrent, lambda: nn.Sequential(nn.Linear(3, 2), nn.RReLU())])
def test_refuses_dropout_within_layers_and_evaluation_mode_repeats(make, gen):
    (x, y), model = batch(gen, dtype=torch.float32), make()
    with pytest.raises(
        ValueError, match=r"must be deterministic, got (MultiheadAttention|GRU|RReLU) in training"
    ):
        per_example_gradients(model, nnf.cross_entropy, x, y)
    model.eval()
    one, other = (per_example_gradients(model, nnf.cross_entropy, x, y) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


LINEAR = nn.Linear(3, 2)
X, Y = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("model", "x", "y", "params", "error", "match"),
    [
        ("net", X, Y, None, TypeError, "model must be a torch.nn.Module"),
        (nn.Tanh(), X, Y, None, ValueError, "model must have trainable parameters"),
        (LINEAR, [1.0], Y, None, TypeError, "x must be a torch.Tensor"),
        (LINEAR, X, Y[:3], None, ValueError, "x and y must have the same length, got 4 and 3"),
        (LINEAR, X[:0], Y[:0], None, ValueError, "x must have shape"),
        (LINEAR, X, Y, [1], TypeError, "params must map names to tensors"),
        (LINEAR, X, Y, {"stranger": X}, ValueError, "params must name trainable parameters, got 'stranger'"),
        (LINEAR, X, Y, {"weight": X}, ValueError, r"params\['weight'\] must have shape \[2, 3\]"),
    ],
)
def test_refusals(model, x, y, params, error, match):
    with pytest.raises(error, match=match):
        per_example_gradients(model, nnf.cross_entropy, x, y, params=params)


def test_refuses_a_loss_with_several_numbers():
    with pytest.raises(ValueError, match=r"loss must return one number for one datum, got shape \[1, 2\]"):
        per_example_gradients(LINEAR, lambda o, t: o, X, Y)
