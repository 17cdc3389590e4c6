import pytest
import torch
from torch import nn

from bayessgd import params


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(3, 3)
        self.decode = nn.Linear(3, 3)
        self.decode.weight = self.encode.weight


class HoldsAModule(nn.Module):
    """An attribute called `module` is the user's, not a wrapper's."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 1)


def test_names_are_in_the_order_of_the_module_and_the_tensors_are_live(net):
    found = params.named_parameters(net)
    assert list(found) == NAMES
    assert all(found[name] is parameter for name, parameter in net.named_parameters())


def test_frozen_parameters_are_left_out_and_tied_ones_appear_once(net):
    net[0].weight.requires_grad_(False)
    assert list(params.named_parameters(net)) == NAMES[1:]
    assert list(params.named_parameters(Tied())) == ["encode.weight", "encode.bias", "decode.bias"]


@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        nn.DataParallel,
        lambda net: torch.compile(nn.DataParallel(net)),
        lambda net: nn.DataParallel(torch.compile(net)),
    ],
    ids=["compile", "parallel", "compile-parallel", "parallel-compile"],
)
def test_wrappers_leave_no_trace_in_the_names(net, wrap):
    wrapped = wrap(net)
    assert params.unwrap(wrapped) is net
    assert list(params.named_parameters(wrapped)) == NAMES


def test_a_compiled_part_leaves_no_trace_in_the_names(net):
    net[0] = torch.compile(net[0])
    assert list(params.named_parameters(net)) == NAMES
    assert list(params.named_parameters(HoldsAModule())) == ["module.weight", "module.bias"]


@pytest.mark.parametrize("lead", [(), (5,), (2, 3)])
def test_flatten_and_unflatten_are_inverses(net, lead, dtype, gen):
    like = {name: p.detach().to(dtype) for name, p in params.named_parameters(net).items()}
    draws = {name: torch.randn(*lead, *p.shape, dtype=dtype, generator=gen) for name, p in like.items()}
    flat = params.flatten(draws, like)
    assert flat.shape == (*lead, 26)
    # The concatenation, written out for the last draw.
    last = [draws[name].reshape(-1, p.numel())[-1] for name, p in like.items()]
    assert torch.equal(flat.reshape(-1, 26)[-1], torch.cat(last))
    back = params.unflatten(flat, like)
    assert list(back) == NAMES
    assert all(torch.equal(back[name], draws[name]) for name in like)


def test_flatten_follows_the_order_of_like():
    like = {"a": torch.zeros(1), "b": torch.zeros(2)}
    swapped = {"b": torch.tensor([2.0, 3.0]), "a": torch.tensor([1.0])}
    assert params.flatten(swapped, like).tolist() == [1.0, 2.0, 3.0]


def test_a_plain_tensor_is_its_own_shard():
    p = torch.zeros(2)
    assert params.local(p) is p
    assert params.gather(p, p) is p


LIKE = {"w": torch.zeros(2, 3), "b": torch.zeros(2)}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: params.named_parameters(torch.zeros(2)), TypeError, "must be a torch.nn.Module, got Tensor"),
        (lambda: params.named_parameters(nn.ReLU()), ValueError, "trainable parameters, got none"),
        (lambda: params.named_parameters(nn.LazyLinear(2)), ValueError, "weight is lazy; run one batch"),
        (
            lambda: params.named_parameters(nn.Linear(2, 1, dtype=torch.complex64)),
            ValueError,
            "real parameters, but weight is torch.complex64",
        ),
        (
            lambda: params.flatten({"w": torch.zeros(2, 3)}, LIKE),
            ValueError,
            r"missing \['b'\], unknown \[\]",
        ),
        (
            lambda: params.flatten({"w": torch.zeros(2, 2), "b": torch.zeros(2)}, LIKE),
            ValueError,
            r"params\['w'\] must have shape \[\.\.\., 2, 3\], got \[2, 2\]",
        ),
        (
            lambda: params.flatten({"w": torch.zeros(4, 2, 3), "b": torch.zeros(5, 2)}, LIKE),
            ValueError,
            r"share their leading dimensions, got \[\[4\], \[5\]\]",
        ),
        (lambda: params.unflatten(torch.zeros(9), LIKE), ValueError, r"shape \[\.\.\., 8\], got \[9\]"),
        (lambda: params.unflatten(torch.tensor(1.0), LIKE), ValueError, r"shape \[\.\.\., 8\], got \[\]"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_number_is_a_parameter_too():
    like = {"a": torch.zeros(()), "b": torch.zeros(2)}
    assert params.unflatten(torch.tensor([1.0, 2.0, 3.0]), like)["a"].shape == ()
    assert params.unflatten(torch.ones(5, 3), like)["a"].shape == (5,)
