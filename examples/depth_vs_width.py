"""Why depth beats width, and where it does not: folds, regions, curvature and a boundary's roughness, for a lecture.

    python examples/depth_vs_width.py [--draws N] [--steps N] [--depth N] [--pixels N] [--seed N] [--out DIR] [--quiet]

Networks built to fold have 2ⁿ regions where a flat layer has n(n+1)/2 + 1 (Montúfar et al. 2014). Random and trained
networks have of order N²/2 in the plane, N their neurons, whatever their depth (Hanin & Rolnick 2019): at equal
parameters the shallow one has the most neurons and the most regions. What does grow exponentially with depth in a
random tanh network is the total curvature of a circle (Poole et al. 2016).

`depth_folding` builds the folds, `depth_measures` measures, `depth_figures` draws.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from command_line import Parser
from depth_figures import draw_boundary, draw_circle, draw_folding, draw_regions_page
from depth_folding import dragon_curve, parallel_regions, plane_folds, successive_regions
from depth_measures import (
    boundary_mask,
    boundary_scales,
    carried_circle,
    curvature_ratios,
    network,
    parameters,
    regions,
    train,
    width_of,
)
from matplotlib.figure import Figure
from tqdm import tqdm

from metrics import files
from metrics.estimate import with_error
from metrics.geometry import MeanField

FOLDS, DEPTHS, WIDTHS, BOUNDARIES = 14, (1, 2, 3, 5), (25, 50, 100, 200, 400), (2, 5, 8)
SIGMA_W, SIGMA_B = 4.0, 0.3
NOTE = """\
What the paper says, and its retelling does not: the curvature of a circle grows exponentially with the depth of a
random network, not with its width. At a fixed depth it tends to the mean-field value as the width grows.
The 2ⁿ regions are those of networks built to fold. Random and trained networks have of order N²/2, N their neurons,
whatever their depth: at equal parameters the shallow one has the most neurons, and the most regions.
A boundary's apparent dimension speaks of the stated scales alone; a smooth boundary has the true dimension 1.
Values are means over draws ± one standard error. For regions, theory is N²/2, an order of magnitude and no law.
"""
Row = tuple[str, str, str, str]
Part = tuple[Mapping[str, object], list[Row], Figure]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Why depth beats width: folds, regions, curvature, boundaries.")
    parser.add_argument("--draws", type=int, default=6, help="random networks per setting")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--depth", type=int, default=10, help="layers that carry the circle")
    parser.add_argument("--pixels", type=int, default=256, help="side of the boundary's picture")
    parser.add_argument("--seed", type=int, default=0, help="of all networks")
    parser.add_argument("--out", type=Path, default=Path("out/depth_vs_width"), help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="no bar")
    args = parser.parse_args(argv)
    for name, least in (("draws", 2), ("steps", 1), ("depth", 2), ("pixels", 32), ("seed", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    return args


def folding(_: argparse.Namespace) -> Part:
    """Count what folds make, beside the formulas."""
    parallel = [parallel_regions(n).count for n in range(1, FOLDS + 1)]
    successive = [successive_regions(n) for n in range(1, FOLDS + 1)]
    plane = [plane_folds(n).count for n in range(1, 6)]
    rows = [
        ("parallel folds, plane", f"n = {n}", str(parallel[n - 1]), str(n * (n + 1) // 2 + 1))
        for n in (2, 6, 10, 14)
    ]
    rows += [
        ("successive folds, line", f"n = {n}", str(successive[n - 1]), str(2**n)) for n in (2, 6, 10, 14)
    ]
    rows += [("layers that fold both axes", f"L = {n}", str(plane[n - 1]), str(4**n)) for n in (1, 3, 5)]
    counts = {"in parallel: n(n+1)/2 + 1": parallel, "in succession: 2ⁿ": successive}
    figure = draw_folding(counts, (parallel_regions(8), plane_folds(3)), dragon_curve(12))
    return {"parallel": parallel, "successive": successive, "plane": plane}, rows, figure


def plane_regions(args: argparse.Namespace) -> Part:
    """Count random and trained networks with equally many parameters."""
    told, rows, above, below = {}, [], {}, {}
    for depth in DEPTHS:
        gen = torch.Generator().manual_seed(1000 * args.seed + depth)
        drawn, fitted, right, size = [], [], [], 0
        neurons = depth * width_of(depth)
        for draw in range(args.draws):
            net = network(depth, gen)
            first, size = regions(net), parameters(net)
            right.append(train(net, args.steps, gen))
            last = regions(net)
            if draw == 0:
                above[f"depth {depth}, {size} parameters, random"] = first
                below[f"depth {depth}, trained ({100 * right[0]:.0f} % right)"] = last
            drawn.append(first.count)
            fitted.append(last.count)
        rows += [
            (
                f"regions, {name}",
                f"depth {depth}, {size} parameters",
                with_error(*_mean(counts)),
                f"{neurons**2 / 2:.0f}",
            )
            for name, counts in (("random", drawn), ("trained", fitted))
        ]
        told[str(depth)] = {
            "parameters": size,
            "neurons": neurons,
            "random": drawn,
            "trained": fitted,
            "accuracy": right,
        }
    return told, rows, draw_regions_page(above | below)


def curvature(args: argparse.Namespace) -> Part:
    """Hold the total curvature of a circle against mean field."""
    field, told, rows, found = MeanField(torch.tanh, SIGMA_W, SIGMA_B), {}, [], {}
    theory = [layer.gauss_length / (2 * torch.pi) for layer in field.circle(args.depth)]
    for width in WIDTHS:
        gen = torch.Generator().manual_seed(1000 * args.seed + width)
        ratios = torch.stack([curvature_ratios(field, width, args.depth, gen) for _ in range(args.draws)])
        mean, stderr = ratios.mean(0), ratios.std(0) / args.draws**0.5
        told[str(width)] = {"ratio": mean.tolist(), "stderr": stderr.tolist()}
        scale = torch.tensor(theory)
        found[width] = ((scale * mean).tolist(), (scale * stderr).tolist())
        for layer in sorted({max(2, args.depth // 2), args.depth}):
            value = with_error(float(mean[layer - 1]), float(stderr[layer - 1]))
            rows.append(("curvature / mean field", f"layer {layer}, width {width}", value, "1"))
    gen = torch.Generator().manual_seed(args.seed)
    pictures = carried_circle(field, 200, args.depth, gen)
    return {"theory": theory, "widths": told}, rows, draw_circle(pictures, theory, found)


def boundary(args: argparse.Namespace) -> Part:
    """Count boxes along the decision boundaries of random tanh networks."""
    field, masks, counts, rows = MeanField(torch.tanh, SIGMA_W, SIGMA_B), {}, {}, []
    dimensions = {}
    for depth in BOUNDARIES:
        gen = torch.Generator().manual_seed(1000 * args.seed + depth)
        drawn = [boundary_mask(field, depth, args.pixels, gen) for _ in range(args.draws)]
        # A score of one sign has no boundary in the picture.
        found = [(mask, boundary_scales(mask)) for mask in drawn if mask.any()]
        masks[depth], counts[depth] = found[0]
        dimensions[depth] = [count.dimension for _, count in found]
        fine, coarse = counts[depth].window
        value = with_error(*_mean(dimensions[depth]))
        rows.append(("apparent dimension", f"{depth} layers, {fine} to {coarse} pixels", value, "1"))
    told = {
        str(d): {
            "dimensions": dimensions[d],
            "scales": c.scales,
            "counts": c.counts,
            "local_slopes": c.local_slopes,
        }
        for d, c in counts.items()
    }
    return told, rows, draw_boundary(masks, counts)


def _mean(values: list[int] | list[float]) -> tuple[float, float]:
    x = torch.tensor(values, dtype=torch.float64)
    return float(x.mean()), float(x.std()) / len(x) ** 0.5


def markdown(rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = [("what", "where", "found", "theory"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: list[str] | None = None) -> int:
    """Run all parts, and write the table and the pictures."""
    args = arguments(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    # The networks are small: one thread is as fast, and gives the same bits on every machine size.
    torch.set_num_threads(1)
    started, results, rows, names = time.perf_counter(), {}, [], []
    parts = {"folding": folding, "regions": plane_regions, "curvature": curvature, "boundary": boundary}
    for name, part in tqdm(parts.items(), disable=args.quiet, unit="part"):
        results[name], more, figure = part(args)
        rows += more
        names.append(name)
        figure.savefig(args.out / f"{name}.png", dpi=140)
    config = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    told = {"config": config | {"torch": torch.__version__}, **results}
    files.write_text(args.out / "results.json", json.dumps(told, indent=1))
    pictures = "\n\n".join(f"![{name}]({name}.png)" for name in names)
    files.write_text(args.out / "report.md", f"# Depth and width\n\n{NOTE}\n{markdown(rows)}\n\n{pictures}\n")
    print(f"{markdown(rows)}\n\n{NOTE}")
    print(f"That took {time.perf_counter() - started:.0f} s. Results, report and figures are in {args.out}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
