"""Each measure beside its best peers: time, peak memory and the difference of the values.

    python benchmarks/metrics.py [--threads 2] [--only NAME …] [--large] [--out benchmarks/results/metrics.md]

Contenders are timed in turn, round after round, on the same tensors in one process. Their memory is taken in a fresh
process each: the peak of the resident memory during one call, less what was resident before it. Peers that are not
installed (`pip install -e '.[bench]'`) get a row that says so; `benchmarks/metrics_peers.py` has what is called of
them. `--large` adds two clouds of 50 000 points, ours alone: minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# A script's own folder comes first on the path, where this file would hide the package: to the end.
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == Path(__file__).resolve().parent)

import metrics_peers as peers
import torch
from metrics_peers import Numbers
from threadpoolctl import threadpool_limits
from timing import machine, timed
from torch import Tensor

import metrics
from metrics.kernels import Gaussian, Polynomial, median_heuristic

RESULTS = Path(__file__).parent / "results" / "metrics.md"


@dataclass(frozen=True)
class Peer:
    """A distribution, what is called of it, what it does otherwise, and how much faster ours has to be."""

    name: str
    call: Callable[..., Numbers]
    note: str = ""
    bound: str = "> 1"


@dataclass(frozen=True)
class Case:
    """A measure on one input."""

    measure: str
    size: str
    inputs: Callable[[], tuple[Tensor, ...]]
    ours: Callable[..., Numbers]
    peers: tuple[Peer, ...] = ()
    repeats: int = 9

    @property
    def warm_up(self) -> int:
        """Rounds that do not count; of three slow ones the median leaves the first out, which loads packages."""
        return 0 if self.repeats <= 3 else 1

    def call(self, contender: str) -> Callable[..., Numbers]:
        """Return what is timed of "ours" or of the peer at an index."""
        return self.ours if contender == "ours" else self.peers[int(contender)].call


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def clouds(n: int, d: int, *, m: int | None = None, shift: float = 0.1) -> tuple[Tensor, Tensor]:
    return normal(n, d), normal(n if m is None else m, d, seed=1) * 1.1 + shift


def gaussians(d: int) -> tuple[Tensor, ...]:
    moments = []
    for seed in (0, 1):
        mix = normal(d, d, seed=seed, dtype=torch.float64) / d**0.5
        moments += [normal(d, seed=2 + seed, dtype=torch.float64), mix @ mix.T + 0.1 * torch.eye(d).double()]
    return tuple(moments)


def forecasts(n: int, classes: int) -> tuple[Tensor, Tensor]:
    """Predictions that are a little too sure; none of exactly 1, which torchmetrics puts into no bin."""
    logits = 1.5 * normal(n, classes)
    labels = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    return (1.3 * logits).softmax(1), labels


def prdc(real: Tensor, fake: Tensor) -> Numbers:
    found = metrics.precision_recall_density_coverage(real=real, fake=fake)
    return tuple(map(float, (found.precision, found.recall, found.density, found.coverage)))


def intervals(samples: Tensor, y: Tensor) -> Numbers:
    found = metrics.interval_coverage(samples, y)
    return float(found.coverage), float(found.score)


def one(measure: Callable[..., Tensor], **settings: object) -> Callable[..., Numbers]:
    def call(*inputs: Tensor) -> Numbers:
        return (float(measure(*inputs, **settings)),)

    return call


CASES = (
    Case(
        "precision_recall_density_coverage",
        "10 000 × 10 000 × 64, float32",
        lambda: clouds(10_000, 64),
        prdc,
        (Peer("prdc", peers.prdc, bound="≥ 3"),),
        repeats=3,
    ),
    Case(
        "bures_wasserstein",
        "d = 2048, float64",
        lambda: gaussians(2048),
        one(metrics.bures_wasserstein),
        (Peer("scipy", peers.scipy_frechet, "sqrtm", "≥ 5"),),
        repeats=3,
    ),
    Case(
        "frechet_distance",
        "4000 × 4000 × 1024, float32",
        lambda: clouds(4000, 1024),
        one(metrics.frechet_distance),
        (
            Peer("torchmetrics", peers.torchmetrics_frechet),
            Peer("torch-fidelity", peers.fidelity_frechet),
        ),
        repeats=3,
    ),
    Case(
        "mmd2(kernel=Polynomial()), KID",
        "2000 × 2000 × 2048, float32",
        lambda: clouds(2000, 2048),
        one(metrics.mmd2, kernel=Polynomial()),
        (
            Peer("torchmetrics", peers.torchmetrics_kid, "100 random subsets of 1000", "≥ 5"),
            Peer("torchmetrics", peers.torchmetrics_kid_of_all, "one subset of all, in float32"),
            Peer("torch-fidelity", peers.fidelity_kid, "100 random subsets of 1000"),
        ),
        repeats=3,
    ),
    Case(
        "crps_ensemble",
        "100 × 1000 members, float32",
        lambda: (normal(100, 1000), normal(100, seed=1)),
        one(metrics.crps_ensemble),
        (
            Peer("torchmetrics", peers.torchmetrics_crps, bound="≥ 20"),
            Peer("scoringrules", peers.scoringrules_crps),
        ),
    ),
    Case(
        "energy_score",
        "200 × 100 members × 8, float64",
        lambda: (
            normal(200, 100, 8, dtype=torch.float64),
            normal(200, 8, seed=1, dtype=torch.float64),
        ),
        one(metrics.energy_score),
        (Peer("scoringrules", peers.scoringrules_energy),),
    ),
    Case(
        "crps_gaussian",
        "100 000, float64",
        lambda: (
            normal(100_000, dtype=torch.float64),
            normal(100_000, seed=1, dtype=torch.float64).exp(),
            normal(100_000, seed=2, dtype=torch.float64),
        ),
        one(metrics.crps_gaussian),
        (Peer("scoringrules", peers.scoringrules_gaussian),),
    ),
    Case(
        "calibration_error",
        "100 000 × 10 classes, float32",
        lambda: forecasts(100_000, 10),
        one(metrics.calibration_error),
        (Peer("torchmetrics", peers.torchmetrics_calibration),),
    ),
    Case(
        "brier_score",
        "100 000 × 10 classes, float32",
        lambda: forecasts(100_000, 10),
        one(metrics.brier_score),
        (Peer("scikit-learn", peers.sklearn_brier),),
    ),
    Case(
        "out_of_distribution_auroc",
        "100 000 + 100 000, float32; with its error",
        lambda: (normal(100_000).sigmoid(), (normal(100_000, seed=1) + 1).sigmoid()),
        lambda a, b: (metrics.out_of_distribution_auroc(inside=a, outside=b).value,),
        (
            Peer("scikit-learn", peers.sklearn_auroc, "no error"),
            Peer("torchmetrics", peers.torchmetrics_auroc, "no error"),
        ),
    ),
    Case(
        "interval_coverage",
        "10 000 × 200 members, float64",
        lambda: (normal(10_000, 200, dtype=torch.float64), normal(10_000, seed=1, dtype=torch.float64)),
        intervals,
        (Peer("scoringrules", peers.scoringrules_interval, "quantiles by numpy"),),
    ),
    Case(
        "effective_sample_size, r_hat",
        "4 chains × 1000 draws × 20, float64",
        lambda: (normal(4, 1000, 20, dtype=torch.float64) + normal(4, 1001, 20, dtype=torch.float64)[:, 1:],),
        lambda x: (float(metrics.effective_sample_size(x).mean()), float(metrics.r_hat(x).mean())),
        (
            Peer("pyro-ppl", peers.pyro_chains, "same estimator"),
            Peer("arviz", peers.arviz_chains, "ESS of half-chains"),
        ),
    ),
    Case(
        "energy_distance",
        "5000 × 5000 × 1, float64",
        lambda: tuple(cloud.double() for cloud in clouds(5000, 1)),
        one(metrics.energy_distance),
        (Peer("scipy", peers.scipy_energy),),
    ),
    Case(
        "wasserstein(p=1)",
        "100 000 × 80 000 × 1, float64",
        lambda: tuple(cloud.double() for cloud in clouds(100_000, 1, m=80_000)),
        one(metrics.wasserstein, p=1),
        (Peer("scipy", peers.scipy_wasserstein), Peer("POT", peers.pot_wasserstein_line)),
    ),
    Case(
        "wasserstein(p=2)",
        "1000 × 1000 × 16, float64",
        lambda: tuple(cloud.double() for cloud in clouds(1000, 16)),
        one(metrics.wasserstein),
        (Peer("POT", peers.pot_wasserstein, "whose solver ours calls", "≈ 1"),),
    ),
    Case(
        "sliced_wasserstein",
        "2000 × 2000 × 64, 512 directions, float64",
        lambda: tuple(cloud.double() for cloud in clouds(2000, 64)),
        one(metrics.sliced_wasserstein),
        (Peer("POT", peers.pot_sliced),),
    ),
    Case(
        "nearest_neighbour_accuracy",
        "5000 × 5000 × 64, float64",
        lambda: tuple(cloud.double() for cloud in clouds(5000, 64)),
        one(metrics.nearest_neighbour_accuracy),
        (Peer("scikit-learn", peers.sklearn_nearest),),
        repeats=3,
    ),
)

LARGE = (
    Case(
        "precision_recall_density_coverage",
        "50 000 × 50 000 × 64, float32",
        lambda: clouds(50_000, 64),
        prdc,
        repeats=1,
    ),
    Case(
        "mmd2(kernel=Gaussian(…))",
        "50 000 × 50 000 × 64, float32",
        lambda: clouds(50_000, 64),
        lambda x, y: (float(metrics.mmd2(x, y, kernel=Gaussian(median_heuristic(x[:1000])))),),
        repeats=1,
    ),
)
HEADER = (
    "| measure | size | peer | ours, ms | peer, ms | peer / ours | bound | memory ours / peer, MiB | difference |",
    "|---|---|---|---|---|---|---|---|---|",
)


def rows(case: Case) -> list[str]:
    """Return a line of the table for each peer of a case."""
    inputs, values, errors = case.inputs(), {}, {}

    def keeping(contender: str) -> Callable[[], None]:
        call = case.call(contender)

        def run() -> None:
            if contender not in errors:
                try:
                    values[contender] = call(*inputs)
                except (ImportError, RuntimeError) as error:
                    errors[contender] = error

        return run

    names = ["ours", *map(str, range(len(case.peers)))]
    times = dict(zip(names, timed(case.repeats, *map(keeping, names), warm_up=case.warm_up), strict=True))
    present = [name for name in names if name in values]
    with ThreadPoolExecutor(2) as pool:
        memory = dict(zip(present, pool.map(lambda name: _apart(case, name)["MiB"], present), strict=True))
    lines = []
    for name, peer in zip(names[1:], case.peers, strict=True):
        cells = [f"`{case.measure}`", case.size, _named(peer), f"{1e3 * times['ours'].seconds:.3g}"]
        if name in errors:
            cells += [f"not installed ({type(errors[name]).__name__})", "", peer.bound]
            lines.append(_line([*cells, f"{memory['ours']:.0f} /", ""]))
            continue
        ratio, stderr = times[name].over(times["ours"])
        gap = max(abs(a - b) / abs(b) for a, b in zip(values["ours"], values[name], strict=True))
        cells += [f"{1e3 * times[name].seconds:.3g}", f"**{ratio:.3g}** ± {stderr:.1g}", peer.bound]
        lines.append(_line([*cells, f"{memory['ours']:.0f} / {memory[name]:.0f}", f"{gap:.1g}"]))
    return lines


def large_row(case: Case) -> str:
    """Return the line of a case that ours runs alone, once, in a process of its own."""
    measured = _apart(case, "ours")
    memory = f"{measured['MiB']:.0f} of 2048"
    cells = [f"`{case.measure}`", case.size, "", f"{1e3 * measured['seconds']:.3g}", "", "", "", memory, ""]
    return _line(cells)


def _named(peer: Peer) -> str:
    try:
        name = f"{peer.name} {version(peer.name)}"
    except PackageNotFoundError:
        name = peer.name
    return f"{name}, {peer.note}" if peer.note else name


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _apart(case: Case, contender: str) -> dict[str, float]:
    """Seconds and peak memory of one call in a process of its own."""
    at = (CASES + LARGE).index(case)
    threads = str(torch.get_num_threads())
    command = [sys.executable, __file__, "--apart", str(at), contender, "--threads", threads]
    # After a warm-up freed memory goes back at once, so that none of it is reused unseen.
    frugal = (
        {} if case.warm_up == 0 else {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    )
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | frugal)
    return json.loads(found.stdout)


def measure_apart(at: int, contender: str) -> None:
    """Run one call on warm packages and print what it took."""
    case = (CASES + LARGE)[at]
    call, inputs = case.call(contender), case.inputs()
    for _ in range(case.warm_up):
        call(*inputs)  # what packages load and compile is not the call's
    reset = Path("/proc/self/clear_refs")
    reset.write_text("5")
    before = _resident("VmRSS")
    seconds = timed(1, lambda: call(*inputs), warm_up=0)[0].seconds
    print(json.dumps({"seconds": seconds, "MiB": max(0.0, (_resident("VmHWM") - before) / 1024)}))


def _resident(field: str) -> int:
    """Resident memory in KiB, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", help="measures whose names contain one of these; writes no file")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--apart", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    threadpool_limits(arguments.threads)
    if arguments.apart:
        measure_apart(int(arguments.apart[0]), arguments.apart[1])
        return

    def wanted(case: Case) -> bool:
        return arguments.only is None or any(part in case.measure for part in arguments.only)

    lines = [machine(), "", *HEADER]
    print("\n".join(lines), flush=True)
    for case in filter(wanted, CASES):
        for line in rows(case):
            lines.append(line)
            print(line, flush=True)
    for case in filter(wanted, LARGE if arguments.large else ()):
        lines.append(large_row(case))
        print(lines[-1], flush=True)
    if arguments.only is None:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
