"""What the recipes reach, by the names of the command line, over seeds: `--data ring|grid|digits|mnist`.

    python benchmarks/gan_recipes.py [--data ring grid digits] [--losses js wgan-gp ...] [--seeds 3] [--folder DIR]
    [--data-dir DIR] [--out FILE]

Mixtures: modes with a sample within 3 σ, share of high quality, reverse KL in nats of 2500 samples, as PacGAN's
table 1 (Lin et al. 2018). Digits: 899 samples against the 899 held-out digits, k = 5; `nearer` is the share of
samples whose nearest digit is a training one, .5 where nothing is copied. MNIST (`--data-dir` holds its files): 5000
samples against 5000 random held-out images, `nearer` beside 5000 random training images, the features those of a
classifier of its training images; 5000 other training images in the samples' place are the floor. Every run is kept in
the folder, so that a table that was stopped goes on.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from timing import machine
from torch import Tensor
from tqdm import tqdm

import gan
import metrics
from gan import GAN, Data
from gan import data as datasets
from metrics import files
from metrics.features import digits_classifier
from metrics.neighbours import memorisation

DATA = {
    "ring": lambda: datasets.ring(2500),
    "grid": lambda: datasets.grid(2500),
    "digits": datasets.digits,
    "mnist": datasets.mnist,
}
COMPARED = 5000
"""Images of MNIST in each cloud."""
COLUMNS = {
    "mixture": ("modes", "high_quality", "reverse_kl"),
    "digits": ("nn_accuracy", "precision", "recall", "coverage", "frechet", "nearer"),
}


def judged(model: GAN, data: Data, seed: int) -> dict[str, float]:
    """The numbers of one trained model."""
    if data.centres is not None and data.std is not None:
        found = metrics.mode_coverage(model.sample(2500, seed=seed), centres=data.centres, std=data.std)
        return {name: float(getattr(found, name)) for name in COLUMNS["mixture"]}
    return compared(model.sample(min(COMPARED, len(data.held_out)), seed=seed).flatten(1), data)


def compared(x: Tensor, data: Data) -> dict[str, float]:
    """The numbers of samples of images."""
    assert data.train_labels is not None
    train, held_out = data.train.flatten(1), data.held_out.flatten(1)
    features = classifier(data)
    if len(train) > COMPARED:
        train, held_out = some(train, COMPARED), some(held_out, COMPARED)
    scores = metrics.precision_recall_density_coverage(real=held_out, fake=x, k=5)
    return {
        "nn_accuracy": float(metrics.nearest_neighbour_accuracy(x, held_out)),
        "precision": float(scores.precision),
        "recall": float(scores.recall),
        "coverage": float(scores.coverage),
        "frechet": float(metrics.frechet_distance(features(x), features(held_out))),
        "nearer": float(memorisation(x, train=train, held_out=held_out).nearer_train),
    }


def classifier(data: Data) -> metrics.Features:
    """The classifier whose penultimate layer is compared, learned from training images and their labels."""
    assert data.train_labels is not None
    return digits_classifier(data.train.flatten(1), data.train_labels)


def some(x: Tensor, n: int, *, skip: int = 0) -> Tensor:
    """A random part of n rows, the same in each call; another one by `skip`."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[skip : skip + n]]


def one(name: str, data: Data, seed: int, steps: int | None) -> dict[str, float]:
    """Train and judge one run."""
    chosen = gan.recipe(name, like=data)
    model = GAN.from_recipe(chosen, *chosen.players(seed=1000 * seed))
    steps = steps or chosen.steps
    started = time.process_time()
    model.fit(data, steps=steps, seed=seed, device="cpu", progress=False)
    seconds = time.process_time() - started
    return judged(model, data, seed) | {"seconds": seconds, "steps": steps}


def row(runs: list[dict[str, float]], columns: tuple[str, ...]) -> str:
    """Means and standard errors over the seeds."""
    cells = []
    for column in (*columns, "seconds"):
        values = [run[column] for run in runs]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        cells.append(
            f"{statistics.mean(values):.3g} ± {error:.2g}" if len(values) > 1 else f"{values[0]:.3g}"
        )
    return " | ".join([str(int(runs[0]["steps"])), *cells])


def main() -> None:
    """Train what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", nargs="+", choices=DATA, default=["ring", "grid", "digits"])
    parser.add_argument("--losses", nargs="+", default=["js", "rpgan", "wgan-gp", "sinkhorn"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files, for --data mnist")
    parser.add_argument("--folder", type=Path, default=Path("out/gan_recipes"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"{machine()}; one thread; mean ± standard error over seeds; seconds of the processor", ""]
    for data_name in args.data:
        data = datasets.mnist(args.data_dir) if data_name == "mnist" else DATA[data_name]()
        columns = COLUMNS["digits" if data_name in ("digits", "mnist") else "mixture"]
        lines += [
            f"| {data_name} | seeds | steps | {' | '.join(columns)} | seconds |",
            "|---" * (len(columns) + 4) + "|",
        ]
        for name in args.losses:
            runs = []
            for seed in tqdm(range(args.seeds), disable=None, desc=f"{data_name} {name}"):
                path = args.folder / f"{data_name}-{name}-{seed}-{args.steps or 'recipe'}.json"
                if not path.exists():
                    files.write_text(path, json.dumps(one(name, data, seed, args.steps)))
                runs.append(json.loads(path.read_text()))
            lines.append(f"| {name} | {len(runs)} | {row(runs, columns)} |")
            print(lines[-1], flush=True)
        if data_name == "mnist":
            rest = some(data.train.flatten(1), COMPARED, skip=COMPARED)
            floor = compared(rest, data)
            lines.append(f"| floor | | | {' | '.join(f'{floor[c]:.3g}' for c in columns)} | |")
        lines.append("")
    text = "\n".join(lines)
    print(text)
    if args.out is not None:
        files.write_text(args.out, text)


if __name__ == "__main__":
    main()
