"""Who samples the posterior: `python benchmarks/league.py --peer NAME=PYTHON … [--work DIR] [--out DIR]`.

Each peer runs by an interpreter of its own (`--peer torch-uncertainty=PYTHON`, `posteriors`, `laplace`, `ivon`,
`blackjax`; those that are not named are left out) and gets the same problems, in a file:

- *simulations* of a conjugate regression: ranks of the truth among 63 draws are uniform, and 90 % intervals hold it in
  90 of 100, if and only if the posterior is sampled (`sbc.py`);
- *diabetes*, linear, and *breast cancer*, logistic, with eight whitened columns (`calibration.py`): means and standard
  deviations against the exact ones and against long NUTS chains.

Chains start at the mode and keep draws relaxation times apart, so that what differs is the distribution that they
sample and not how fast. `--work DIR` keeps every contender's draws: a run that was stopped goes on from there.
"""

import argparse
import json
import math
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from agreement import Moments, compare, moments
from league_ours import CONTENDERS
from league_page import ROWS, page
from league_problems import Case, exact_moments, regressions, simulations
from league_walk import kept_file, problem_file
from sbc import judge
from timing import machine
from torch import Tensor

from metrics import files

HERE = Path(__file__).parent
SCRIPTS = {"blackjax": "league_jax.py"}
"""Of the peers that do without torch."""


def run_ours(key: str, case: Case, work: Path, seed: int) -> None:
    kept = kept_file(work, key, short(case))
    if not kept.is_file():
        found = CONTENDERS[key](case, seed)
        apart = math.nan if found.apart is None else found.apart
        told = {"passes": found.passes, "apart": apart, "version": f"bayessgd {version('bayessgd')}"}
        np.savez(kept, draws=found.draws.numpy(), **told)


def run_peer(interpreter: str, peer: str, keys: list[str], cases: list[Case], work: Path, seed: int) -> None:
    """One process for all contenders of a peer: most of a short one is importing."""
    script = HERE / SCRIPTS.get(peer, "league_peers.py")
    told = ["--cases", *map(short, cases), "--work", work, "--seed", str(seed)]
    subprocess.run([interpreter, script, *keys, *told], check=True)


def short(case: Case) -> str:
    """Return the case's name for files."""
    return case.name.split(",")[0].replace(" ", "-")


def simulated(case: Case, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Return p-value, coverage and the ratio of standard deviations, root mean square, with standard errors."""
    draws = torch.as_tensor(found["draws"])
    count = len(draws)
    verdict = judge("", case.truth[:count], draws)  # pyright: ignore[reportOptionalSubscript]
    exact = torch.linalg.inv(case.problem.num_data * case.A[:count]).diagonal(dim1=1, dim2=2)
    ratios = (draws.var(1) / exact).mean(1)
    sd = float(ratios.mean().sqrt())
    return {
        "simulations": count,
        "p": verdict.p_value,
        "coverage": verdict.coverage,
        # Coefficients of one simulation are nearly independent; 1/n where all or none is inside.
        "coverage_error": math.sqrt(
            max(verdict.coverage * (1 - verdict.coverage), 1 / (3 * count)) / (3 * count)
        ),
        "sd": sd,
        "sd_error": float(ratios.std()) / math.sqrt(count) / (2 * sd),
    }


def among_chains(draws: Tensor) -> Moments:
    """Moments of independent chains [B, L, D]: the errors are those of means over chains, whatever happens in one."""
    if len(draws) < 8:  # long ones, of NUTS
        return moments(draws)
    flat = draws.flatten(0, 1)
    mean, std = flat.mean(0), flat.std(0)
    squares, root = (draws - mean).square().mean(1), math.sqrt(len(draws))
    return Moments(
        mean, std, draws.mean(1).std(0) / root, squares.std(0) / root / (2 * std), (torch.inf, torch.inf)
    )


def regressed(truth: Moments, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the range and mean of the ratios of standard deviations, and the largest shift of a mean."""
    draws = torch.as_tensor(found["draws"])
    if not draws.isfinite().all() or float(draws.abs().max()) > 1e6:
        return {"diverged": 1.0}
    agreement = compare(among_chains(draws), truth)
    worst = int(agreement.shifts.abs().argmax())
    return {
        "low": float(agreement.ratios.min()),
        "high": float(agreement.ratios.max()),
        "mean": float(agreement.ratios.log().mean().exp()),
        "sd_error": float(agreement.ratio_errors.max()),
        "shift": float(agreement.shifts[worst]),
        "shift_error": float(agreement.shift_errors[worst]),
    }


def scored(case: Case, truth: Moments | None, found: dict[str, np.ndarray]) -> dict[str, float]:
    """Return what the page says of one contender on one case."""
    told = simulated(case, found) if truth is None else regressed(truth, found)
    return told | {"passes": float(found["passes"]), "apart": float(found["apart"])}


def interpreter(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    known = {row.peer for row in ROWS if row.peer}
    if name not in known or not Path(path).is_file():
        raise argparse.ArgumentTypeError(
            f"NAME=PYTHON, with NAME one of {sorted(known)} and PYTHON a file; got {text!r}"
        )
    return name, path


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=interpreter, action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--chains", type=int, default=64, help="of each data set")
    parser.add_argument("--draws", type=int, default=16, help="of each such chain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="contenders whose key holds this")
    parser.add_argument("--work", type=Path, help="folder that keeps draws")
    parser.add_argument("--collect", action="store_true", help="run nothing: the page of what --work has")
    parser.add_argument("--out", type=Path, help="write league.md to this folder")
    return parser


def main() -> None:
    given = options().parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as passing:
        work = given.work or Path(passing)
        work.mkdir(parents=True, exist_ok=True)
        cases = [simulations(given.simulations, given.seed), *regressions(given.chains, given.draws)]
        truths = {case.name: exact_moments(case) for case in cases[1:]}
        for case in cases:
            case.problem.save(problem_file(work, short(case)))
        rows = [row for row in ROWS if given.only in row.key]
        for peer, path in [] if given.collect else given.peer:
            keys = [row.key for row in rows if row.peer == peer]
            if keys:
                run_peer(path, peer, keys, cases, work, given.seed + 10)
        scores: dict[str, dict] = {}
        for row in rows:
            for case in cases:
                if row.peer is None and not given.collect:
                    run_ours(row.key, case, work, given.seed + 10)
                kept = kept_file(work, row.key, short(case))
                if kept.is_file():
                    with np.load(kept) as held:
                        found = {name: held[name] for name in held.files}
                    score = scores.setdefault(row.key, {"version": str(found["version"])})
                    score[case.name] = scored(case, truths.get(case.name), found)
                    print(row.key, case.name, json.dumps(score[case.name]), flush=True)
    if given.out:
        files.write_text(given.out / "league.md", page(scores, cases, truths, machine()))


if __name__ == "__main__":
    main()
