"""Constant SGD as a sampler: how far from the posterior theory puts it, and where real minibatches put it.

    python examples/constant_sgd.py [--data diabetes breast-cancer wine skin protein] [--data-dir DIR]
                                    [--steps N] [--chains N] [--start predicted|optimum] [--seed N] [--out DIR]

The experiment of Mandt, Hoffman & Blei (2017, JMLR 18(134), section 7), with the paper's samplers and the library's.
On every data set it finds the optimum θ*, the curvature A and the gradient covariance C, predicts the covariance of
each sampler and its divergence from the posterior N(θ*, (NA)⁻¹), and then runs the sampler on real minibatches.

`mandt_data` has the data, `mandt_methods` the samplers and their theory, `mandt_simulation` the chains. Writes
results.json, report.md and figures. Without --data-dir it runs on the two data sets that scikit-learn brings.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from command_line import Parser, folder
from mandt_data import EMBEDDED, NEEDS_FOLDER, PAPER, Task, load
from mandt_figures import draw_divergences, draw_iterates
from mandt_methods import Problem, methods
from mandt_simulation import Outcome, simulate

from metrics import files
from metrics.estimate import with_error

HEAD = ("sampler", "continuous", "discrete", "simulated", "covariance off", "relaxations", "paper")
NOTE = """\
Divergences from the posterior, KL(sampler ‖ N(θ*, (NA)⁻¹)), in nats; a star marks a sampler that is not in the paper.
continuous: predicted by the limit of small steps, the paper's theory; for IASG by that of long windows.
discrete: predicted at the step that is taken; exact for a linear regression, quadratic in a logistic one.
simulated: real minibatches, drawn iid; value ± standard error, delete-a-group jackknife over chains, which also takes
off the bias, so that a zero may come out below zero.
covariance off: ‖simulated − predicted‖ / ‖predicted‖ (Frobenius), and what Monte Carlo alone makes of it.
relaxations: length of the run in relaxation times of the slowest direction. Chains start in {start};
below about 2 the slowest directions still remember it.
"""
STARTS = {"predicted": "draws of the predicted law", "optimum": "the optimum, without any spread"}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Predict and simulate constant SGD and its relatives as samplers.")
    parser.add_argument("--data", nargs="+", choices=EMBEDDED + NEEDS_FOLDER, help="default: all there are")
    parser.add_argument("--data-dir", type=Path, help="folder that holds wine/, skin/ and protein/")
    parser.add_argument("--steps", type=int, help="steps of every chain; the default depends on the data")
    parser.add_argument("--chains", type=int, help="chains of every sampler; the default depends on the data")
    parser.add_argument("--start", choices=tuple(STARTS), default="predicted", help="where the chains start")
    parser.add_argument("--seed", type=int, default=0, help="of the batches, the starts and the noise")
    parser.add_argument("--out", type=folder, default=Path("out/constant_sgd"), help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="no bars")
    args = parser.parse_args(argv)
    args.data = list(dict.fromkeys(args.data or EMBEDDED + (NEEDS_FOLDER if args.data_dir else ())))
    missing = [name for name in args.data if name in NEEDS_FOLDER]
    if missing and args.data_dir is None:
        parser.error(f"--data {missing[0]} needs --data-dir DIR, the folder that holds {missing[0]}/")
    for name, least in (("steps", 200), ("chains", 20), ("seed", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    return args


def run(task: Task, args: argparse.Namespace) -> tuple[Problem, list[Outcome]]:
    """Predict and simulate every sampler on one data set."""
    problem = Problem(task)
    outcomes = simulate(
        problem,
        methods(problem),
        chains=args.chains or task.chains,
        steps=args.steps or task.steps,
        at_optimum=args.start == "optimum",
        seed=args.seed,
        bar=not args.quiet,
    )
    return problem, outcomes


def cells(name: str, outcomes: list[Outcome]) -> list[list[str]]:
    """The table of one data set, with its head."""
    paper = PAPER.get(name, {})
    rows = [
        [
            o.method.label,
            _nats(o.continuous),
            _nats(o.discrete),
            with_error(o.simulated, o.stderr),
            f"{100 * o.covariance_error:.1f} % ({100 * o.covariance_noise:.1f} %)",
            f"{o.relaxations:.{0 if o.relaxations >= 10 else 2}f}",
            f"{paper[o.method.name]:g}" if o.method.name in paper else "",
        ]
        for o in outcomes
    ]
    return [list(HEAD), *rows]


def _nats(value: float) -> str:
    return "< 1e-8" if value < 1e-8 else f"{value:.4f}" if value >= 5e-5 else f"{value:.0e}"


def markdown(lines: list[list[str]]) -> str:
    """A table in Markdown."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled).replace(" *", r" \*")


def text(lines: list[list[str]]) -> str:
    """A table with aligned columns."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in ruled
    )


def to_dict(task: Task, outcomes: list[Outcome]) -> dict[str, object]:
    """The outcomes on one data set as JSON."""
    paper, numbers = PAPER.get(task.name, {}), ("continuous", "discrete", "simulated", "stderr")
    numbers += ("covariance_error", "covariance_noise", "relaxations")
    samplers = {
        o.method.name: {name: getattr(o, name) for name in numbers} | {"paper": paper.get(o.method.name)}
        for o in outcomes
    }
    n, d = task.x.shape
    return {"num_data": n, "dim": d, "batch_size": task.batch_size, "samplers": samplers}


def title(task: Task, args: argparse.Namespace) -> str:
    """What a table is about."""
    model = "logistic" if task.logistic else "linear"
    sizes = f"N = {len(task.x)}, D = {task.x.shape[1]}, S = {task.batch_size}"
    length = f"{args.chains or task.chains} chains of {args.steps or task.steps} steps"
    return f"{task.name}: {model} regression, {sizes}, {length}"


def main(argv: list[str] | None = None) -> int:
    """Run the whole experiment."""
    args = arguments(argv)
    started = time.perf_counter()
    try:
        tasks = [load(name, args.data_dir) for name in args.data]
    except (OSError, ValueError) as error:
        print(f"constant_sgd: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    results, sections, tables = {}, [], {}
    note = NOTE.format(start=STARTS[args.start])
    for task in tasks:
        problem, outcomes = run(task, args)
        results[task.name], tables[task.name] = to_dict(task, outcomes), outcomes
        draw_iterates(problem, outcomes).savefig(args.out / f"iterates-{task.name}.png", dpi=140)
        lines, head = cells(task.name, outcomes), title(task, args)
        picture = f"![iterates over the posterior's contours](iterates-{task.name}.png)"
        sections.append(f"## {head}\n\n{markdown(lines)}\n\n{picture}\n")
        print(f"{head}\n\n{text(lines)}\n", flush=True)
    draw_divergences(tables).savefig(args.out / "divergences.png", dpi=140)
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    told = {"config": config | {"torch": torch.__version__}, "data": results}
    files.write_text(args.out / "results.json", json.dumps(told, indent=1))
    head = f"# Constant SGD as a sampler\n\n```\n{note}```\n\n![divergences](divergences.png)\n"
    files.write_text(args.out / "report.md", "\n".join([head, *sections]))
    print(note)
    print(f"That took {time.perf_counter() - started:.0f} s. Results, report and figures are in {args.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
