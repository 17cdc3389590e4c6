"""Three digits as the channels of a picture: how many of 1000 classes a GAN draws, by the parts of R3GAN.

    python benchmarks/stacked_digits.py [--variants rpgan ns rpgan-r1] [--setting plain|weak|mnist] [--gamma 3]
        [--seeds 1] [--steps 4000] [--data-dir DIR] [--out FILE]

The order to look for is that of Huang et al. 2024 on stacked MNIST: relativistic pairs with R1 and R2 had 1000 classes
and a KL of .078, the plain loss with both 693 and .93. Here the digits have 8 × 8 pixels and networks are multilayer;
25 600 samples are named by the digits classifier, channel by channel. Held-out pictures score 1000 and .020, of which
.0195 are the bias of so few samples, an untrained generator some 540 and 2.4. In the plain setting every variant has
all classes; `weak` has a critic too small for them, so that parts can be told from each other. `mnist` is Stacked MNIST
itself, 28 × 28, of the files in `--data-dir`, by small convolutional networks; its held-out pictures score 1000 and
.027. Every run is kept in `--folder`, so that a table that was stopped goes on.
"""

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from timing import machine
from torch import nn
from tqdm import tqdm

import gan
from gan import GAN, Data, TrainingDivergedError, TrainingSettings, losses, networks
from gan import data as datasets
from gan.penalties import R1, R2
from metrics import files
from metrics.features import ImageClassifier, digits_classifier
from metrics.neighbours import class_coverage

PICTURES = 50_000
SAMPLES = 25_600


@dataclass(frozen=True)
class Setting:
    """What a variant is trained in: the critic's widths or both players' channels, γ, rates, generator steps."""

    critic: tuple[int, ...] | int
    gamma: float
    settings: TrainingSettings
    steps: int


SETTINGS = {
    # γ is about .05 × the total variance of the pictures, as in the digits' recipe.
    "plain": Setting(
        (256, 256, 256),
        3.0,
        TrainingSettings(batch_size=128, final_learning_rate=2e-5, penalty_decay=0.1),
        4000,
    ),
    "weak": Setting(
        (32, 32),
        0.03,
        TrainingSettings(batch_size=64, learning_rate=2e-3, final_learning_rate=2e-3),
        1500,
    ),
    "mnist": Setting(16, 1.0, TrainingSettings(batch_size=64, final_learning_rate=2e-5), 2000),
}
PAIRS = ("relativistic pairs", losses.RelativisticPairing())
PLAIN = ("non-saturating", losses.NonSaturating())
VARIANTS = {
    "rpgan": (*PAIRS, (R1, R2)),
    "ns": (*PLAIN, (R1, R2)),
    "rpgan-r1": (*PAIRS, (R1,)),
    "ns-r1": (*PLAIN, (R1,)),
    "rpgan-none": (*PAIRS, ()),
    "ns-none": (*PLAIN, ()),
}


def title(name: str) -> str:
    """A variant in words."""
    words, _, penalties = VARIANTS[name]
    return f"{words}, {' + '.join(each.__name__ for each in penalties) or 'no penalty'}"


def players(shape: tuple[int, ...], setting: Setting, seed: int) -> tuple[nn.Module, nn.Module]:
    """Convolutional networks of few channels, or multilayer ones of flattened pictures."""
    if isinstance(setting.critic, int):
        rest = {"shape": shape, "channels": setting.critic, "seed": seed}
        return networks.conv_generator(**rest), networks.conv_critic(**rest)
    d = math.prod(shape)
    generator = networks.mlp_generator(d, latent_dim=64, hidden=(256, 256, 256), seed=seed)
    return generator, networks.mlp_critic(d, hidden=setting.critic, seed=seed)


@cache
def pictures(data_dir: Path | None) -> tuple[Data, ImageClassifier]:
    """The stacked pictures and the classifier of one channel."""
    if data_dir is None:
        return datasets.stacked_digits(PICTURES), digits_classifier()
    mnist = datasets.mnist(data_dir)
    assert mnist.train_labels is not None
    return datasets.stacked_digits(PICTURES, of=mnist), digits_classifier(mnist.train, mnist.train_labels)


def one(name: str, seed: int, setting: Setting, data_dir: Path | None) -> dict[str, float]:
    """Train and judge one variant; a run that diverges has no classes."""
    _, loss, penalties = VARIANTS[name]
    data, classifier = pictures(data_dir)
    shape = tuple(data.train.shape[1:])
    flat = not isinstance(setting.critic, int)
    model = GAN(
        *players(shape, setting, seed=1000 * seed),
        loss=loss,
        penalties=tuple(penalty(setting.gamma) for penalty in penalties),
    )
    started = time.process_time()
    try:
        model.fit(
            data.train.flatten(1) if flat else data.train,
            steps=setting.steps,
            seed=seed,
            settings=setting.settings,
            device="cpu",
            progress=False,
        )
    except TrainingDivergedError:
        return {"modes": 0.0, "kl": math.inf, "seconds": time.process_time() - started}
    seconds = time.process_time() - started
    samples = model.sample(SAMPLES, seed=seed)
    samples = samples.unflatten(1, shape) if flat else samples
    found = class_coverage(gan.data.stacked_labels(samples, classifier=classifier))
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
    parser.add_argument("--setting", choices=SETTINGS, default="plain")
    parser.add_argument("--gamma", type=float, help="of R1 and R2; default: the setting's")
    parser.add_argument("--steps", type=int, help="generator steps; default: the setting's")
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files, for --setting mnist")
    parser.add_argument("--folder", type=Path, default=Path("out/stacked_digits"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if (args.setting == "mnist") != (args.data_dir is not None):
        parser.error("--setting mnist and --data-dir need each other")
    torch.set_num_threads(1)
    base = SETTINGS[args.setting]
    setting = replace(base, gamma=args.gamma or base.gamma, steps=args.steps or base.steps)
    kind = f"{args.setting}-{setting.gamma:g}-{setting.steps}"
    lines = [
        f"{machine()}; one thread; {setting.steps} generator steps, γ = {setting.gamma:g}, "
        f"{'channels' if isinstance(setting.critic, int) else 'a critic of'} {setting.critic}; "
        "seconds of the processor",
        "",
        "| stacked digits | seeds | classes of 1000 | KL, nats | seconds |",
        "|---|---|---|---|---|",
    ]
    for name in args.variants:
        runs = []
        for seed in tqdm(range(args.seeds), disable=None, desc=name):
            path = args.folder / f"{name}-{seed}-{kind}.json"
            if not path.exists():
                files.write_text(path, json.dumps(one(name, seed, setting, args.data_dir)))
            runs.append(json.loads(path.read_text()))
        cells = [told([run[key] for run in runs]) for key in ("modes", "kl", "seconds")]
        lines.append(f"| {title(name)} | {len(runs)} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out is not None:
        files.write_text(args.out, text)


if __name__ == "__main__":
    main()
