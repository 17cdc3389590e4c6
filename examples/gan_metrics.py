"""GAN losses on digits, on mixtures or on your own data, judged by one set of measures.

    python examples/gan_metrics.py [--losses js wgan-gp sinkhorn] [--data digits|mnist|ring|grid|PATH] [--data-dir DIR]
                                   [--device auto] [--steps N] [--seeds N] [--jobs N] [--out DIR]

PATH is a folder of pictures (subfolders are classes) or a file of arrays. Trains every loss by its recipe, draws as
many samples as there are held-out points, at most 1000, and compares them with a random part of the held-out points
under every measure, beside the floor: training points in the samples' place. Losses of small data are trained side by
side, one a core, to the bits that they have alone (`--jobs 1`). Writes results.json, report.md and figures. Checkpoints
are kept in OUT: `--resume` goes on after an interruption, or with more `--steps`.

In several processes: `torchrun --nproc-per-node=2 examples/gan_metrics.py ...`, each taking its part of every batch.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from example_figures import draw_curves, draw_samples
from gan_jobs import Run, at_once, in_turn, rank
from gan_options import arguments, load, random_part, resume_command

import metrics
from gan import Data, TrainingDivergedError
from gan.history import History
from gan.train import pick_device
from metrics import files
from metrics.evaluation import memorisation_measure, mode_measure, standard_measures
from metrics.features import digits_classifier

FEW_PIXELS = 256


@dataclass
class Trained:
    """One loss after its trainings, one per seed."""

    report: metrics.Report
    samples: torch.Tensor
    history: History
    seconds: float
    steps: int


@dataclass
class Judge:
    """What every loss is held against: held-out points, the measures, and the floor, measured once."""

    held_out: torch.Tensor
    measures: list[metrics.Measure]
    features: metrics.Features | None
    floor: metrics.Report

    @staticmethod
    def of(data: Data, count: int) -> "Judge":
        """The judge of a data set, with training points in the samples' place for the floor."""
        features, train = None, as_points(data.train)
        if data.is_image and data.train_labels is not None and data.num_classes > 1:
            features = digits_classifier(train, data.train_labels)
        measures = [*standard_measures(), memorisation_measure(random_part(train, count))]
        if data.centres is not None and data.std is not None:
            measures = [*measures, mode_measure(data.centres, data.std)]
        held_out = as_points(random_part(data.held_out, count))
        beside = random_part(train, count)
        floor = metrics.evaluate(beside, held_out, measures=measures, features=features)
        return Judge(held_out, measures, features, floor)

    def report(self, samples: torch.Tensor) -> metrics.Report:
        """Every measure of the samples, beside the floor."""
        return metrics.evaluate(
            as_points(samples),
            self.held_out,
            measures=self.measures,
            features=self.features,
            floor=self.floor,
        )


def as_points(samples: torch.Tensor) -> torch.Tensor:
    """Samples as the measures see them: flat, and bytes as the numbers in [−1, 1] that the networks see."""
    samples = samples.float() / 127.5 - 1 if samples.dtype == torch.uint8 else samples
    return samples.flatten(1)


def judged(run: Run, judge: Judge) -> Trained:
    """Judge one loss over all its seeds."""
    started = time.perf_counter()
    report = metrics.Report.mean([judge.report(samples) for samples in run.samples])
    seconds = run.seconds + time.perf_counter() - started
    return Trained(report, run.samples[0], run.history, seconds, len(run.history))


def write(trained: dict[str, Trained], data: Data, args: argparse.Namespace) -> metrics.Comparison:
    """Write the numbers and the figures."""
    comparison = metrics.Comparison({name: each.report for name, each in trained.items()})
    first = next(iter(trained.values())).report
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    config["steps"] = {name: each.steps for name, each in trained.items()}
    config |= {"torch": torch.__version__, "features": first.features, "train": len(data.train)}
    config |= {"stderr": "over seeds" if args.seeds > 1 else "over fresh samples"}
    floored = ((n, e) for n, e in first.estimates.items() if e.floor is not None)
    floor = {n: {"value": e.floor, "stderr": e.floor_stderr} for n, e in floored}
    told = {n: {**each.report.to_dict(), "seconds": each.seconds} for n, each in trained.items()}
    results = {"config": config, "floor": floor, "losses": told}
    files.write_text(args.out / "results.json", json.dumps(results, indent=1))
    figures = {
        "measures.png": comparison.plot(),
        "curves.png": draw_curves({n: t.history for n, t in trained.items()}),
    }
    if data.is_image or data.train[0].numel() <= 3:
        figures = {"samples.png": draw_samples({n: t.samples for n, t in trained.items()}, data)} | figures
    for name, figure in figures.items():
        figure.savefig(args.out / name, dpi=140)
    pictures = "\n\n".join(f"![{name.removesuffix('.png')}]({name})" for name in figures)
    steps = ", ".join(f"{name} {each.steps}" for name, each in trained.items())
    head = (
        f"# {data.name}: {', '.join(trained)}\n\nSteps: {steps}; {args.seeds} seed(s). {summary(first, args)}"
    )
    files.write_text(args.out / "report.md", f"{head}\n\n{comparison.to_markdown()}\n\n{pictures}\n")
    return comparison


def summary(report: metrics.Report, args: argparse.Namespace) -> str:
    """What a reader of the table must know."""
    n, m = next(iter(report.estimates.values())).sizes
    error = "standard error over seeds" if args.seeds > 1 else "standard error over fresh samples"
    return f"{n} samples against {m} held-out points; value ± {error}; features: {report.features}."


def tell(trained: dict[str, Trained], data: Data, args: argparse.Namespace) -> None:
    """Write and print what is finished."""
    comparison = write(trained, data, args)
    print(comparison.to_text())
    print(f"\n{summary(next(iter(trained.values())).report, args)} * marks the best loss of a row.")
    times = ", ".join(f"{name} {each.seconds:.0f} s" for name, each in trained.items())
    print(f"Training and judging took {times}. Results, report and figures are in {args.out}.")


def compare(data: Data, args: argparse.Namespace) -> int:
    """Train and judge every loss; an interruption shows what is finished and names the command that goes on."""
    count = min(args.evaluated, len(data.train), len(data.held_out))
    names = list(dict.fromkeys(args.losses))
    runs = at_once(names, data, count, args) if args.jobs > 1 else in_turn(names, data, count, args)
    trained: dict[str, Trained] = {}
    judge, code = None, 0
    try:
        for name, run in runs:
            if rank() == 0:
                judge = judge or Judge.of(data, count)
                trained[name] = judged(run, judge)
    except KeyboardInterrupt:
        code = 130
    finally:
        runs.close()
    if rank() == 0 and trained:
        tell({name: trained[name] for name in names if name in trained}, data, args)
    if code and rank() == 0:
        print(f"gan_metrics: interrupted; this goes on: {resume_command()}", file=sys.stderr)
    return code


def jobs_of(data: Data, args: argparse.Namespace) -> int:
    """How many losses are trained at once: as asked, or as many as there are cores for networks that fill only one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or pick_device(args.device).type != "cpu":
        return 1
    if args.jobs is not None:
        return args.jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(len(set(args.losses)), cores) if data.train[0].numel() <= FEW_PIXELS else 1


def main(argv: list[str] | None = None) -> int:
    """Run the whole comparison."""
    args = arguments(argv)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            args.device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        data = load(args)
        if data.train[0].numel() <= FEW_PIXELS:
            # These networks are too small to share among cores, and one thread gives the same bits on every machine
            # size.
            torch.set_num_threads(1)
        args.jobs = jobs_of(data, args)
        return compare(data, args)
    except (ValueError, TypeError, OSError, TrainingDivergedError) as error:
        print(f"gan_metrics: {error}", file=sys.stderr)
        return 2
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
