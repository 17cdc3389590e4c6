"""Why depth beats width, and where it does not: folds, regions, curvature and a boundary's roughness, for a lecture.

    python examples/depth_vs_width.py [--depths L …] [--widths N …] [--layers L] [--draws N] [--steps N] [--pixels N]
                                      [--seed N] [--out DIR] [--quiet]

Networks built to fold n times have 2ⁿ regions, by two neurons a fold, where n neurons of one layer leave n(n+1)/2 + 1
in the plane (Montúfar et al. 2014): at N neurons it is 2^(N/2) against about N²/2. Random and trained networks have of
order N²/2 in the plane, N their neurons, whatever their depth (Hanin & Rolnick 2019): at equal neurons five layers in
the place of one change the number by less than a factor of two, and at equal parameters the shallow network has the
most neurons and the most regions.

What does grow exponentially with depth in a random tanh network is the total curvature of a circle. Poole et al. 2016
say that it does so with depth "but not with width"; the retelling "exponential in depth, polynomial in width" takes a
bound for shallow networks, whose curvature may grow with the width, for what random deep ones do. At a fixed depth
their curvature tends to the mean-field value as the width grows, from below.

`depth_folding` builds the folds, `depth_measures` measures, `depth_parts` makes the rows, `depth_figures` draws.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import matplotlib as mpl
import torch
from command_line import Parser, folder
from depth_parts import (
    EQUAL_NEURONS,
    EQUAL_PARAMETERS,
    Part,
    Row,
    Setting,
    boundary,
    curvature,
    folding,
    plane_regions,
)
from matplotlib.figure import Figure
from tqdm import tqdm

from metrics import files
from metrics.plots import COLOURS

PARTS = {
    "folding": folding,
    "regions": partial(plane_regions, equal=EQUAL_PARAMETERS),
    "neurons": partial(plane_regions, equal=EQUAL_NEURONS),
    "curvature": curvature,
    "boundary": boundary,
}
LEAST = {"draws": 2, "steps": 1, "layers": 3, "pixels": 32, "seed": 0}
MOST = {"layers": 100}
"""A circle in deeper layers of narrow networks leaves the range of floating point."""
RANGES = {"depths": (1, 6), "widths": (2, 10000)}
NOTE = """\
What Poole et al. 2016 say, and the retelling does not: the curvature of a circle grows exponentially with the depth of
a random network, not with its width. At a fixed depth it tends to the mean-field value, that of infinite width.
The 2ⁿ regions are those of networks built to fold, by two neurons a fold. Random and trained networks have of order
N²/2, N their neurons, whatever their depth: at equal neurons depth makes no order of magnitude, and at equal parameters
the shallow network has the most neurons, and the most regions.
A boundary's apparent dimension speaks of the stated scales alone; a smooth boundary has the true dimension 1.
Values are means over independently drawn networks ± one standard error; counts of folds are exact. For regions the last
column is an order of magnitude and no law.
"""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Why depth beats width: folds, regions, curvature, boundaries.")
    many = {"type": int, "nargs": "+", "metavar": "N"}
    parser.add_argument("--depths", default=[1, 2, 3, 5], help="layers of the networks with regions", **many)
    parser.add_argument(
        "--widths", default=[25, 50, 100, 200, 400], help="of the networks with a circle", **many
    )
    parser.add_argument("--layers", type=int, default=10, help="layers that carry the circle")
    parser.add_argument("--draws", type=int, default=6, help="random networks per row of the table")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--pixels", type=int, default=256, help="side of the boundary's picture")
    parser.add_argument("--seed", type=int, default=0, help="of all networks")
    parser.add_argument("--out", type=folder, default=Path("out/depth_vs_width"), help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="no bar")
    args = parser.parse_args(argv)
    for name, least in LEAST.items():
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    for name, most in MOST.items():
        if getattr(args, name) > most:
            parser.error(f"--{name} must be at most {most}, got {getattr(args, name)}")
    for name, (least, most) in RANGES.items():
        values = sorted(set(getattr(args, name)))
        if not 2 <= len(values) <= len(COLOURS) or values[0] < least or values[-1] > most:
            told = " ".join(str(value) for value in getattr(args, name))
            # A curve for each number, and a colour for each curve.
            parser.error(
                f"--{name} must be two to {len(COLOURS)} different numbers from {least} to {most}, got {told}"
            )
        setattr(args, name, values)
    return args


def setting(args: argparse.Namespace) -> Setting:
    """What the parts are given."""
    return Setting(args.draws, args.steps, args.depths, args.widths, args.layers, args.pixels, args.seed)


def markdown(rows: list[Row]) -> str:
    """The table in Markdown."""
    head = ("what", "where", "found ± s.e.", "draws", "theory")
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pictures(parts: dict[str, Part], out: Path) -> None:
    """Draw each part by itself, and all of them on one page."""
    page = Figure(figsize=(28.5, 24), layout="constrained")
    left, right = page.subfigures(1, 2, squeeze=False, width_ratios=(12, 16), wspace=0.02)[0]
    small, large = ("folding", "boundary"), ("regions", "neurons", "curvature")
    places = dict(zip(small, left.subfigures(2, 1, height_ratios=(1.3, 1)), strict=True))
    places |= dict(
        zip(large, right.subfigures(3, 1, height_ratios=(7.6, 7.6, 8.4), hspace=0.02), strict=True)
    )
    with mpl.rc_context({"font.size": 12}):
        for name, part in parts.items():
            figure = Figure(figsize=part.size, layout="constrained")
            for canvas in (figure, places[name]):
                part.draw(canvas)
            figure.savefig(out / f"{name}.png", dpi=120)
        page.savefig(out / "page.png", dpi=100)


def main(argv: list[str] | None = None) -> int:
    """Run all parts, and write the table and the pictures."""
    args, started = arguments(argv), time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    # The networks are small: one thread is as fast, and gives the same bits on every machine size.
    torch.set_num_threads(1)
    parts = {}
    for name, part in tqdm(PARTS.items(), disable=args.quiet, unit="part"):
        parts[name] = part(setting(args))
    pictures(parts, args.out)
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    told = {"config": config | {"torch": torch.__version__}, **{k: part.numbers for k, part in parts.items()}}
    files.write_text(args.out / "results.json", json.dumps(told, indent=1))
    table = markdown([row for part in parts.values() for row in part.rows])
    shown = "\n\n".join(f"![{name}]({name}.png)" for name in ("page", *parts))
    files.write_text(args.out / "report.md", f"# Depth and width\n\n{NOTE}\n{table}\n\n{shown}\n")
    print(f"{table}\n\n{NOTE}")
    print(
        f"That took {time.perf_counter() - started:.0f} s. All pictures on one page: {args.out / 'page.png'}."
    )
    print("Report, results and single pictures are beside it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
