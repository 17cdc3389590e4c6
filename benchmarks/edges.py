"""Samplers of regressions at their edges: `python benchmarks/edges.py [--data-dir DIR] [--out FILE]`.

Few data, one row of high leverage, an ill-conditioned curvature, the noise known or inferred on the log scale, sampled
by

    corrected     H and Q of `theory.corrected_step`
    exact, mean   plain SGD with H = 2(A + NC/S)⁻¹, A and C the means over the posterior
    exact, mode   the same with A and C at the mode

with batches of S = N/10 data, at least 2, by many chains at once, and held against the exact posterior: conjugate
where the noise is known, by quadrature where it is inferred. The forecast is made before the run. The bound: the
corrected sampler's means within 0.1 standard deviations and its standard deviations within 7 %, or a warning.

With --data-dir also the regressions of the mesquite shrubs' log weight that posteriordb has and `posteriordb.py` leaves
out, of leverage .6: logmesquite, logmesquite_logvas and logmesquite_logvash, the prior flat in log σ.
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from posteriordb_data import vectors
from timing import machine
from torch import Tensor

from bayessgd import theory
from bayessgd.optim import PreconditionedSGD

CASES = [
    (20, 2, 0.9, 1e8),
    (20, 8, 0.9, 1.0),
    (20, 8, 0.5, 1e8),
    (23, 8, 0.9, 1e4),
    (46, 7, 0.62, 1e4),
    (50, 3, 0.9, 1e8),
    (200, 4, 0.9, 1e8),
    (200, 4, 0.1, 1.0),
]
"""N, columns, leverage of the first row, condition number of XᵀX."""
COLUMNS = [
    "N, columns, leverage, condition",
    "noise",
    "sampler",
    "forecast: sd ratios, tail index",
    "worst Δmean / sd",
    "worst sd ratio",
    "farthest draw, sd",
    "bound",
]


def features(n: int, d: int, leverage: float, condition: float, random: torch.Generator) -> Tensor:
    """Rows with a given leverage of the first and a given condition number of XᵀX."""
    raw = torch.randn(n, d, dtype=torch.float64, generator=random)
    low, high, frame = 0.0, 1e6, raw
    for _ in range(100):  # leverage grows with the row's length
        middle = (low + high) / 2
        scaled = torch.cat([middle * raw[:1], raw[1:]])
        frame = torch.linalg.qr(scaled).Q
        low, high = (middle, high) if float(frame[0].square().sum()) < leverage else (low, middle)
    turn = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=random)).Q
    spectrum = condition ** (-torch.linspace(0, 0.5, d, dtype=torch.float64))
    return n**0.5 * frame * spectrum @ turn


@dataclass(frozen=True)
class Case:
    """A regression, with the noise known (σ = 1) or inferred."""

    x: Tensor
    y: Tensor
    known: bool

    @property
    def problem(self) -> theory.LinearRegression | theory.LearnedScaleRegression:
        """As the theory has it."""
        return (
            theory.LinearRegression(self.x, self.y)
            if self.known
            else theory.LearnedScaleRegression(self.x, self.y)
        )

    @property
    def mode(self) -> Tensor:
        """θ*: least squares, and where it is inferred log σ first."""
        beta = torch.linalg.lstsq(self.x, self.y[:, None]).solution[:, 0]
        scale = (self.y - self.x @ beta).square().mean().log() / 2
        return beta if self.known else torch.cat([scale[None], beta])

    def gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Of each datum [..., S, p], at θ [..., p]."""
        beta = theta if self.known else theta[..., 1:]
        residual = y - (x @ beta[..., None])[..., 0]
        if self.known:
            return -residual[..., None] * x
        w = torch.exp(-2 * theta[..., :1])
        scale = 1 - w * residual.square()
        return torch.cat([scale[..., None], -(w * residual)[..., None] * x], -1)

    def at_mode(self) -> tuple[Tensor, Tensor]:
        """A and C of the mode."""
        g = self.gradients(self.mode, self.x, self.y)
        if self.known:
            A = self.x.mT @ self.x / len(self.x)
        else:
            w = torch.exp(-2 * self.mode[0])
            A = torch.block_diag(
                torch.full((1, 1), 2.0, dtype=torch.float64), w * self.x.mT @ self.x / len(self.x)
            )
        return A, g.mT.cov(correction=0)


@dataclass(frozen=True)
class Found:
    """Against the posterior: the worst shift and ratio with their standard errors, and the farthest draw."""

    shift: tuple[float, float]
    ratio: tuple[float, float]
    farthest: float

    @property
    def diverged(self) -> bool:
        """Whether a chain left for more than a hundred standard deviations."""
        return not self.farthest < 100

    @property
    def good(self) -> bool:
        """Within the bound, to three standard errors."""
        (shift, a), (ratio, b) = self.shift, self.ratio
        return not self.diverged and abs(shift) < 0.1 + 3 * a and abs(ratio - 1) < 0.07 + 3 * b


def sample(case: Case, H: Tensor, Q: Tensor | None, S: int, *, chains: int, draws: int) -> Found:
    """Run chains from the posterior's mean for ten autocorrelation times, then draw at every third of one."""
    problem, n = case.problem, len(case.x)
    mean = problem.optimum if isinstance(problem, theory.LinearRegression) else problem.mean
    std = problem.covariance.diagonal().sqrt()
    random = torch.Generator().manual_seed(0)
    theta = mean.expand(chains, -1).clone().requires_grad_()
    sampler = PreconditionedSGD(
        [theta],
        preconditioner=H,
        noise_covariance=Q,
        stacked=True,
        generator=torch.Generator().manual_seed(1),
    )
    rate = float(torch.linalg.eigvals(torch.linalg.solve(n * problem.covariance, H)).real.min())
    thin = max(1, round(0.33 / rate))
    kept = []
    for step in range(30 * thin + draws * thin):
        pick = torch.randint(n, (chains, S), generator=random)
        theta.grad = case.gradients(theta.detach(), case.x[pick], case.y[pick]).mean(1)
        sampler.step()
        if step >= 30 * thin and step % thin == 0:
            kept.append((theta.detach() - mean) / std)
    z = torch.stack(kept, 1)
    farthest = float(z.abs().nan_to_num(torch.inf).max())
    by_chain, squares = z.mean(1), z.square().mean(1)
    errors = by_chain.std(0) / chains**0.5
    ratios, wide = z.flatten(0, 1).std(0), squares.std(0) / chains**0.5
    i, j = int(by_chain.mean(0).abs().argmax()), int((ratios - 1).abs().argmax())
    return Found(
        (float(by_chain.mean(0)[i]), float(errors[i])),
        (float(ratios[j]), float(wide[j] / (2 * ratios[j]))),
        farthest,
    )


def mesquite(folder: Path) -> dict[str, Case]:
    """The weight's logarithm against those of the shrubs' sizes, 46 rows."""
    data = vectors(folder, "mesquite")
    weight = data.pop("weight").log()
    one, group = torch.ones_like(weight), data["group"]
    wide, narrow, canopy, total, density = (
        data[key].log() for key in ("diam1", "diam2", "canopy_height", "total_height", "density")
    )
    volume, area, shape = wide + narrow + canopy, wide + narrow, wide - narrow
    columns = {
        "logmesquite": [one, wide, narrow, canopy, total, density, group],
        "logmesquite_logvas": [one, volume, area, shape, total, density, group],
        "logmesquite_logvash": [one, volume, area, shape, total, group],
    }
    return {name: Case(torch.stack(each, 1), weight, known=False) for name, each in columns.items()}


def told(forecast: theory.Forecast) -> str:
    if forecast.radius >= 1:
        return "⚠ no covariance"
    low, high = forecast.extremes
    return f"{'' if forecast.holds else '⚠ '}{low:.2f}–{high:.2f}, {forecast.tail_index:.1f}"


def rows(name: str, case: Case, *, chains: int, draws: int) -> list[str]:
    """Forecast and sample one regression three ways."""
    n, problem = len(case.x), case.problem
    S = max(2, n // 10)
    A, C = case.at_mode()
    short = theory.corrected_step(problem, batch_size=S)
    samplers: list[tuple[str, Tensor, Tensor | None]] = [("corrected", short.preconditioner, short.injected)]
    for method, (one, other) in {
        "exact, mean": (problem.curvature, problem.mean_noise),
        "exact, mode": (A, C),
    }.items():
        samplers.append((method, theory.optimal_preconditioner(other, A=one, num_data=n, batch_size=S), None))
    found = []
    for method, H, Q in samplers:
        forecast = problem.forecast(preconditioner=H, injected=Q, batch_size=S)
        run = sample(case, H, Q, S, chains=chains, draws=draws)
        verdict = "met" if run.good else "MISSED" if forecast.holds else "warned"
        if run.good and not forecast.holds:
            verdict = "met, warned"
        cells = [
            name,
            "known" if case.known else "inferred",
            method,
            told(forecast),
            "diverged" if run.diverged else f"{run.shift[0]:+.3f} ± {run.shift[1]:.3f}",
            "" if run.diverged else f"{run.ratio[0]:.3f} ± {run.ratio[1]:.3f}",
            "above 100" if run.diverged else f"{run.farthest:.1f}",
            verdict,
        ]
        found.append(f"| {' | '.join(cells)} |")
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=400)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--cases", type=int, default=len(CASES), help="the first so many")
    parser.add_argument("--data-dir", type=Path, help="the folder that holds posteriordb/")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the table has them
    lines = [machine(), "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print("\n".join(lines), flush=True)
    for number, (n, d, leverage, condition) in enumerate(CASES[: arguments.cases]):
        random = torch.Generator().manual_seed(number)
        x = features(n, d, leverage, condition, random)
        y = torch.randn(n, dtype=torch.float64, generator=random)
        y = y + x @ torch.linalg.lstsq(x, torch.ones(n, 1, dtype=torch.float64)).solution[:, 0]
        for known in (True, False):
            name = f"{n}, {d}, {leverage}, {condition:.0e}"
            lines += rows(name, Case(x, y, known), chains=arguments.chains, draws=arguments.draws)
    if arguments.data_dir:
        for name, case in mesquite(arguments.data_dir / "posteriordb").items():
            lines += rows(name, case, chains=arguments.chains, draws=arguments.draws)
    note = f"""± is one standard error over {arguments.chains} chains × {arguments.draws} draws; of several parameters
the worst is told, which chance puts one to two errors off. Forecast: the smallest and largest ratio of standard
deviations over all directions, and the order up to which moments exist; ⚠ where it warns. Diverged: a chain went
farther than 100 standard deviations. The bound: |Δmean| < 0.1, the ratio in [0.93, 1.07], to three standard errors."""
    if arguments.out:
        arguments.out.write_text("\n".join([*lines, "", note]) + "\n")


if __name__ == "__main__":
    main()
