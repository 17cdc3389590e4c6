"""Three digits as the channels of a picture: how many of 1000 classes a GAN draws, by the parts of R3GAN.

    python benchmarks/stacked_digits.py [--variants rpgan js rpgan-r1] [--seeds 1] [--steps 4000] [--out FILE]

The order to look for is that of Huang et al. 2024 on stacked MNIST: relativistic pairs with R1 and R2 had 1000 classes
and a KL of .078, the plain loss with both 693 and .93. Here the digits have 8 × 8 pixels and networks are multilayer;
25 600 samples are named by the digits classifier, channel by channel. Held-out pictures score 1000 and .020, of which
.0195 are the bias of so few samples. Every run is kept in `--folder`, so that a table that was stopped goes on.
"""

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import torch
from timing import machine
from tqdm import tqdm

import gan
from gan import GAN, TrainingDivergedError, TrainingSettings, losses, networks
from gan import data as datasets
from gan.penalties import R1, R2
from metrics import files
from metrics.neighbours import class_coverage

PICTURES = 50_000
SAMPLES = 25_600
GAMMA = 3.0
"""About .05 × the total variance of the pictures, as the digits' recipe."""

SETTINGS = TrainingSettings(batch_size=128, final_learning_rate=2e-5, penalty_decay=0.1)
VARIANTS = {
    "rpgan": ("relativistic pairs, R1 + R2", losses.RelativisticPairing(), (R1(GAMMA), R2(GAMMA))),
    "js": ("non-saturating, R1 + R2", losses.NonSaturating(), (R1(GAMMA), R2(GAMMA))),
    "rpgan-r1": ("relativistic pairs, R1 alone", losses.RelativisticPairing(), (R1(GAMMA),)),
    "js-r1": ("non-saturating, R1 alone", losses.NonSaturating(), (R1(GAMMA),)),
}


def one(name: str, seed: int, steps: int) -> dict[str, float]:
    """Train and judge one variant; a run that diverges has no classes."""
    _, loss, penalties = VARIANTS[name]
    pictures = datasets.stacked_digits(PICTURES).train.flatten(1)
    hidden = (256, 256, 256)
    model = GAN(
        networks.mlp_generator(pictures.shape[1], latent_dim=64, hidden=hidden, seed=1000 * seed),
        networks.mlp_critic(pictures.shape[1], hidden=hidden, seed=1000 * seed),
        loss=loss,
        penalties=penalties,
    )
    started = time.process_time()
    try:
        model.fit(pictures, steps=steps, seed=seed, settings=SETTINGS, device="cpu", progress=False)
    except TrainingDivergedError:
        return {"modes": 0.0, "kl": math.inf, "seconds": time.process_time() - started}
    seconds = time.process_time() - started
    samples = model.sample(SAMPLES, seed=seed).unflatten(1, (3, 8, 8))
    found = class_coverage(gan.data.stacked_labels(samples))
    return {"modes": float(found.modes), "kl": float(found.kl), "seconds": seconds}


def told(values: list[float]) -> str:
    """A mean with its standard error over seeds."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{statistics.fmean(values):.4g} ± {statistics.stdev(values) / len(values) ** 0.5:.2g}"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--folder", type=Path, default=Path("out/stacked_digits"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"{machine()}; one thread; {args.steps} generator steps; seconds of the processor",
        "",
        "| stacked digits | seeds | classes of 1000 | KL, nats | seconds |",
        "|---|---|---|---|---|",
    ]
    for name in args.variants:
        runs = []
        for seed in tqdm(range(args.seeds), disable=None, desc=name):
            path = args.folder / f"{name}-{seed}-{args.steps}.json"
            if not path.exists():
                files.write_text(path, json.dumps(one(name, seed, args.steps)))
            runs.append(json.loads(path.read_text()))
        cells = [told([run[key] for run in runs]) for key in ("modes", "kl", "seconds")]
        lines.append(f"| {VARIANTS[name][0]} | {len(runs)} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out is not None:
        files.write_text(args.out, text)


if __name__ == "__main__":
    main()
