"""Predictions with a known truth."""

import torch


def classes(n=600, samples=20, seed=0, k=4, sharpness=1.0):
    """Labels drawn from probabilities q, and posterior samples that scatter around q's logits times a sharpness."""
    random = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(n, k, generator=random, dtype=torch.float64) + torch.linspace(0, 1, k)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    noise = torch.randn(samples, n, k, generator=random, dtype=torch.float64)
    return (sharpness * logits + 0.3 * noise).softmax(-1), labels


def pair(n=600, seed=0):
    """Two models of the same labels: one near the truth, one too sure, with noise of their own."""
    good, labels = classes(n, seed=seed)
    sure, _ = classes(n, seed=seed, sharpness=2.0)
    return {"good": good, "sure": sure}, labels


def line(n=300, samples=30, seed=0):
    """Functions around sin 2x, outcomes with noise 0.3: (x, functions [samples, n], y)."""
    random = torch.Generator().manual_seed(seed)
    x = 4 * torch.rand(n, generator=random, dtype=torch.float64) - 2
    y = torch.sin(2 * x) + 0.3 * torch.randn(n, generator=random, dtype=torch.float64)
    f = torch.sin(2 * x) + 0.1 * torch.randn(samples, n, generator=random, dtype=torch.float64)
    return x, f, y
