"""Posteriors of real networks: `python benchmarks/networks.py [--data-dir DIR] [--problems ...] [--out FILE]`.

A digits perceptron and a regression (diabetes) beside NUTS, and LeNet-5 on 10 000 and 60 000 images of MNIST (with the
data folder): SGD, the average of its iterates, SWAG as it is and in its span (`calibrate`), mixtures, ensembles and
SGHMC snapshots, over seeds: what each predicts is worth, how near it is to the posterior, and what it costs in passes
over the data and in seconds. With `--peers NAME=PYTHON ...` what a user would pick instead runs in the same call, each
peer in an environment of its own (`networks_peers.py`).

Members and scores are kept in `--folder`, so that a run that was stopped goes on where it was.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from networks_beside import beside
from networks_methods import Fit, Member, ensembles, gaussians, member, of_one, sampled
from networks_problems import Problem, diabetes, digits, mnist
from networks_scores import Scores, reference_predictions, score
from networks_table import NOTE, PUBLISHED, table
from timing import machine
from tqdm import tqdm

CHOICES = ("digits", "diabetes", "mnist-10000", "mnist-10000-strong", "mnist-60000")
SEEDS = {"digits": 5, "diabetes": 5, "mnist-10000": 5, "mnist-10000-strong": 2, "mnist-60000": 2}
"""Members of each problem; the costly ones have fewer."""

PEER_SEEDS = {"digits": 5, "diabetes": 5, "mnist-10000": 1, "mnist-10000-strong": 1, "mnist-60000": 1}
"""Runs of each peer."""

RANK = 40


def problem(name: str, folder: Path | None) -> Problem:
    """Make a problem by its name on the command line."""
    if name in ("digits", "diabetes"):
        return {"digits": digits, "diabetes": diabetes}[name]()
    if folder is None or not (folder / "mnist").is_dir():
        raise SystemExit(
            f"{name} needs MNIST: pass --data-dir, a folder that holds mnist/ with its four IDX files"
        )
    _, count, *strong = name.split("-")
    return mnist(folder / "mnist", count=int(count), decay=5e-3 if strong else 5e-4)


def runs(name: str, members: Sequence[Member], p: Problem) -> dict[str, Callable[[], Fit]]:
    """What is sampled from the members' ends of training: more where it is cheap."""
    if name in ("digits", "diabetes"):
        lengths = (30, 130)
        return {
            f"SGHMC, {len(members)} × {passes} passes": lambda passes=passes: sampled(
                p, members, passes=passes, temperature=1.0, draws=20 * len(members), seed=0
            )
            for passes in lengths
        }
    if name == "mnist-10000":
        return {
            f"SGHMC, T = {temperature:g}, 1 × 40 passes": lambda temperature=temperature: sampled(
                p, members[:1], passes=40, temperature=temperature, draws=40, seed=0
            )
            for temperature in (1.0, 0.1)
        }
    return {}


def scored(
    name: str, p: Problem, count: int, folder: Path, out: Path, peers: Mapping[str, str]
) -> dict[str, list[Scores]]:
    """Run all methods of a problem over its members; scores that are on file already are read."""
    known: dict[str, list[dict]] = json.loads(out.read_text()) if out.exists() else {}
    truth = reference_predictions(p, name, folder)
    found: dict[str, list[Scores]] = {key: [Scores(**s) for s in kept] for key, kept in known.items()}

    def keep(key: str, index: int, make: Callable[[], Fit | Scores]) -> None:
        row = found.setdefault(key, [])
        if index >= len(row):
            made = make()
            row.append(made if isinstance(made, Scores) else score(p, made, truth))
            out.write_text(json.dumps({k: [vars(s) for s in v] for k, v in found.items()}))

    members = [member(p, i, rank=RANK, folder=folder) for i in tqdm(range(count), desc=name, disable=None)]
    if f"{count} spans" not in found:  # the last that is made of all members' fits
        fits: list[dict[str, Fit]] = []
        for seed in tqdm(range(count), desc=f"{name}, fits", disable=None):
            fits.append(of_one(p, members[seed], seed))
            for key, fit in fits[-1].items():
                keep(key, seed, lambda fit=fit: fit)
        for size in sorted({min(3, count), count}):
            for key, fit in ensembles(p, fits[:size]).items():
                keep(key, 0, lambda fit=fit: fit)
    if name in ("digits", "diabetes"):
        for seed in tqdm(range(count), desc=f"{name}, Gaussians", disable=None):
            for key, fit in gaussians(p, members[seed], seed).items():
                keep(key, seed, lambda fit=fit: fit)
    for key, make in tqdm(runs(name, members, p).items(), desc=f"{name}, SGHMC", disable=None):
        keep(key, 0, make)
    for peer, python in tqdm(peers.items(), desc=f"{name}, peers", disable=None):
        for seed in range(min(count, PEER_SEEDS[name])):
            keep(peer, seed, partial(beside, p, peer, python, seed, truth, folder))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="the folder that holds mnist/")
    parser.add_argument("--problems", nargs="+", choices=CHOICES, default=["digits", "diabetes"])
    parser.add_argument("--seeds", type=int, help="members of each problem, in place of its own number")
    parser.add_argument("--folder", type=Path, default=Path("out/networks"), help="for members and scores")
    parser.add_argument(
        "--peers",
        nargs="+",
        default=[],
        metavar="NAME=PYTHON",
        help="of networks_peers.py, with their interpreters",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peers = dict(pair.split("=", 1) for pair in arguments.peers)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    lines = [machine(), ""]
    for name in arguments.problems:
        p = problem(name, arguments.data_dir)
        count = arguments.seeds or SEEDS[name]
        found = scored(name, p, count, arguments.folder, arguments.folder / f"{name}-{count}.json", peers)
        lines += [*table(name, p, found), ""]
        print("\n".join(lines[-len(found) - 6 :]), flush=True)
    lines.append(NOTE)
    if any(name.startswith("mnist") for name in arguments.problems):
        lines += ["", PUBLISHED]
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
