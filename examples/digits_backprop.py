"""Backpropagation, worked by hand on handwritten digits: what an image wishes for, and what learning makes of it.

    python examples/digits_backprop.py [--data-dir DIR] [--parts wishes averages costs units ...]
                                       [--hidden sigmoid|tanh|relu|stochastic] [--output sigmoid|tanh|relu|softmax]
                                       [--cost squared|cross-entropy] [--seeds N] [--steps N] [--images N] [--seed N]
                                       [--out DIR] [--quiet]

The network is 64-16-16-10 on scikit-learn's digits (1,482 parameters), and 784-16-16-10 (13,002) on MNIST
with --data-dir, of which it takes 2,000 images (--images) and about three minutes. The eight parts, one picture each:

    wishes      one image's wish for outputs, biases, weights and activations, against autograd
    averages    the wishes of many images, averaged: minus the gradient
    costs       squared error against cross-entropy
    units       sigmoid, tanh, ReLU and stochastic units
    stochastic  straight-through against REINFORCE, beside the exact slope
    labels      hard, smoothed and a teacher's labels
    path        the path of mini-batches and the full gradient's on a slice of the loss
    newton      what a step costs: SGD against Newton

--hidden, --output and --cost choose the network of the parts wishes, averages, path and newton, --hidden that of labels
too; the others compare. Stochastic units have a path and a Hessian only in the mean: every part but wishes, units and
stochastic takes sigmoids for them.
`backprop_network` has the backpropagation, `backprop_<part>` each part. Writes results.json, report.md, a picture for
each part, and lecture.pdf with a page per picture.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from backprop_averages import averages
from backprop_costs import costs
from backprop_labels import labels
from backprop_network import COSTS, UNITS, Model
from backprop_newton import newton
from backprop_parts import MNIST_IMAGES, Part, Setting, load
from backprop_path import path
from backprop_stochastic import stochastic
from backprop_units import units
from backprop_wishes import wishes
from command_line import Parser, folder
from matplotlib.backends.backend_pdf import PdfPages

from metrics import files

PARTS: dict[str, Callable[[Setting], Part]] = {
    "wishes": wishes,
    "averages": averages,
    "costs": costs,
    "units": units,
    "stochastic": stochastic,
    "labels": labels,
    "path": path,
    "newton": newton,
}
HIDDEN = (16, 16)
LEAST = {"seeds": 2, "steps": 20, "images": 100, "seed": 0}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Backpropagation by hand, on handwritten digits, with pictures.")
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files; without it, the digits")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="default: all")
    hidden = [name for name in UNITS if name != "softmax"]
    outputs = [name for name in UNITS if name != "stochastic"]
    parser.add_argument("--hidden", choices=hidden, default="sigmoid", help="the hidden units")
    parser.add_argument("--output", choices=outputs, default="sigmoid", help="the output units")
    parser.add_argument("--cost", choices=tuple(COSTS), default="squared")
    parser.add_argument("--seeds", type=int, default=8, help="trainings per curve")
    parser.add_argument("--steps", type=int, default=2000, help="steps of a training")
    parser.add_argument(
        "--images",
        type=int,
        help=f"training images, and as many held-out ones; default: all digits, {MNIST_IMAGES} of MNIST",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches")
    parser.add_argument(
        "--out", type=folder, default=Path("out/digits_backprop"), help="where the results go"
    )
    parser.add_argument("--quiet", action="store_true", help="no bars")
    args = parser.parse_args(argv)
    for name, least in LEAST.items():
        if getattr(args, name) is not None and getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    try:
        network(args, 64)
    except ValueError as error:
        parser.error(str(error))
    return args


def network(args: argparse.Namespace, pixels: int) -> Model:
    """The network that was asked for."""
    return Model((pixels, *HIDDEN, 10), UNITS[args.hidden], UNITS[args.output], COSTS[args.cost])


def markdown(lines: list[tuple[str, str]]) -> str:
    """A table of two columns in Markdown, aligned for those who read it as it is."""
    ruled = [("quantity", "value"), ("---", "---"), *lines]
    width = max(len(name) for name, _ in ruled)
    return "\n".join(f"| {name.ljust(width)} | {value} |" for name, value in ruled)


def write(parts: dict[str, Part], seconds: dict[str, float], args: argparse.Namespace) -> str:
    """Write numbers, pictures and report, and return the table."""
    pages = []
    with PdfPages(
        args.out / "lecture.pdf", metadata={"Title": "Backpropagation", "CreationDate": None}
    ) as pdf:
        for name, part in parts.items():
            part.figure.suptitle(part.title, fontsize=15)
            part.figure.savefig(args.out / f"{name}.png", dpi=140)
            # Laid out once: the page keeps the places of the picture.
            part.figure.set_layout_engine("none")
            pdf.savefig(part.figure)
            pages.append(f"## {part.title}\n\n![{name}]({name}.png)\n\n{part.text}\n")
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    told = {name: {**part.numbers, "seconds": seconds[name]} for name, part in parts.items()}
    results = {"config": config | {"torch": torch.__version__}, "parts": told}
    files.write_text(args.out / "results.json", json.dumps(results, indent=1))
    table = markdown([row for part in parts.values() for row in part.rows])
    head = f"# Backpropagation on handwritten digits\n\n{table}\n\nValues with ± are means over seeds ± standard error."
    files.write_text(args.out / "report.md", "\n".join([f"{head}\n", *pages]))
    return table


def main(argv: list[str] | None = None) -> int:
    """Run the parts that were asked for."""
    args = arguments(argv)
    try:
        x, y, held_x, held_labels = load(args.data_dir, args.images)
    except (OSError, ValueError) as error:
        print(f"digits_backprop: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    # These networks are too small to share among cores, and one thread gives the same bits on every machine size.
    torch.set_num_threads(1)
    setting = Setting(
        x,
        y,
        held_x,
        held_labels,
        network(args, x.shape[1]),
        args.seeds,
        args.steps,
        args.seed,
        bars=not args.quiet,
    )
    parts, seconds = {}, {}
    for name in dict.fromkeys(args.parts):
        started = time.perf_counter()
        parts[name] = PARTS[name](setting)
        seconds[name] = time.perf_counter() - started
    print(write(parts, seconds, args))
    times = ", ".join(f"{name} {each:.0f} s" for name, each in seconds.items())
    print(f"\nValues with ± are means over {args.seeds} seeds ± standard error. It took {times}.")
    print(f"Pictures, one page each, are in {args.out / 'lecture.pdf'}; report and results beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
