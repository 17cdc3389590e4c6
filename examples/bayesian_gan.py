"""A posterior over generators: does a mixture of generators from one run pay, beside one generator and an ensemble?

    python examples/bayesian_gan.py [--data ring|grid|digits] [--loss NAME] [--steps N] [--seeds N] [--members N]
                                    [--draws N] [--temperature T] [--seed N] [--out DIR] [--quiet]

Every way of `generator_posteriors` has N generator updates in all. Each draws as many samples as there are held-out
points and is judged by the same measures: on mixtures modes, high quality and reverse KL; on digits precision, recall,
coverage, 1-NN, and the share of samples nearer to a training digit than to a held-out one (half without copying).

Means over seeds ± their standard error. A way differs from the single average where the difference, seed by seed, is
outside its 95 % interval by Student's t; with few seeds that is strict, and many comparisons are made.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from command_line import Parser, folder
from example_figures import draw_samples
from generator_posteriors import Plan, average, ensemble, mixture, of_one_run
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch import Tensor
from tqdm import tqdm

import gan
import metrics
from gan import Data, TrainingDivergedError, losses
from gan.networks.generator import latent_dim
from gan.seeds import stream
from metrics import files
from metrics.estimate import with_error
from metrics.plots import COLOURS

SINGLE = "average"
LOSSES = {"ring": "js", "grid": "js", "digits": "rpgan"}
GOALS = {
    "modes": 1,
    "high quality": 1,
    "reverse KL": -1,
    "precision": 1,
    "recall": 1,
    "coverage": 1,
    "1-NN": 0.5,
    "nearer to training": 0.5,
}
"""1 where more is better, −1 where less is, or the value to be near to."""
AIMS = {1: "more is better", -1: "less is better", 0.5: "½ is best"}
LEAST = {"steps": 20, "seeds": 3, "members": 2, "draws": 2, "seed": 0}
NOTE = """\
All ways have the same number of generator updates. average: one run by the recipe, its moving average. SWAG, SWAG in
its span, snapshots, SGHMC: mixtures of {draws} generators drawn from the iterates of one run, whose rate is held from
60 % on. SWAG mean: their mean, one generator. ensemble: averages of {members} runs that share the updates.
A way pays if it is better than the average in something and worse in nothing, by 95 % intervals over the seeds.
"""

Scores = dict[str, float]


@dataclass(frozen=True)
class Found:
    """Scores of every way by seed, and the first seed's samples."""

    scores: dict[str, list[Scores]]
    samples: dict[str, Tensor]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Mixtures of generators from one run, beside one generator and an ensemble.")
    parser.add_argument("--data", choices=list(LOSSES), default="ring")
    parser.add_argument("--loss", choices=losses.NAMES, help="default: js on mixtures, rpgan on digits")
    parser.add_argument("--steps", type=int, default=1500, help="generator updates of each way, in all")
    parser.add_argument("--seeds", type=int, default=3, help="repeats, at least 3")
    parser.add_argument("--members", type=int, default=4, help="GANs of the ensemble")
    parser.add_argument("--draws", type=int, default=20, help="generators of a mixture")
    parser.add_argument("--temperature", type=float, default=1e-3, help="of SGHMC; 1 is the loss's own")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=folder, default=Path("out/bayesian_gan"), help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="no bar")
    args = parser.parse_args(argv)
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if args.steps < 20 * args.members:
        parser.error(f"--steps must be at least 20 a member, {20 * args.members}, got {args.steps}")
    if not 0 <= args.temperature < float("inf"):
        parser.error(f"--temperature must be finite and at least 0, got {args.temperature}")
    args.loss = args.loss or LOSSES[args.data]
    return args


def judge(samples: Tensor, data: Data) -> Scores:
    """The measures of one cloud."""
    if data.centres is not None and data.std is not None:
        found = metrics.mode_coverage(samples, centres=data.centres, std=data.std)
        return {
            "modes": float(found.modes),
            "high quality": float(found.high_quality),
            "reverse KL": float(found.reverse_kl),
        }
    of_balls = metrics.precision_recall_density_coverage(real=data.held_out, fake=samples)
    copies = metrics.memorisation(samples, train=data.train, held_out=data.held_out)
    return {
        "precision": float(of_balls.precision),
        "recall": float(of_balls.recall),
        "coverage": float(of_balls.coverage),
        "1-NN": float(metrics.nearest_neighbour_accuracy(samples, data.held_out)),
        "nearer to training": float(copies.nearer_train),
    }


def draw_all(plan: Plan, seed: int, draws: int) -> dict[str, Tensor]:
    """Samples of every way, trained with one seed; all see the same latents."""
    count, data = len(plan.data.held_out), plan.data
    model = average(plan, seed)
    samples = {SINGLE: model.sample(count, seed=seed)}
    latents = torch.randn(count, latent_dim(model.generator), generator=stream("samples", seed))
    network, posteriors = of_one_run(plan, seed)
    for name, posterior in posteriors.items():
        several = 1 if name == "SWAG mean" else draws
        samples[name] = mixture(network, posterior, latents, draws=several, seed=seed)
    network, members = ensemble(plan, seed)
    samples["ensemble"] = mixture(network, members, latents, draws=plan.members, seed=seed)
    assert all(len(x) == count and x.shape[1:] == data.train.shape[1:] for x in samples.values())
    return samples


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    x = torch.tensor(values, dtype=torch.float64)
    return float(x.mean()), float(x.std() / len(x) ** 0.5)


def merit(measure: str, value: float) -> float:
    """The value as a number of which more is better."""
    goal = GOALS[measure]
    return goal * value if abs(goal) == 1 else -abs(value - goal)


def differences(found: Found) -> dict[str, dict[str, tuple[float, float, str]]]:
    """Of every way and measure: the gain over the single average, seed by seed, its error, and what it amounts to."""
    told = {}
    single = found.scores[SINGLE]
    wide = float(student.ppf(0.975, len(single) - 1))
    for name, scores in found.scores.items():
        if name == SINGLE:
            continue
        told[name] = {}
        for measure in single[0]:
            gains = [
                merit(measure, a[measure]) - merit(measure, b[measure])
                for a, b in zip(scores, single, strict=True)
            ]
            gain, error = mean_and_error(gains)
            word = "same" if abs(gain) <= wide * error else "better" if gain > 0 else "worse"
            told[name][measure] = (gain, error, word)
    return told


def verdict(told: dict[str, dict[str, tuple[float, float, str]]]) -> str:
    """In plain words, a line for every way."""
    lines = []
    for name, row in told.items():
        better = [m for m, (*_, word) in row.items() if word == "better"]
        worse = [m for m, (*_, word) in row.items() if word == "worse"]
        start = "pays" if better and not worse else "a trade" if better else "does not pay"
        said = [f"better in {', '.join(better)}"] if better else []
        said += [f"worse in {', '.join(worse)}"] if worse else []
        lines.append(f"- {name}: {start} ({'; '.join(said) or 'no difference beyond the error'}).")
    return "\n".join(lines)


def table(found: Found) -> str:
    """Means ± standard errors over seeds in Markdown."""
    measures = list(found.scores[SINGLE][0])
    lines = [["way", *measures], ["---"] * (len(measures) + 1)]
    for name, scores in found.scores.items():
        lines.append([name, *(with_error(*mean_and_error([s[m] for s in scores])) for m in measures)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw_scores(found: Found) -> Figure:
    """A panel a measure, a row a way: every seed, the mean and its standard error."""
    measures, names = list(found.scores[SINGLE][0]), list(found.scores)
    figure = Figure(figsize=(2.6 * len(measures) + 1.2, 3.4), layout="constrained")
    for axis, measure in zip(figure.subplots(1, len(measures), sharey=True), measures, strict=True):
        for row, name in enumerate(names):
            values = [s[measure] for s in found.scores[name]]
            mean, error = mean_and_error(values)
            axis.scatter(values, [row] * len(values), s=14, color="#999999", lw=0, zorder=1)
            axis.errorbar(mean, row, xerr=error, fmt="o", color=COLOURS[0 if row else 3], capsize=3)
        axis.axvline(mean_and_error([s[measure] for s in found.scores[SINGLE]])[0], color=COLOURS[3], lw=0.6)
        axis.set(xlabel=f"{measure} ({AIMS[GOALS[measure]]})", yticks=range(len(names)))
        axis.set_yticklabels(names)
        axis.set_ylim(len(names) - 0.5, -0.5)
    return figure


def write(found: Found, plan: Plan, args: argparse.Namespace, seeds: int, seconds: float) -> str:
    """Write the numbers and the figures of the seeds that are done; the report."""
    args.out.mkdir(parents=True, exist_ok=True)
    told = differences(found)
    draw_samples(found.samples, plan.data).savefig(args.out / "samples.png", dpi=110, bbox_inches="tight")
    draw_scores(found).savefig(args.out / "scores.png", dpi=120)
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    names = ("gain", "stderr", "word")
    gains = {n: {m: dict(zip(names, v, strict=True)) for m, v in row.items()} for n, row in told.items()}
    results = {"config": config | {"torch": torch.__version__}, "seconds": seconds}
    results |= {"scores": found.scores, "gains": gains}
    files.write_text(args.out / "results.json", json.dumps(results, indent=1))
    head = (
        f"{args.data}, {args.loss}, {args.steps} generator updates a way; {len(plan.data.held_out)} samples; "
        f"mean ± standard error over {seeds} seeds; {seconds:.0f} s in all."
    )
    note = NOTE.format(draws=args.draws, members=args.members)
    text = f"{head}\n\n{table(found)}\n\nBeside the single average:\n\n{verdict(told)}\n\n{note}"
    shown = "![scores](scores.png)\n\n![samples](samples.png)"
    files.write_text(args.out / "report.md", f"# A posterior over generators\n\n{text}\n{shown}\n")
    return text


def run(args: argparse.Namespace) -> None:
    """Train and judge every way, seed by seed."""
    data = (
        gan.data.digits()
        if args.data == "digits"
        else {"ring": gan.data.ring, "grid": gan.data.grid}[args.data](2500)
    )
    plan = Plan(data, gan.recipe(args.loss, like=data), args.steps, args.members, args.temperature)
    found, started, report = Found({}, {}), time.perf_counter(), ""
    for seed in tqdm(range(args.seed, args.seed + args.seeds), disable=args.quiet, unit="seed"):
        for name, samples in draw_all(plan, seed, args.draws).items():
            found.scores.setdefault(name, []).append(judge(samples, data))
            found.samples.setdefault(name, samples)
        done = seed + 1 - args.seed
        # What is finished is there before the last seed is.
        report = write(found, plan, args, done, time.perf_counter() - started) if done > 1 else ""
    print(report)


def main(argv: list[str] | None = None) -> int:
    """Run the comparison."""
    args = arguments(argv)
    # The networks are small: one thread is as fast, and gives the same bits on every machine size.
    torch.set_num_threads(1)
    try:
        run(args)
    except (ValueError, TypeError, OSError, TrainingDivergedError) as error:
        print(f"bayesian_gan: {error}", file=sys.stderr)
        return 2
    print(f"Report, results and figures are in {args.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
