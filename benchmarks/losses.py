"""Every loss by its recipe, judged by every measure: which wins under which, and does training on D win under D?

    python benchmarks/losses.py [--data ring grid digits mnist] [--losses js wgan-gp ...] [--seeds 5] [--steps N]
        [--tries 4] [--data-dir DIR] [--folder DIR] [--out DIR]

Each loss has the same budget of tuning: `--tries` configurations, the recipe the first of them, trained for a quarter
of the steps (`losses_tuning.py`); the best of them is trained for all seeds, and the scores of all are told.
Four and more seeds of a loss are trained at once (`gan.fit_many`), fewer one by one, and where that is refused. As many
samples as held-out points, at most 1000 of each; MMD has one Gaussian kernel for all, whose bandwidths are those of the
held-out points; "by a critic" are lower bounds by fresh critics, cross-fitted (`gan.fresh_divergence`). Every run's
samples and numbers are kept in the folder, so that a table that was stopped goes on; without its numbers (a .json) a
run is measured anew, not trained. Writes losses.md and a picture for each data set: the rank of each loss under each
measure.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from gan_recipes import some
from losses_page import DESCENDS, answer, draw, table, tuning_table
from losses_tuning import best, configurations, score
from timing import machine
from torch import Tensor
from tqdm import tqdm

import gan
import metrics
from gan import GAN, Data, TrainingDivergedError
from gan import data as datasets
from gan.recipes.recipe import Recipe
from metrics import files
from metrics.kernels import Gaussian, median_heuristic

DATA = {
    "ring": lambda: datasets.ring(2500),
    "grid": lambda: datasets.grid(2500),
    "digits": datasets.digits,
}
CRITICS = {
    "KL by a critic": gan.losses.KL(),
    "JS by a critic": gan.losses.JensenShannon(),
    "W1 by a critic": gan.losses.Wasserstein(),
}
POINTS = 1000
WORTH_STACKING = 4
"""Seeds from which on training at once is faster: two cost 2.4 to 2.8 times one (`gan_many.py`)."""


FRESH_STEPS = 200
"""Of each fresh critic."""


def shuffled_mnist(folder: Path | None) -> Data:
    """MNIST in a random order: its first test images are the easier ones, and the table takes a thousand."""
    data = datasets.mnist(folder)
    train, held_out = (some(part, len(part)) for part in (data.train, data.held_out))
    return replace(data, train=train, held_out=held_out, train_labels=None, held_out_labels=None)


def judged(x: Tensor, data: Data) -> dict[str, float]:
    """Every measure of samples against the held-out points."""
    y = data.held_out[:POINTS].flatten(1)
    x = x.flatten(1)
    widths = [median_heuristic(y) * 2.0**k for k in range(-2, 3)]
    scores = metrics.precision_recall_density_coverage(real=y, fake=x, k=5)
    found: dict[str, Tensor | float] = {
        "W1": metrics.wasserstein(x, y, p=1),
        "W2": metrics.wasserstein(x, y),
        "sinkhorn": metrics.sinkhorn_divergence(x, y),
        "sliced W2": metrics.sliced_wasserstein(x, y),
        "mmd2": metrics.mmd2(x, y, kernel=Gaussian(tuple(widths))),
        "energy": metrics.energy_distance(x, y),
        "frechet": metrics.frechet_distance(x, y),
        "KL(data‖samples)": metrics.knn_kl(y, x),
        "KL(samples‖data)": metrics.knn_kl(x, y),
        "precision": scores.precision,
        "recall": scores.recall,
        "density": scores.density,
        "coverage": scores.coverage,
        "1-NN": metrics.nearest_neighbour_accuracy(x, y),
    }
    for name, loss in CRITICS.items():
        found[name] = gan.fresh_divergence(loss, real=y, fake=x, folds=3, steps=FRESH_STEPS).value
    if data.centres is not None and data.std is not None:
        modes = metrics.mode_coverage(x, centres=data.centres, std=data.std)
        found |= {"modes": modes.modes, "high quality": modes.high_quality, "reverse KL": modes.reverse_kl}
    return {name: float(value) for name, value in found.items()}


def tuned(name: str, data: Data, args: argparse.Namespace) -> tuple[Recipe, list[float]]:
    """The best configuration of a loss and the scores of all; those that are not in the folder are made."""
    chosen = gan.recipe(name, like=data)
    tries = configurations(chosen, args.tries)
    if args.tries == 1:
        return chosen, []
    steps = max(1, (args.steps or chosen.steps) // 4)
    scores = []
    for k, configuration in enumerate(tries):
        path = args.folder / f"{data.name}-{name}-try{k}-{steps}.json"
        if not path.exists():
            used = min(POINTS, len(data.held_out))
            files.write_text(path, json.dumps(score(configuration, data, used=used, steps=steps)))
        scores.append(json.loads(path.read_text()))
    return tries[best(scores)], scores


def trained(chosen: Recipe, data: Data, seeds: list[int], steps: int | None) -> list[GAN]:
    """The models of some seeds, at once where they can be stacked."""

    def fresh() -> list[GAN]:
        return [GAN.from_recipe(chosen, *chosen.players(seed=1000 * seed)) for seed in seeds]

    steps = steps or chosen.steps
    if len(seeds) >= WORTH_STACKING:
        try:
            return gan.fit_many(fresh(), data, steps=steps, seeds=seeds, device="cpu")
        except TrainingDivergedError:
            raise
        except ValueError:  # cannot be stacked
            pass
    return [
        model.fit(data, steps=steps, seed=seed, device="cpu")
        for model, seed in zip(fresh(), seeds, strict=True)
    ]


def runs(name: str, chosen: Recipe, data: Data, args: argparse.Namespace) -> list[dict[str, float]]:
    """The numbers of a loss, one dictionary a seed; samples and numbers that are not in the folder are made."""
    kind = f"{args.steps or 'recipe'}" + (f"-best{args.tries}" if args.tries > 1 else "")
    paths = {seed: args.folder / f"{data.name}-{name}-{seed}-{kind}.json" for seed in range(args.seeds)}
    samples = {seed: path.with_suffix(".safetensors") for seed, path in paths.items()}
    missing = [seed for seed, path in paths.items() if not path.exists() and not samples[seed].exists()]
    if missing:
        count = min(POINTS, len(data.held_out))
        for seed, model in zip(missing, trained(chosen, data, missing, args.steps), strict=True):
            files.write(samples[seed], {"samples": model.sample(count, seed=seed)}, {})
    for seed, path in paths.items():
        if not path.exists():
            made, _ = files.read(samples[seed])
            files.write_text(path, json.dumps(judged(made["samples"], data)))
    return [json.loads(path.read_text()) for path in paths.values()]


def floor(data: Data) -> dict[str, float]:
    """Training points in the samples' place."""
    return judged(data.train[: min(POINTS, len(data.held_out))], data)


def by_measure(found: list[dict[str, float]]) -> dict[str, list[float]]:
    """Of each measure the values of all seeds."""
    return {name: [run[name] for run in found] for name in found[0]}


def main() -> None:
    """Train what is missing; write the page and the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", nargs="+", choices=[*DATA, "mnist"], default=["ring", "grid"])
    parser.add_argument("--losses", nargs="+", choices=gan.losses.NAMES, default=list(gan.losses.NAMES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int)
    parser.add_argument(
        "--tries", type=int, default=4, help="configurations a loss is tuned over; 1: its recipe"
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files, for --data mnist")
    parser.add_argument("--folder", type=Path, default=Path("out/losses"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    budget = f"{args.steps} generator steps" if args.steps else "the recipe's generator steps"
    how = f"the best of {args.tries} configurations" if args.tries > 1 else "its recipe"
    parts = [
        "# Losses and measures",
        f"{machine()}; one thread. Every loss by {how} with {budget}, {args.seeds} seeds: mean ± standard error "
        f"over them; the best in bold. The floor is training points in the samples' place. "
        f"W1 is descended by {', '.join(n for n, d in DESCENDS.items() if d == 'W1')}.",
    ]
    for data_name in args.data:
        data = shuffled_mnist(args.data_dir) if data_name == "mnist" else DATA[data_name]()
        found, scores = {}, {}
        for name in tqdm(args.losses, disable=None, desc=data_name):
            chosen, scores[name] = tuned(name, data, args)
            try:
                found[name] = by_measure(runs(name, chosen, data, args))
            except TrainingDivergedError as error:
                parts.append(f"{data_name}, {name}: {error}")
        count = min(POINTS, len(data.held_out))
        parts += [
            f"## {data_name}",
            f"{count} samples against {count} held-out points.",
            table(found, floor(data)),
            answer(found),
            *([tuning_table(scores)] if args.tries > 1 else []),
        ]
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            draw(found, data_name).savefig(args.out / f"losses_{data_name}.png", dpi=120)
            parts.append(f"![Ranks of the losses on {data_name}](losses_{data_name}.png)")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.out is not None:
        files.write_text(args.out / "losses.md", text)


if __name__ == "__main__":
    main()
