"""Runs the peers of `networks.py`, each by its own interpreter (`networks_peers.py`), and scores what they predict."""

import math
import subprocess
from pathlib import Path

import numpy as np
import torch
from networks_problems import Problem
from networks_scores import Scores, of_classes
from torch import Tensor

from bayessgd.likelihoods import Categorical

__all__ = ["beside"]

SCRIPT = Path(__file__).with_name("networks_peers.py")


def beside(p: Problem, peer: str, python: str, seed: int, truth: Tensor | None, folder: Path) -> Scores:
    """Train and predict with a peer, at as many passes as a member and its wandering have; return its scores."""
    stem = f"{p.name.replace(' ', '-')}-{peer}-{seed}"
    data, out = folder / f"{stem}-data.npz", folder / f"{stem}.npz"
    arrays = {"x": p.x, "y": p.y, "test": p.test_x, **p.outside}
    np.savez(data, **{name: t.numpy() for name, t in arrays.items()})  # pyright: ignore[reportArgumentType]
    passes, snapshots = round(p.passes + p.wander), round(p.wander)
    model = "lenet" if p.name.startswith("mnist") else p.name
    settings = {
        "--data": data,
        "--out": out,
        "--model": model,
        "--precision": p.precision,
        "--passes": passes - snapshots if peer == "swag" else passes,
        "--snapshots": snapshots,
        "--batch": p.batch,
        "--lr": p.rate,
        "--seed": seed,
        "--samples": 30,
    }
    words = [str(word) for pair in settings.items() for word in pair]
    subprocess.run([python, str(SCRIPT), peer, *words], check=True, capture_output=True)
    with np.load(out) as held:
        found = {name: torch.as_tensor(held[name]) for name in held.files if name != "peer"}
        note = str(held["peer"])
    data.unlink()
    cost = {
        "passes": float(found["passes"]),
        "seconds": float(found["train_seconds"]) + float(found["predict_seconds"]),
        "note": note,
    }
    if isinstance(p.likelihood, Categorical):
        return of_classes(p, found["test"], {name: found[name] for name in p.outside}, truth, cost)
    return _of_regression(p, found["test_mean"], found["test_variance"], cost)


def _of_regression(p: Problem, mean: Tensor, variance: Tensor, cost: dict) -> Scores:
    law = torch.distributions.Normal(mean.double(), variance.double().sqrt())
    points = math.log(len(mean)) - law.log_prob(p.test_y[:, 0]).logsumexp(0)
    return Scores(nll=float(points.mean()), points=points.tolist(), **cost)
