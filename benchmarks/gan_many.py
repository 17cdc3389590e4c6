"""What several GANs at once cost beside one: `gan.fit_many` of N runs over `GAN.fit` of one, in processor time.

    python benchmarks/gan_many.py [--data ring] [--losses js wgan-gp] [--counts 2 4 8] [--batch N ...] [--steps 40]
        [--rounds 5] [--threads 1] [--out FILE]

Both train the recipe of the data; rounds in turn, the ratio taken in each. Bound for 8 of the ring's recipe: 3.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from timing import machine

import gan
from gan import GAN, data
from metrics import files

DATA = {"ring": lambda: data.ring(2500), "grid": lambda: data.grid(2500), "digits": data.digits}


def made(name: str, points: data.Data, count: int) -> list[GAN]:
    """Fresh models."""
    chosen = gan.recipe(name, like=points)
    return [GAN.from_recipe(chosen, *chosen.players(seed=seed)) for seed in range(count)]


def seconds(work: Callable[[], object]) -> float:
    """Processor time of the process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def row(name: str, points: data.Data, batch: int, args: argparse.Namespace) -> str:
    """One loss and batch size."""
    single = made(name, points, 1)[0]
    many = {count: made(name, points, count) for count in args.counts}

    def run(count: int, steps: int) -> None:
        if count == 1:
            single.fit(points, steps=steps, batch_size=batch, device="cpu", progress=False)
        else:
            gan.fit_many(many[count], points, steps=steps, batch_size=batch, device="cpu", progress=False)

    for count in (1, *args.counts):
        run(count, 3)
    rounds = [
        {count: seconds(partial(run, count, args.steps)) for count in (1, *args.counts)}
        for _ in range(args.rounds)
    ]
    cells = []
    for count in args.counts:
        ratios = sorted(each[count] / each[1] for each in rounds)
        cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})")
    one = 1e3 * statistics.median(each[1] for each in rounds) / args.steps
    return f"| {name} | {batch} | {one:.1f} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", choices=DATA, default="ring")
    parser.add_argument("--losses", nargs="+", default=["js", "wgan-gp"])
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 256])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    points = DATA[args.data]()
    lines = [
        f"{machine()}; {args.threads} thread(s); {args.data}; {args.steps} steps, {args.rounds} rounds in turn; "
        "processor time; ratio: median (least, most)",
        "",
        "| loss | batch | ms a step, one | "
        + " | ".join(f"{count} at once / one" for count in args.counts)
        + " |",
        "|---" * (3 + len(args.counts)) + "|",
    ]
    for name in args.losses:
        for batch in args.batch:
            lines.append(row(name, points, batch, args))
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out is not None:
        files.write_text(args.out, text)


if __name__ == "__main__":
    main()
