"""Peers of `league.py`, each run by an interpreter of its own: `PYTHON league_peers.py NAMES --cases CASES --work DIR`.

Every contender is written as its package's documentation says; where a row is called *default*, what the package
leaves to its default stays there.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from league_chains import MOMENTUM, posteriors_sghmc, posteriors_sgld, uncertainty_sghmc, uncertainty_sgld
from league_fits import ivon, laplace, posteriors_vi, uncertainty_swag
from league_walk import Problem, Result, kept_file, problem_file
from peer_imports import named

CONTENDERS: dict[str, Callable[[Problem, int], Result]] = {
    "tu-sgld-default": lambda p, s: uncertainty_sgld(p, s, lr=1e-3, noise_factor=1e-2, weight_decay=0.0),
    "tu-sgld-recipe": lambda p, s: uncertainty_sgld(p, s, lr=1e-2, noise_factor=1e-2, weight_decay=1e-5),
    "tu-sgld-tied": lambda p, s: uncertainty_sgld(
        p, s, lr=p.lr, noise_factor=p.num_data**-0.5, weight_decay=p.precision / p.num_data
    ),
    "tu-sghmc-default": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-2, burn_in=200, noise_factor=1e-2, weight_decay=0.0
    ),
    "tu-sghmc-recipe": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-3, burn_in=3525, noise_factor=1e-2, weight_decay=1e-5
    ),
    "tu-sghmc-tied": lambda p, s: uncertainty_sghmc(
        p, s, lr=1e-2, burn_in=200, noise_factor=p.num_data**-0.5, weight_decay=p.precision / p.num_data
    ),
    "tu-swag-recipe": lambda p, s: uncertainty_swag(p, s, recipe=True, scale=1.0),
    "tu-swag-optimal": lambda p, s: uncertainty_swag(p, s, recipe=False, scale=1.0),
    "tu-swag-half": lambda p, s: uncertainty_swag(p, s, recipe=False, scale=0.5),
    "posteriors-sgld-default": lambda p, s: posteriors_sgld(p, s, temperature=None),
    "posteriors-sgld": lambda p, s: posteriors_sgld(p, s, temperature=1 / p.num_data),
    "posteriors-sghmc-default": lambda p, s: posteriors_sghmc(p, s, temperature=1 / p.num_data, alpha=None),
    "posteriors-sghmc": lambda p, s: posteriors_sghmc(
        p, s, temperature=1 / p.num_data, alpha=(1 - MOMENTUM) / math.sqrt(p.lr * (1 - MOMENTUM))
    ),
    "posteriors-vi-readme": lambda p, s: posteriors_vi(p, s, lr=1e-3, log_sd=None),
    "posteriors-vi-tutorial": lambda p, s: posteriors_vi(p, s, lr=1e-2, log_sd=-2.0),
    "laplace-default": lambda p, s: laplace(p, s, structure="kron", told=False),
    "laplace-kron": lambda p, s: laplace(p, s, structure="kron", told=True),
    "laplace-full": lambda p, s: laplace(p, s, structure="full", told=True),
    "ivon-default": lambda p, s: ivon(p, s, weight_decay=None, beta2=None),
    "ivon-recipe": lambda p, s: ivon(p, s, weight_decay=p.precision / p.num_data, beta2=0.999),
}
PACKAGES = {
    "tu": "torch-uncertainty",
    "posteriors": "posteriors",
    "laplace": "laplace-torch",
    "ivon": "ivon-opt",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", choices=CONTENDERS, nargs="+")
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of problems and draws")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        for case in given.cases:
            kept = kept_file(given.work, name, case)
            if kept.is_file():
                continue
            torch.manual_seed(given.seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peers', of each other's deprecations
                found = CONTENDERS[name](Problem.load(problem_file(given.work, case)), given.seed)
            apart = math.nan if found.apart is None else found.apart
            version = named(PACKAGES[name.split("-")[0]])
            np.savez(kept, draws=found.draws.numpy(), passes=found.passes, apart=apart, version=version)


if __name__ == "__main__":
    main()
