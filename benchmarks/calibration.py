"""SWAG's width before and after `calibrate`: `python benchmarks/calibration.py [--out FILE]`.

Two generalised linear models on scikit-learn's data, features whitened to principal components: a linear regression
(diabetes) and a logistic regression (breast cancer), eight components each. SGD runs at constant learning rates around
the optimal one (`theory.optimal_learning_rate`), and with the exact preconditioner at shares of it; SWAG takes 400
snapshots, a relaxation apart. Per rate the standard deviations over NUTS's, smallest – largest over the weights and
their geometric mean, before and after. `calibrate` sets one number, the width: the shape is the sampler's, round for
plain SGD where C is like A, and the posterior's own for the preconditioned one.
"""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

# A script's own folder comes first on the path, where `bayessgd.py` would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from timing import machine
from torch import Tensor, nn
from torch.func import hessian

from bayessgd import SWAG, LowRankGaussian, calibrate, noise, reference, theory
from bayessgd.likelihoods import Bernoulli, Gaussian, mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import unflatten
from bayessgd.priors import GaussianPrior

BATCH, SNAPSHOTS = 32, 400


def problems() -> list[tuple[str, Tensor, Tensor, Gaussian | Bernoulli]]:
    found = []
    for name, load in (("diabetes, linear", load_diabetes), ("breast cancer, logistic", load_breast_cancer)):
        x, y = (torch.as_tensor(part, dtype=torch.float64) for part in load(return_X_y=True))
        x = (x - x.mean(0)) / x.std(0)
        u, _, _ = torch.linalg.svd(x, full_matrices=False)
        x = u[:, : min(8, u.shape[1])] * math.sqrt(len(x))
        y = y[:, None] if "logistic" in name else ((y - y.mean()) / y.std())[:, None]
        found.append((name, x, y, Bernoulli() if "logistic" in name else Gaussian(0.7)))
    return found


def at_optimum(x: Tensor, y: Tensor, loss: partial) -> tuple[nn.Linear, Tensor]:
    """Return the model at the optimum, and the curvature there."""
    net = nn.Linear(x.shape[1], 1, bias=False).double()
    like = {"weight": net.weight.detach()}

    def value(flat: Tensor) -> Tensor:
        return loss(net, unflatten(flat, like), x, y)

    theta = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(30):
        theta = theta - torch.linalg.solve(hessian(value)(theta), torch.func.grad(value)(theta))
    net.weight.data = theta[None].clone()
    return net, hessian(value)(theta)


def snapshots(net: nn.Linear, x: Tensor, y: Tensor, loss: partial, A: Tensor, H: Tensor) -> LowRankGaussian:
    """SGD from the optimum, a snapshot whenever the slowest direction has forgotten the last."""
    start = net.weight.detach().clone()
    optimizer = PreconditionedSGD(net.parameters(), preconditioner=H)
    every = max(1, math.ceil(1 / float(torch.linalg.eigvals(H @ A).real.min())))
    swag, random = SWAG(net, rank=20), torch.Generator().manual_seed(0)
    swag.attach(optimizer, every=every, start=3 * every)
    for _ in range((SNAPSHOTS + 3) * every):
        pick = torch.randint(len(x), (BATCH,), generator=random)
        optimizer.zero_grad()
        loss(net, dict(net.named_parameters()), x[pick], y[pick]).backward()
        optimizer.step()
    net.weight.data = start
    return swag.posterior()


def ratios(posterior: LowRankGaussian, truth: Tensor) -> str:
    found = posterior.marginal_variance["weight"][0].sqrt() / truth
    return f"{float(found.min()):.2f} – {float(found.max()):.2f}, {float(found.log().mean().exp()):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        machine(),
        "",
        "| data | sampler | rate | s* ± s.e. | SWAG's sd over NUTS's: smallest – largest, mean | calibrated |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name, x, y, likelihood in problems():
        laws = {"likelihood": likelihood, "prior": GaussianPrior(1.0)}
        loss = partial(mean_negative_log_joint, **laws, num_data=len(x))
        net, A = at_optimum(x, y, loss)
        draws = reference.nuts(net, x, y, **laws, num_samples=2000, num_chains=2, jitter=0.0, progress=False)
        truth = draws.draws["weight"][:, 0].std(0)
        C = noise.gradient_noise(
            net, lambda out, t, law=likelihood: -law.log_prob(out, t), x, y, correction=0
        ).covariance
        optimal = float(theory.optimal_learning_rate(C, num_data=len(x), batch_size=BATCH))
        exact = theory.optimal_preconditioner(C, num_data=len(x), batch_size=BATCH, A=A)
        plain = optimal * torch.eye(len(A), dtype=torch.float64)
        runs = [("SGD", plain, f) for f in (0.1, 1.0, 3.0)] + [
            ("preconditioned", exact, f) for f in (0.1, 0.3, 1.0)
        ]
        for kind, H, factor in runs:
            swag = snapshots(net, x, y, loss, A, factor * H)
            found = calibrate(
                net, swag, x, y, **laws, num_samples=500, generator=torch.Generator().manual_seed(1)
            )
            lines.append(
                f"| {name} | {kind} | {factor} | {found.scale:.3f} ± {found.stderr:.3f} | {ratios(swag, truth)} | "
                f"{ratios(found.posterior, truth)} |"
            )
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
