"""Networks and training runs that the tests of collectors share."""

import copy

import torch
from torch import Tensor, nn


def network(dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Sequential:
    """Two layers, 13 parameters, drawn without touching the global generator."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).to(dtype)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=random, dtype=torch.float64))
    return net


def flat(net: nn.Module) -> Tensor:
    """θ as one float64 vector, a copy."""
    return torch.cat([p.detach().double().reshape(-1) for p in net.parameters()])


def walk(net: nn.Module, *, steps: int, seed: int = 1, spread: float = 0.3):
    """Move the parameters around their start in correlated steps, and yield after each."""
    start = copy.deepcopy(list(net.parameters()))
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        shared = torch.randn((), generator=random, dtype=torch.float64)
        for p, p0 in zip(net.parameters(), start, strict=True):
            noise = torch.randn(p.shape, generator=random, dtype=torch.float64)
            p.data.copy_(p0.data.double() + spread * (noise + shared))
        yield


def train(net: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int, seed: int = 2) -> list[Tensor]:
    """Train on a small regression with fixed batches; return the iterate after every step."""
    random = torch.Generator().manual_seed(seed)
    dtype = next(net.parameters()).dtype
    iterates = []
    for _ in range(steps):
        x = torch.randn(8, 2, generator=random, dtype=torch.float64).to(dtype)
        optimizer.zero_grad()
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        iterates.append(flat(net))
    return iterates
