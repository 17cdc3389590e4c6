import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as nnf

from bayessgd.noise import Curvature, gauss_newton, hessian


def setting(gen, dtype=torch.float64):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).to(dtype)
    x, y = torch.randn(6, 3, dtype=dtype, generator=gen), torch.randint(3, (6,), generator=gen)
    return model, x, y


def flat_loss(model, x, y, loss):
    """The mean loss as a function of one flat vector."""
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def value(vector):
        parts = vector.split([s.numel() for s in shapes.values()])
        theta = {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        return loss(functional_call(model, theta, (x,)), y)

    return value, torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
def test_hessian_agrees_with_autograd(chunk_size, gen):
    model, x, y = setting(gen)
    value, theta = flat_loss(model, x, y, nnf.cross_entropy)
    expected = torch.autograd.functional.hessian(value, theta)
    A = hessian(model, nnf.cross_entropy, x, y, chunk_size=chunk_size)
    torch.testing.assert_close(A.matrix(), expected)
    torch.testing.assert_close(A.diagonal(), expected.diagonal())
    v = torch.randn(len(theta), dtype=torch.float64, generator=gen)
    torch.testing.assert_close(A.product(v), expected @ v)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_gauss_newton_of_a_softmax_is_its_fisher_information(chunk_size, gen):
    """The mean over data and labels drawn from the model of g gᵀ, summed over labels exactly."""
    model, x, y = setting(gen)
    value, theta = flat_loss(model, x, y, lambda output, _: output)
    J = torch.autograd.functional.jacobian(value, theta)  # [n, classes, p]
    p = value(theta).softmax(-1)
    score = torch.eye(3, dtype=torch.float64) - p[:, None]  # [n, label, logit]
    g = torch.einsum("nlc,ncp->nlp", score, J)
    fisher = torch.einsum("nl,nlp,nlq->pq", p, g, g) / len(x)
    A = gauss_newton(model, nnf.cross_entropy, x, y, chunk_size=chunk_size)
    torch.testing.assert_close(A.matrix(), fisher)


def test_the_two_agree_for_a_linear_network(gen):
    model = nn.Linear(3, 2).double()
    x, y = torch.randn(7, 3, dtype=torch.float64, generator=gen), torch.randint(2, (7,), generator=gen)
    torch.testing.assert_close(
        hessian(model, nnf.cross_entropy, x, y).matrix(),
        gauss_newton(model, nnf.cross_entropy, x, y).matrix(),
    )


def test_damping_is_the_priors_curvature(gen):
    model, x, y = setting(gen)
    plain = hessian(model, nnf.cross_entropy, x, y).matrix()
    for product in (hessian, gauss_newton):
        damped = product(model, nnf.cross_entropy, x, y, damping=0.3).matrix()
        undamped = product(model, nnf.cross_entropy, x, y).matrix()
        torch.testing.assert_close(damped - undamped, 0.3 * torch.eye(len(plain), dtype=torch.float64))


def test_float32_agrees_with_float64(gen):
    model, x, y = setting(gen)
    wide = hessian(model, nnf.cross_entropy, x, y).matrix()
    narrow = hessian(model.float(), nnf.cross_entropy, x.float(), y).matrix()
    assert narrow.dtype == torch.float32
    # Sums of 10 data of order one in float32.
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-6)


def test_hutchinson_is_unbiased_with_the_stated_variance(gen):
    root = torch.randn(6, 6, dtype=torch.float64, generator=gen)
    A = root @ root.T
    curvature = Curvature(product=lambda v: A @ v, size=6, like=A[0])
    estimate = curvature.diagonal(num_probes=20_000, generator=gen)
    off = A.square().sum(1) - A.diagonal().square()
    # Var(z_i Σ_j A_ij z_j) = Σ_{j≠i} A_ij².
    assert ((estimate - A.diagonal()).abs() < 4 * (off / 20_000).sqrt()).all()
    assert torch.equal(curvature.diagonal(num_probes=3), curvature.diagonal(num_probes=3))


def test_later_training_does_not_move_the_curvature(gen):
    model, x, y = setting(gen)
    A = hessian(model, nnf.cross_entropy, x, y)
    v = torch.ones(A.size, dtype=torch.float64)
    before = A.product(v)
    with torch.no_grad():
        model[0].weight += 1
    assert torch.equal(A.product(v), before)


MODEL, X, Y = nn.Linear(3, 2), torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize("make", [hessian, gauss_newton])
@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": 3}, TypeError, "model must be a torch.nn.Module"),
        ({"y": Y[:2]}, ValueError, "same length"),
        ({"damping": -1.0}, ValueError, "damping must be finite and at least 0"),
        ({"damping": "1"}, TypeError, "damping must be a number"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        ({"params": {"stranger": X}}, ValueError, "params must name"),
    ],
)
def test_refusals(make, change, error, match):
    arguments = {"model": MODEL, "x": X, "y": Y} | change
    with pytest.raises(error, match=match):
        make(arguments.pop("model"), nnf.cross_entropy, arguments.pop("x"), arguments.pop("y"), **arguments)


def test_refuses_vectors_and_sizes():
    A = hessian(MODEL, nnf.cross_entropy, X, Y)
    with pytest.raises(ValueError, match=r"vector must have shape \[8\]"):
        A.product(torch.zeros(7))
    with pytest.raises(ValueError, match="matrix must have at most 4096 rows"):
        Curvature(product=lambda v: v, size=5000, like=torch.zeros(1)).matrix()
    with pytest.raises(ValueError, match="num_probes must be at least 1"):
        A.diagonal(num_probes=0)
