"""Three GAN losses on real digits, judged by one set of measures.

    python examples/gan_metrics.py [--losses js wgan-gp sinkhorn] [--data digits|mnist|ring|grid] [--data-dir DIR]
                                   [--device auto] [--steps N] [--seeds N] [--out DIR]

Trains every loss, draws as many samples as there are held-out points, and compares them with the held-out points under
every measure, beside the floor: training points in the samples' place. Writes results.json, report.md and figures.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from command_line import Parser
from example_figures import draw_curves, draw_samples
from torch import nn

import metrics
from gan import GAN, Data, losses, networks
from gan import data as datasets
from gan.history import History
from gan.recipes import Recipe, recipe
from gan.train import pick_device
from metrics import files
from metrics.evaluation import mode_measure, standard_measures
from metrics.features import digits_classifier

DATA = ("digits", "mnist", "ring", "grid")
STEPS = {"digits": 3500, "mnist": 5000, "ring": 5000, "grid": 5000}
EVALUATED = 1000
MIXTURE_POINTS = 2500


@dataclass
class Trained:
    """One loss after its trainings, one per seed."""

    report: metrics.Report
    samples: torch.Tensor
    history: History
    seconds: float


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Train GANs with several losses and judge them with one set of measures.")
    parser.add_argument("--losses", nargs="+", choices=losses.NAMES, default=["js", "wgan-gp", "sinkhorn"])
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--steps", type=int, help="generator steps; the default depends on the data")
    parser.add_argument("--seeds", type=int, default=1, help="trainings per loss")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, default=Path("out/gan_metrics"), help="where the results go")
    parser.add_argument("--resume", action="store_true", help="keep checkpoints in OUT and go on from them")
    parser.add_argument("--amp", action="store_true", help="bfloat16 forward passes on CUDA")
    parser.add_argument("--quiet", action="store_true", help="no bars")
    args = parser.parse_args(argv)
    if args.data == "mnist" and args.data_dir is None:
        parser.error("--data mnist needs --data-dir DIR with the four MNIST IDX files")
    for name in ("steps", "seeds"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    try:
        pick_device(args.device)
    except ValueError as error:
        parser.error(str(error))
    args.steps = args.steps or STEPS[args.data]
    return args


def load(args: argparse.Namespace) -> Data:
    """The data set that was asked for."""
    if args.data == "mnist":
        return datasets.mnist(args.data_dir)
    if args.data == "digits":
        return datasets.digits()
    return {"ring": datasets.ring, "grid": datasets.grid}[args.data](MIXTURE_POINTS)


def players(data: Data, chosen: Recipe, seed: int) -> tuple[nn.Module, nn.Module | None]:
    """The generator and, where the loss wants one, the critic that fit the data."""
    critic = None
    if data.image_shape == (28, 28):
        generator = networks.conv_generator(seed=seed)
        if chosen.critic_outputs:
            critic = networks.conv_critic(output_dim=chosen.critic_outputs, seed=seed + 1)
        return generator, critic
    d = data.train.shape[1]
    bounded = data.image_shape is not None
    generator = networks.mlp_generator(d, latent_dim=min(16, d), bounded=bounded, seed=seed)
    if chosen.critic_outputs:
        critic = networks.mlp_critic(d, output_dim=chosen.critic_outputs, seed=seed + 1)
    return generator, critic


def train(name: str, seed: int, data: Data, args: argparse.Namespace) -> GAN:
    """Train one loss with one seed."""
    chosen = recipe(name, data.train)
    generator, critic = players(data, chosen, 1000 * seed)
    model = GAN(generator, critic, loss=chosen.loss, penalties=chosen.penalties)
    kept = args.out / "checkpoints" / f"{args.data}-{name}-{seed}.safetensors"
    print(f"{name}, seed {seed}: {args.steps} steps", file=sys.stderr)
    return model.fit(
        data,
        steps=args.steps,
        batch_size=chosen.settings.batch_size,
        seed=seed,
        device=args.device,
        progress=not args.quiet,
        checkpoint=kept if args.resume else None,
        settings=chosen.settings,
        amp=args.amp,
    )


@dataclass
class Judge:
    """What every loss is held against: the held-out points, the measures, and the floor, measured once."""

    held_out: torch.Tensor
    measures: list[metrics.Measure]
    features: metrics.Features | None
    floor: metrics.Report

    @staticmethod
    def of(data: Data) -> "Judge":
        """The judge of a data set, with training points in the samples' place for the floor."""
        features = None
        if data.image_shape is not None and data.train_labels is not None:
            features = digits_classifier(data.train, data.train_labels)
        measures = standard_measures()
        if data.centres is not None and data.std is not None:
            measures = [*measures, mode_measure(data.centres, data.std)]
        held_out = data.held_out[:EVALUATED]
        pick = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[: len(held_out)]
        floor = metrics.evaluate(data.train[pick], held_out, measures=measures, features=features)
        return Judge(held_out, measures, features, floor)

    def report(self, samples: torch.Tensor) -> metrics.Report:
        """Every measure of the samples, beside the floor."""
        return metrics.evaluate(
            samples, self.held_out, measures=self.measures, features=self.features, floor=self.floor
        )


def run(name: str, data: Data, judge: Judge, args: argparse.Namespace) -> Trained:
    """Train and judge one loss over all seeds."""
    reports, started = [], time.perf_counter()
    samples, history = data.train, History()
    for seed in range(args.seed, args.seed + args.seeds):
        model = train(name, seed, data, args)
        drawn = model.sample(len(judge.held_out), seed=seed).cpu()
        if seed == args.seed:
            samples, history = drawn, model.history
        reports.append(judge.report(drawn))
    seconds = time.perf_counter() - started
    return Trained(metrics.Report.mean(reports), samples, history, seconds)


def write(trained: dict[str, Trained], data: Data, args: argparse.Namespace) -> metrics.Comparison:
    """Write the numbers and the figures."""
    comparison = metrics.Comparison({name: each.report for name, each in trained.items()})
    first = next(iter(trained.values())).report
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    config |= {"torch": torch.__version__, "features": first.features, "train": len(data.train)}
    config |= {"stderr": "over seeds" if args.seeds > 1 else "over fresh samples"}
    floor = {n: {"value": e.floor, "stderr": e.floor_stderr} for n, e in first.estimates.items()}
    told = {n: {**each.report.to_dict(), "seconds": each.seconds} for n, each in trained.items()}
    results = {"config": config, "floor": floor, "losses": told}
    files.write_text(args.out / "results.json", json.dumps(results, indent=1))
    figures = {
        "samples.png": draw_samples({name: each.samples for name, each in trained.items()}, data),
        "measures.png": comparison.plot(),
        "curves.png": draw_curves({name: each.history for name, each in trained.items()}),
    }
    for name, figure in figures.items():
        figure.savefig(args.out / name, dpi=140)
    pictures = "\n\n".join(f"![{name.removesuffix('.png')}]({name})" for name in figures)
    head = f"# {args.data}: {', '.join(trained)}\n\n{args.steps} steps, {args.seeds} seed(s), {summary(first, args)}"
    files.write_text(args.out / "report.md", f"{head}\n\n{comparison.to_markdown()}\n\n{pictures}\n")
    return comparison


def summary(report: metrics.Report, args: argparse.Namespace) -> str:
    """What a reader of the table must know."""
    n, m = next(iter(report.estimates.values())).sizes
    error = "standard error over seeds" if args.seeds > 1 else "standard error over fresh samples"
    return f"{n} samples against {m} held-out points; value ± {error}; features: {report.features}."


def main(argv: list[str] | None = None) -> int:
    """Run the whole comparison."""
    args = arguments(argv)
    try:
        data = load(args)
    except (FileNotFoundError, ValueError) as error:
        print(f"gan_metrics: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    if data.image_shape != (28, 28):
        # These networks are too small to share among cores, and one thread gives the same bits on every machine size.
        torch.set_num_threads(1)
    judge = Judge.of(data)
    trained = {name: run(name, data, judge, args) for name in dict.fromkeys(args.losses)}
    comparison = write(trained, data, args)
    print(comparison.to_text())
    print(f"\n{summary(next(iter(trained.values())).report, args)} * marks the best loss of a row.")
    times = ", ".join(f"{name} {each.seconds:.0f} s" for name, each in trained.items())
    print(f"Training and judging took {times}. Results, report and figures are in {args.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
