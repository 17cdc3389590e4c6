"""The ε of a Sinkhorn GAN: fidelity against variety, over ε and the batch size, on the digits.

    python benchmarks/sinkhorn_gan.py [--seeds 1] [--steps 3500] [--out benchmarks/results]

Trains the recipe `sinkhorn` at several ε (as a fraction of the mean cost) and batch sizes and writes
`sinkhorn_gan.md` and `sinkhorn_gan.png`: precision, recall, density and coverage on the held-out digits, k = 5, pixels.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure

import metrics
from gan import GAN, data, losses, networks
from gan.recipes import recipe
from metrics import files
from metrics.plots import COLOURS

BLURS = (0.025, 0.05, 0.1, 0.2, 0.4)
BATCHES = (128, 512)
SCORES = ("precision", "recall", "density", "coverage")


def trial(blur: float, batch: int, seed: int, steps: int, digits: data.Data) -> dict[str, float]:
    """Train once; return the scores and the seconds."""
    mean_cost = 2 * float(digits.train.double().var(0, unbiased=False).sum())
    settings = replace(recipe("sinkhorn", like=digits.train).settings, batch_size=batch)
    model = GAN(networks.mlp_generator(64, seed=seed), loss=losses.Sinkhorn(eps=blur * mean_cost))
    started = time.perf_counter()
    model.fit(
        digits, steps=steps, batch_size=batch, seed=seed, progress=False, settings=settings, device="cpu"
    )
    seconds = time.perf_counter() - started
    fake = model.sample(len(digits.held_out), seed=seed)
    found = metrics.precision_recall_density_coverage(real=digits.held_out, fake=fake)
    return {name: float(getattr(found, name)) for name in SCORES} | {"seconds": seconds}


def draw(rows: dict[tuple[int, float], dict[str, float]]) -> Figure:
    """A panel per batch size: the scores over ε."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axis, batch in zip(figure.subplots(1, len(BATCHES), sharey=True), BATCHES, strict=True):
        for score, colour, marker in zip(("precision", "recall", "coverage"), COLOURS, "osD", strict=False):
            axis.plot(BLURS, [rows[batch, b][score] for b in BLURS], color=colour, marker=marker, label=score)
        axis.set_xscale("log")
        axis.set_xticks(BLURS, [str(b) for b in BLURS])
        axis.minorticks_off()
        axis.set_xlabel("ε / mean cost")
        axis.set_title(f"batch of {batch}", fontsize=10)
        axis.set_ylim(0, 1)
        axis.grid(color="0.92")
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.axes[0].set_ylabel("held-out digits, k = 5, pixels")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Run all trials; print and write the table and the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args(argv)
    digits, rows = data.digits(), {}
    lines = [
        f"{args.steps} steps, mean of {args.seeds} seed(s), 899 samples against 899 held-out digits, k = 5, pixels; "
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s).",
        "",
        "| batch | ε / mean cost | precision | recall | density | coverage | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch in BATCHES:
        for blur in BLURS:
            trials = [trial(blur, batch, seed, args.steps, digits) for seed in range(args.seeds)]
            rows[batch, blur] = {name: statistics.fmean(t[name] for t in trials) for name in trials[0]}
            told = " | ".join(f"{rows[batch, blur][name]:.3f}" for name in SCORES)
            lines.append(f"| {batch} | {blur} | {told} | {rows[batch, blur]['seconds']:.0f} |")
            print(lines[-1], flush=True)
    files.write_text(args.out / "sinkhorn_gan.md", "\n".join(lines) + "\n")
    draw(rows).savefig(args.out / "sinkhorn_gan.png", dpi=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
