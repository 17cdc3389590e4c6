import pytest
import torch
from scipy.spatial.distance import cdist

from metrics.distances import distance_blocks, distances, off_diagonal


def clouds(gen, dtype=torch.float64, n=7, m=5, d=3):
    return torch.randn(n, d, dtype=dtype, generator=gen), torch.randn(m, d, dtype=dtype, generator=gen)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equals_scipy_in_double(gen, dtype, scale, offset):
    """Float32 inputs are exact in float64, so only the last rounding may differ."""
    x, y = (scale * (c + offset) for c in clouds(gen, dtype, 40, 30, 64))
    want = torch.as_tensor(cdist(x.double().numpy(), y.double().numpy()))
    # Summing 64 squares costs at most 64 roundings of the square, half of it after the root.
    rtol = torch.finfo(dtype).eps / 2 + 32 * torch.finfo(torch.float64).eps
    torch.testing.assert_close(distances(x, y).double(), want, rtol=rtol, atol=0)


def test_near_duplicates_far_from_the_origin_keep_their_distance(dtype):
    """The step 2⁻¹⁰ at 1000 is exact in float32; the fast form returns garbage for it."""
    x = torch.full((1, 50), 1000.0, dtype=dtype)
    y = x.clone()
    y[0, 0] += 2**-10
    assert distances(x, y).item() == 2**-10


def test_a_point_is_at_zero_from_itself_and_its_copies(gen, dtype):
    x = 1e3 * torch.randn(200, 17, dtype=dtype, generator=gen)
    xx = distances(x, x)
    assert torch.equal(xx.diagonal(), torch.zeros(200, dtype=dtype))
    assert torch.equal(xx, xx.T)
    assert torch.equal(distances(x, x.clone()).diagonal(), torch.zeros(200, dtype=dtype))


def test_gradient(gen):
    x, y = (c.requires_grad_() for c in clouds(gen))
    assert torch.autograd.gradcheck(distances, (x, y))


def test_gradient_of_the_gradient(gen):
    x, y = (c.requires_grad_() for c in clouds(gen))
    assert torch.autograd.gradgradcheck(distances, (x, y))


def test_gradient_by_functional_transform(gen):
    x, y = clouds(gen)
    got = torch.func.grad(lambda cloud: distances(cloud, y).square().sum())(x)
    torch.testing.assert_close(got, 2 * (len(y) * x - y.sum(0)))  # ∂/∂x Σ ‖x − y‖²


def test_gradient_far_from_the_origin(gen):
    """Steps of 0.01 at 5000: products of uncentred coordinates would keep ten digits of the sum of directions."""
    x, y = (5000.1 + 0.01 * torch.randn(2, 20, 3, dtype=torch.float64, generator=gen)).unbind()
    x.requires_grad_()
    distances(x, y).sum().backward()
    step = x.detach()[:, None] - y
    # Centred, 20 terms of about 1 each have 20 roundings; the mean itself is known to 1e-12, which cancels.
    torch.testing.assert_close(x.grad, (step / step.norm(dim=2, keepdim=True)).sum(1), rtol=0, atol=1e-12)


def test_gradient_is_zero_and_not_nan_between_copies(gen):
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    distances(x, x).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("block", [1, 5, 12, 10**6])
def test_blocks_make_the_whole(gen, block):
    x, y = clouds(gen)
    pieces = list(distance_blocks(x, y, block=block))
    assert torch.equal(torch.cat([rows for _, rows in pieces]), distances(x, y))
    assert [start for start, _ in pieces][:2] == [0, max(1, block // 5)][: len(pieces)]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_off_diagonal(n):
    square = torch.arange(float(n * n)).reshape(n, n)
    assert torch.equal(off_diagonal(square), square[~torch.eye(n, dtype=torch.bool)])


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 1), ValueError, r"x must have shape \[n, d\]"),
        (torch.zeros(3, 2), torch.zeros(2, 3), ValueError, "same number of columns"),
        (torch.zeros(0, 2), torch.zeros(2, 2), ValueError, "x must not be empty"),
        (torch.zeros(3, 2), torch.full((2, 2), torch.nan), ValueError, "y must be finite"),
        (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.float64), TypeError, "same dtype"),
        (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(2, 2), TypeError, "float32 or float64"),
        ([[0.0]], torch.zeros(2, 1), TypeError, "must be a torch.Tensor"),
    ],
)
def test_refusals(x, y, error, message):
    with pytest.raises(error, match=message):
        distances(x, y)
