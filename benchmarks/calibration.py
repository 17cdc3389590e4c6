"""SWAG's widths before and after `calibrate`, in the span and over all directions: `python benchmarks/calibration.py`.

Generalised linear models of eight weights: a linear regression (diabetes), two logistic ones (breast cancer, and digits
below five; all three from scikit-learn, features whitened to principal components) and a Poisson regression with the
log link on simulated data. From the optimum 64 chains of SGD run at constant rates, in units of the optimal one
(`theory.optimal_learning_rate`), or preconditioned by shares of (2S/N)·C⁻¹, which has the posterior's shape at any
small share, or by 2(A + NC/S)⁻¹, exact at a share of 1. SWAG takes their snapshots, a relaxation of the slowest
direction apart.

The bound is a standard deviation within [0.9, 1.1] of NUTS's, weight by weight. What misses it can be told apart:

- *error*: Monte-Carlo, no weight outside by more than two standard errors; NUTS's and the snapshots' come from the
  effective sample sizes of squared deviations, s*'s from its draws;
- *shape*: the sampler's, which one number cannot mend. It is predicted without any draw: Lyapunov's equation with the
  C and A of the optimum, SWAG's ½(Σ + diag Σ), s* of the quadratic, all over Laplace's standard deviation;
- *path*: neither; the iterates go where C and A are others (a posterior that is no Gaussian shows in NUTS's own table).
"""

import argparse
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from timing import machine
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.distributions import Poisson as PoissonLaw
from torch.func import grad, hessian

from bayessgd import SWAG, Chains, LowRankGaussian, calibrate, noise, reference, theory
from bayessgd.calibration.span import span_of, variance_along
from bayessgd.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, mean_negative_log_joint
from bayessgd.optim import PreconditionedSGD
from bayessgd.params import flatten, unflatten
from bayessgd.priors import GaussianPrior
from metrics.chains import monte_carlo_error

BATCH, CHAINS, SNAPSHOTS, PAIRS = 32, 64, 100, 2000
"""S; chains, snapshots of each and pairs of draws for s*: errors of 1.1 % and 0.6 % of a standard deviation."""


@dataclass(frozen=True)
class Poisson:
    """y ~ Poisson(exp(output)): a likelihood of one's own."""

    def __call__(self, output: Tensor) -> Distribution:
        """Return the law of the target."""
        return Independent(PoissonLaw(output.exp(), validate_args=False), output.ndim - 1)

    def log_prob(self, output: Tensor, target: Tensor) -> Tensor:
        """Return log p(target | output) of each datum [n]."""
        return self(output).log_prob(target)


@dataclass(frozen=True)
class Problem:
    """A generalised linear model at its optimum, with its curvature and gradient noise."""

    name: str
    net: nn.Linear
    x: Tensor
    y: Tensor
    likelihood: Likelihood
    A: Tensor
    C: Tensor

    @property
    def laws(self) -> dict:
        """Likelihood and prior, as keywords."""
        return {"likelihood": self.likelihood, "prior": GaussianPrior(1.0)}

    @property
    def loss(self) -> partial:
        """The mean negative log joint of a batch."""
        return partial(mean_negative_log_joint, **self.laws, num_data=len(self.x))

    @property
    def laplace(self) -> Tensor:
        """The standard deviations of N(θ*, (NA)⁻¹)."""
        return torch.linalg.inv(len(self.x) * self.A).diagonal().sqrt()


@dataclass(frozen=True)
class Spread:
    """Standard deviations [d] and their relative standard errors."""

    value: Tensor
    error: Tensor


def data() -> list[tuple[str, Tensor, Tensor, Likelihood]]:
    diabetes, cancer, digits = (
        [torch.as_tensor(part, dtype=torch.float64) for part in load(return_X_y=True)]
        for load in (load_diabetes, load_breast_cancer, load_digits)
    )
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 8, generator=random, dtype=torch.float64)
    x[:, 0] = 1
    rate = (x @ torch.tensor([1.0, 0.4, 0.3, -0.3, 0.2, -0.2, 0.1, 0.0], dtype=torch.float64)).exp()
    return [
        ("diabetes, linear", whitened(diabetes[0]), standardised(diabetes[1])[:, None], Gaussian(0.7)),
        ("breast cancer, logistic", whitened(cancer[0]), cancer[1][:, None], Bernoulli()),
        ("digits, logistic", whitened(digits[0]), (digits[1] < 5).double()[:, None], Bernoulli()),
        ("simulated, Poisson", x, torch.poisson(rate, generator=random)[:, None], Poisson()),
    ]


def standardised(t: Tensor) -> Tensor:
    return (t - t.mean(0)) / t.std(0)


def whitened(x: Tensor) -> Tensor:
    u, _, _ = torch.linalg.svd(standardised(x[:, x.std(0) > 0]), full_matrices=False)
    return u[:, :8] * math.sqrt(len(x))


def problem(name: str, x: Tensor, y: Tensor, likelihood: Likelihood) -> Problem:
    """Go to the optimum by Newton's method and measure there."""
    net = nn.Linear(x.shape[1], 1, bias=False).double()
    loss = partial(mean_negative_log_joint, likelihood=likelihood, prior=GaussianPrior(1.0), num_data=len(x))

    def value(flat: Tensor) -> Tensor:
        return loss(net, unflatten(flat, {"weight": net.weight.detach()}), x, y)

    theta = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(30):
        theta = theta - torch.linalg.solve(hessian(value)(theta), grad(value)(theta))
    net.weight.data = theta[None].clone()
    C = noise.gradient_noise(
        net, lambda output, target: -likelihood.log_prob(output, target), x, y, correction=0
    ).covariance
    return Problem(name, net, x, y, likelihood, hessian(value)(theta), C)


def spread(draws: Tensor) -> Spread:
    """Of draws [chains, draws, d], by the delta method: the error of σ is that of σ² over 2σ."""
    squares = (draws - draws.mean((0, 1))).square()
    return Spread(draws.flatten(0, 1).std(0), 0.5 * monte_carlo_error(squares) / squares.mean((0, 1)))


def snapshots(p: Problem, H: Tensor) -> tuple[LowRankGaussian, Tensor]:
    """SGD from the optimum; return SWAG's posterior and the snapshots themselves, [chains, snapshots, d]."""
    chains = Chains(p.net, CHAINS, jitter=0.0)
    weights = chains.network.get_parameter("weight")
    optimizer = PreconditionedSGD(chains.parameters(), preconditioner=H, stacked=True)
    every = max(1, math.ceil(1 / float(torch.linalg.eigvals(H @ p.A).real.min())))
    mailbox = nn.Linear(p.x.shape[1], 1, bias=False).double()
    swag, random, path = SWAG(mailbox, rank=CHAINS * SNAPSHOTS), torch.Generator().manual_seed(0), []
    for step in range((SNAPSHOTS + 3) * every):
        pick = torch.randint(len(p.x), (CHAINS, BATCH), generator=random)
        optimizer.zero_grad()
        chains.map(p.loss, p.x[pick], p.y[pick]).sum().backward()
        optimizer.step()
        if step >= 3 * every and (step + 1) % every == 0:
            path.append(weights.detach()[:, 0].clone())
            for one in weights.detach():
                mailbox.weight.data.copy_(one)
                swag.update()
    return swag.posterior(), torch.stack(path, 1)


def predicted(p: Problem, H: Tensor) -> Tensor | None:
    """Return what calibrated SWAG has of Laplace's standard deviations if C and A are constant; None if unstable."""
    try:
        cov = theory.stationary_covariance(p.A, p.C, preconditioner=H, batch_size=BATCH)
    except ValueError:
        return None
    swag = 0.5 * (cov + cov.diagonal().diag())
    return (theory.optimal_scale(swag, p.A, num_data=len(p.x)) * cov.diagonal()).sqrt() / p.laplace


def verdict(after: Tensor, errors: Tensor, theirs: Tensor | None) -> str:
    """Return what kind of a miss it is; shape where both ends of the range are within 10 % of the predicted ones."""
    miss = torch.maximum(0.9 - after, after - 1.1)
    if not (miss > 0).any():
        return "met"
    if not (miss > 2 * errors * after).any():
        return "error"
    if theirs is None:
        return "path"
    ends, foretold = (torch.stack(t.aminmax()) for t in (after, theirs))
    return "shape" if bool(((ends / foretold - 1).abs() < 0.1).all()) else "path"


def ranged(ratios: Tensor) -> str:
    return f"{float(ratios.min()):.3f} – {float(ratios.max()):.3f}"


def rates(p: Problem) -> list[tuple[str, float, Tensor]]:
    n, eye = len(p.x), torch.eye(len(p.A), dtype=torch.float64)
    plain = float(theory.optimal_learning_rate(p.C, num_data=n, batch_size=BATCH)) * eye
    inverse = theory.optimal_preconditioner(p.C, num_data=n, batch_size=BATCH)
    exact = theory.optimal_preconditioner(p.C, num_data=n, batch_size=BATCH, A=p.A)
    found = [("SGD", share, share * plain) for share in (0.3, 1.0, 3.0)]
    found += [("C⁻¹", share, share * inverse) for share in (0.1, 0.3, 1.0)]
    return [*found, ("exact", 1.0, exact)]


def row(p: Problem, truth: Spread, kind: str, share: float, H: Tensor) -> str:
    swag, path = snapshots(p, H)
    random = torch.Generator().manual_seed(1)
    span = calibrate(p.net, swag, p.x, p.y, **p.laws, generator=random)
    found = calibrate(p.net, swag, p.x, p.y, **p.laws, directions="all", num_samples=PAIRS, generator=random)
    before, inside, after = (
        law.marginal_variance["weight"][0].sqrt() / truth.value
        for law in (swag, span.posterior, found.posterior)
    )
    errors = (
        spread(path).error.square() + truth.error.square() + (0.5 * found.stderr / found.scale) ** 2
    ).sqrt()
    theirs = predicted(p, H)
    return (
        f"| {p.name} | {kind} | {share} | {ranged(before)} | {ranged(inside)} | {verdict(inside, truth.error, None)} | "
        f"{span.ratio:.2f} ± {span.ratio_stderr:.2f} | "
        f"{found.scale:.3f} ± {found.stderr:.3f} | {ranged(after)} | "
        f"{float(after.log().mean().exp()):.3f} | {100 * float(errors.max()):.1f} % | "
        f"{'unstable' if theirs is None else ranged(theirs)} | {verdict(after, errors, theirs)} |"
    )


def many_weights() -> list[str]:
    """Softmax regression on the digits, D = 585: SWAG of plain SGD in its span, beside the exact Laplace covariance.

    Within the span of K directions the posterior is *given* the other D − K, at most as wide as without: so both are
    told, the conditional standard deviations and those of the whole, along the eigenvectors of the curvature there.
    """
    x, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    x, y = x.double()[labels < 9] / 16, labels[labels < 9].long()
    net, prior, n = nn.Linear(64, 9).double(), GaussianPrior(1.0), len(x)
    laws = {"likelihood": Categorical(), "prior": prior}
    like = {name: t.detach() for name, t in net.named_parameters()}

    def u(flat: Tensor) -> Tensor:
        return n * mean_negative_log_joint(net, unflatten(flat, like), x, y, **laws, num_data=n)

    theta = torch.zeros(585, dtype=torch.float64)
    for _ in range(30):
        theta = theta - torch.linalg.solve(hessian(u)(theta), grad(u)(theta))
    net.load_state_dict(unflatten(theta, like))
    cov = torch.linalg.inv(hessian(u)(theta))
    lines = [
        f"Softmax regression on the digits, N = {n}, D = 585; SGD at 0.1, batch {BATCH}, snapshots 50 steps apart.",
        "",
        "| K | SWAG's sd over the whole posterior's | in the span, over the posterior's given the rest "
        "| over the whole posterior's | r |",
        "|---|---|---|---|---|",
    ]
    for rank in (20, 40, 80):
        optimizer, swag = torch.optim.SGD(net.parameters(), 0.1), SWAG(net, rank=rank)
        random = torch.Generator().manual_seed(0)
        swag.attach(optimizer, every=50, start=500)
        for _ in range(500 + 50 * (rank + 1)):
            pick = torch.randint(n, (BATCH,), generator=random)
            optimizer.zero_grad()
            mean_negative_log_joint(
                net, dict(net.named_parameters()), x[pick], y[pick], **laws, num_data=n
            ).backward()
            optimizer.step()
        law = swag.posterior()
        found = calibrate(net, law, x, y, **laws, generator=random)
        span = span_of(law)
        assert span is not None
        rows = flatten(span.basis, law.mean)
        whole = (rows @ cov @ rows.T).diagonal().sqrt()
        given = torch.linalg.inv(rows @ torch.linalg.inv(cov) @ rows.T).diagonal().sqrt()
        own, inside = (variance_along(each, span).sqrt() for each in (law, found.posterior))
        lines.append(
            f"| {found.directions} of {len(span)} | {ranged(own / whole)} | {ranged(inside / given)} | "
            f"{ranged(inside / whole)} | {found.ratio:.2f} ± {found.ratio_stderr:.2f} |"
        )
    return lines


def summary(rows: list[str]) -> str:
    """Count, from the table's own cells, in how many runs of each sampler all weights are within the bound."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in rows]
    said = []
    for kind in dict.fromkeys(line[1] for line in cells):
        for name, column in (("in the span", 5), ("over all directions", -1)):
            found = [line[column] for line in cells if line[1] == kind]
            misses = ", ".join(
                f"{found.count(why)} {why}" for why in ("error", "shape", "path") if why in found
            )
            met = f"{kind} {name}: {found.count('met')} of {len(found)}"
            said.append(met + (f" (the others: {misses})" if misses else ""))
    return "All eight weights within [0.9, 1.1]: " + "; ".join(said) + "."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draws", type=int, default=5000, help="of NUTS, per chain")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    references = [
        "| data | N | NUTS: draws | largest error of an sd | Laplace's sd over NUTS's | mean − mode, largest, in sd |",
        "|---|---|---|---|---|---|",
    ]
    table = [
        "| data | sampler | share | SWAG's sd over NUTS's | in the span | bound | r | s* ± s.e. | over all directions "
        "| mean | largest s.e. | over all, as predicted | bound |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for p in (problem(*each) for each in data()):
        drawn = reference.nuts(
            p.net,
            p.x,
            p.y,
            **p.laws,
            num_samples=arguments.draws,
            num_warmup=500,
            num_chains=2,
            jitter=0.0,
            progress=False,
        ).by_chain()["weight"][:, :, 0]
        truth = spread(drawn)
        shift = (drawn.mean((0, 1)) - p.net.weight.detach()[0]) / truth.value
        references.append(
            f"| {p.name} | {len(p.x)} | 2 × {arguments.draws} | {100 * float(truth.error.max()):.1f} % | "
            f"{ranged(p.laplace / truth.value)} | {float(shift.abs().max()):.2f} |"
        )
        print(references[-1], flush=True)
        for kind, share, H in rates(p):
            table.append(row(p, truth, kind, share, H))
            print(table[-1], flush=True)
    sizes = f"SWAG of {CHAINS} × {SNAPSHOTS} snapshots, {PAIRS} pairs of draws for s*. Ranges are over the weights."
    print(summary(table[2:]))
    large = many_weights()
    print("\n".join(large))
    lines = [machine(), "", *references, "", sizes, "", *table, "", summary(table[2:]), "", *large]
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
