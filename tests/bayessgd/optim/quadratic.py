"""The oracle of the law tests: a quadratic loss with batch noise and the law of its chains.

A recursion z ← F z + w with w ~ N(0, W) has the stationary covariance Z = F Z Fᵀ + W (a discrete Lyapunov
equation), solved here by its Kronecker form, which shares nothing with the packages.
"""

import torch

D = 3
LAYOUT = (2, 1)  # the parameters are two tensors, so that the order of a flat vector matters


def lyapunov(f, w):
    d = len(f)
    eye = torch.eye(d * d, dtype=f.dtype)
    return torch.linalg.solve(eye - torch.kron(f, f), w.reshape(-1)).reshape(d, d)


def momentum_covariance(a, h, m, w):
    """The θ block for v' = m·v − H·A·θ + w, θ' = θ + v': the pair (θ, v) is one linear recursion."""
    eye = torch.eye(len(a), dtype=a.dtype)
    f = torch.cat([torch.cat([eye - h @ a, m * eye], 1), torch.cat([-h @ a, m * eye], 1)])
    return lyapunov(f, torch.cat([torch.cat([w, w], 1)] * 2))[: len(a), : len(a)]


def problem(dtype=torch.float64):
    """A curvature with eigenvalues 0.5 to 2 and a gradient covariance that does not commute with it."""
    gen = torch.Generator().manual_seed(7)
    root = torch.randn(D, D, generator=gen, dtype=torch.float64)
    q, _ = torch.linalg.qr(root)
    a = q @ torch.diag(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)) @ q.T
    b = torch.randn(D, D, generator=gen, dtype=torch.float64)
    return a.to(dtype), (b @ b.T + 0.2 * torch.eye(D, dtype=torch.float64)).to(dtype)


def parameters(chains, dtype=torch.float64):
    return [torch.zeros(chains, n, dtype=dtype, requires_grad=True) for n in LAYOUT]


def set_gradient(params, gradient):
    for p, g in zip(params, gradient.split(LAYOUT, -1), strict=True):
        p.grad = g.to(p.dtype).contiguous()


def flat(params):
    return torch.cat([p.detach() for p in params], 1)


def simulate(make, *, curvature, noise=None, chains=4_000, steps=200, seed=0, dtype=torch.float64):
    """Run independent chains from 0 and return the last iterates `[chains, D]`.

    `make(params, generator)` builds the optimizer; `noise` is the covariance of the batch gradient, C/S.
    """
    gen, batches = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    params = parameters(chains, dtype)
    optimizer = make(params, gen)
    root = None if noise is None else torch.linalg.cholesky(noise).T.to(dtype)
    for _ in range(steps):
        gradient = flat(params) @ curvature.to(dtype)
        if root is not None:
            gradient += torch.randn(chains, D, generator=batches, dtype=dtype) @ root
        set_gradient(params, gradient)
        optimizer.step()
    return flat(params).double()


def assert_law(samples, covariance, *, z=5.0):
    """Hold mean 0 and the covariance within z standard errors.

    The chains are independent, so n samples are n effective samples. For a Gaussian with known mean 0 the
    entries of Σθθᵀ/n have the variance (ΣᵢᵢΣⱼⱼ + Σᵢⱼ²)/n. Nine entries at z = 5 fail by chance once in 2·10⁵.
    """
    n = len(samples)
    diagonal = covariance.diagonal()
    stderr = ((diagonal[:, None] * diagonal + covariance**2) / n).sqrt()
    score = (samples.T @ samples / n - covariance) / stderr
    assert float(score.abs().max()) < z, f"covariance off by {score} standard errors"
    assert float((samples.mean(0) / (diagonal / n).sqrt()).abs().max()) < z
