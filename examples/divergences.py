"""Why KL, Wasserstein and Sinkhorn differ: images with a small defect, supports that move apart, ε, and costs.

    python examples/divergences.py [--digits N] [--sizes N …] [--repeats N] [--seed N] [--out DIR] [--quick] [--quiet]

Arjovsky, Chintala & Bottou (2017, example 1): where two supports do not meet KL is infinite and the Jensen–Shannon
divergence is ln 2 however far apart they are, so that neither has a slope to descend; the Wasserstein distance is the
distance. Here that is shown on images as distributions of ink over their pixels, beside what W itself pays: it is
not robust (a hundredth of the ink far away counts as much as the whole image moved by a pixel), and the divergence of
two samples of one distribution is far from 0. The Sinkhorn divergence S_ε lies between W_p^p and an MMD² (Feydy et al.
2019), which is where ε comes in.

`divergence_images` and `divergence_parts` measure and make the rows, `divergence_figures` draws.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import matplotlib as mpl
import torch
from command_line import Parser, folder
from divergence_images import Part, Row, Setting, images
from divergence_parts import between, costs, supports
from matplotlib.figure import Figure
from tqdm import tqdm

from metrics import files

PARTS = {"images": images, "supports": supports, "between": between, "costs": costs}
LEAST = {"digits": 3, "repeats": 2, "seed": 0}
QUICK = {"digits": 12, "sizes": [50, 100], "repeats": 2}
FULL = {"digits": 100, "sizes": [50, 100, 200, 400, 800], "repeats": 5}
NOTE = """\
Images are distributions of ink over the places of their pixels, each with mass one. A pixel without ink in p adds
nothing to KL(p‖q), one without ink in q alone makes it infinite; nothing is added to make it finite, save in the
panel that shows what such a floor does. JS is at most ln 2 = 0.6931. W₂ and √S_ε are in pixels.
A hole loses the darkest pixel; a speck is a hundredth of the ink in the canvas's corner.
Values are means over digits, or over random draws of clouds, ± one standard error. "Exact" numbers have no error.
Costs are processor time, one thread: the median (the least to the most) of so many runs on this machine.
"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Why KL, Wasserstein and Sinkhorn differ.")
    parser.add_argument("--digits", type=int, help="digits that are compared (default: 100)")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        metavar="N",
        help="points of the clouds that are timed (default: 50 to 800)",
    )
    parser.add_argument("--repeats", type=int, help="draws of clouds, and timed runs (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--out", type=folder, default=Path("out/divergences"), help="where the results go")
    parser.add_argument("--quick", action="store_true", help="few digits, points and repeats")
    parser.add_argument("--quiet", action="store_true", help="no bar")
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    if args.digits > 400:
        parser.error(f"--digits must be at most 400, got {args.digits}; an image takes some 0.1 s")
    sizes = sorted(set(args.sizes))
    if len(sizes) < 2 or sizes[0] < 10 or sizes[-1] > 890:
        told = " ".join(str(n) for n in args.sizes)
        parser.error(f"--sizes must be at least two numbers from 10 to 890, got {told}")
    args.sizes = sizes
    return args


def markdown(rows: list[Row]) -> str:
    """The table in Markdown."""
    head = ("what", "where", "found ± s.e.", "repeats", "theory")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pictures(parts: dict[str, Part], out: Path) -> None:
    """Draw each part by itself, and all of them on one page."""
    page = Figure(figsize=(28, 13.5), layout="constrained")
    left, right = page.subfigures(1, 2, squeeze=False, wspace=0.02)[0]
    above, below = right.subfigures(2, 1, squeeze=False, height_ratios=(7.5, 6), hspace=0.02)[:, 0]
    wide, narrow = below.subfigures(1, 2, squeeze=False, width_ratios=(2, 1))[0]
    places = {"images": left, "supports": above, "between": wide, "costs": narrow}
    with mpl.rc_context({"font.size": 12}):
        for name, part in parts.items():
            figure = Figure(figsize=part.size, layout="constrained")
            for canvas in (figure, places[name]):
                part.draw(canvas)
            figure.savefig(out / f"{name}.png", dpi=110)
        page.savefig(out / "page.png", dpi=90)


def finite(value: object) -> object:
    """JSON has no infinity: it is written as the word."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return "infinite" if isinstance(value, float) and math.isinf(value) else value


def main(argv: list[str] | None = None) -> int:
    """Run all parts, and write the table and the pictures."""
    args, started = arguments(argv), time.perf_counter()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"divergences: --out: {error}", file=sys.stderr)
        return 2
    # The clouds are small: one thread is as fast, and gives the same bits on every machine size.
    torch.set_num_threads(1)
    setting = Setting(args.digits, args.sizes, args.repeats, 3 if args.quick else 1, args.seed)
    parts = {name: part(setting) for name, part in tqdm(PARTS.items(), disable=args.quiet, unit="part")}
    pictures(parts, args.out)
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    told = {"config": config | {"torch": torch.__version__}, **{k: part.numbers for k, part in parts.items()}}
    files.write_text(args.out / "results.json", json.dumps(finite(told), indent=1))
    table = markdown([row for part in parts.values() for row in part.rows])
    shown = "\n\n".join(f"![{name}]({name}.png)" for name in ("page", *parts))
    files.write_text(args.out / "report.md", f"# Divergences\n\n{NOTE}\n{table}\n\n{shown}\n")
    print(f"{table}\n\n{NOTE}")
    print(
        f"That took {time.perf_counter() - started:.0f} s. All pictures on one page: {args.out / 'page.png'}."
    )
    print("Report, results and single pictures are beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
