"""Exact linear regions in a plane: cells per second, growth with cells, and what others do.

    python benchmarks/geometry.py [--peer DIR] [--out benchmarks/results/geometry.md]

Networks have He weights and biases of standard deviation 0.1, a 784-D input and a window of [−30, 30]² on a random
plane through the origin; seconds are processor time of one thread, so that a busy machine does not enter. Beside us:

- polygon by polygon, in numpy: each cell carries its corners and its affine map and is split neuron by neuron, which
  is how region-by-region methods work;
- with `--peer`, a folder that holds relu_edge_subdivision (github.com/arturs-berzins/relu_edge_subdivision; it is not
  on the package index): edge subdivision of Berzins 2023, neuron by neuron, float32, perceptrons only.

At a million cells (512-512-512) some 40 % of the time is the product that gives the last layer's values at every
vertex, near the core's float64 peak, and a quarter the first touch of the 2 GiB that hold them: no step is left that
an easy change would speed up.

The peer finds vertices and edges; its cells are counted by Euler's formula. SplineCam is not beside us: it imports
graph-tool, compiled C++ that the package index does not have, and moves its batches to CUDA unconditionally.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from timing import Timing, machine, timed
from torch import Tensor, nn

from metrics.geometry import linear_regions_in_plane

WINDOW = (-30.0, 30.0, -30.0, 30.0)
GROWTH = ((64, 64), (128,) * 3, (256,) * 2, (256,) * 3, (512,) * 3, (256,) * 6, (128,) * 12)
BESIDE = ((16, 16), (32, 32), (64, 64), (128, 128, 128))


def network(widths: tuple[int, ...]) -> nn.Sequential:
    gen = torch.Generator().manual_seed(0)
    sizes, modules = (784, *widths, 10), []
    for into, out in pairwise(sizes):
        layer = nn.Linear(into, out)
        with torch.no_grad():
            layer.weight.copy_((2 / into) ** 0.5 * torch.randn(out, into, generator=gen))
            layer.bias.copy_(0.1 * torch.randn(out, generator=gen))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def plane() -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(1)
    return torch.zeros(784), torch.linalg.qr(torch.randn(784, 2, generator=gen))[0].T.contiguous()


def in_plane_coordinates(net: nn.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the hidden layers, the first as a function of the plane's coordinates."""
    _, basis = plane()
    hidden = [m for m in net if isinstance(m, nn.Linear)][:-1]
    pairs = [(m.weight.detach().double().numpy(), m.bias.detach().double().numpy()) for m in hidden]
    first = pairs[0][0] @ basis.double().numpy().T
    return [(first, pairs[0][1]), *pairs[1:]]


def polygon_by_polygon(net: nn.Sequential) -> int:
    """The cells, each with its corners and its affine map [outputs, 3] of the plane's coordinates."""
    left, right, bottom, top = WINDOW
    corners = np.array([[left, bottom], [right, bottom], [right, top], [left, top]])
    cells = [(corners, np.eye(2, 3))]
    for weight, bias in in_plane_coordinates(net):
        refined = []
        for polygon, affine in cells:
            lines = weight @ affine
            lines[:, 2] += bias
            for piece in _split_all(polygon, lines):
                on = lines @ np.append(piece.mean(0), 1.0) > 0
                refined.append((piece, lines * on[:, None]))
        cells = refined
    return len(cells)


def _split_all(polygon: np.ndarray, lines: np.ndarray) -> list[np.ndarray]:
    values = polygon @ lines[:, :2].T + lines[:, 2]
    pieces = [polygon]
    for j in np.flatnonzero((values.min(0) < 0) & (values.max(0) > 0)):
        split = []
        for piece in pieces:
            split += _halves(piece, piece @ lines[j, :2] + lines[j, 2])
        pieces = split
    return pieces


def _halves(piece: np.ndarray, value: np.ndarray) -> list[np.ndarray]:
    up = value > 0
    if up.all() or not up.any():
        return [piece]
    turns = np.flatnonzero(up != np.roll(up, -1))
    after = (turns + 1) % len(piece)
    share = (value[turns] / (value[turns] - value[after]))[:, None]
    a, b = piece[turns] + share * (piece[after] - piece[turns])
    first, second = turns + 1
    inner = np.concatenate([[a], piece[first:second], [b]])
    outer = np.concatenate([[b], piece[second:], piece[:first], [a]])
    return [inner, outer]


def edge_subdivision(folder: Path) -> Callable[[nn.Sequential], int]:
    sys.path.insert(0, str(folder))
    from edge_subdivision import skeletal_subdivision  # pyright: ignore[reportMissingImports]
    from NN import Net  # pyright: ignore[reportMissingImports]

    def run(net: nn.Sequential) -> int:
        layers = in_plane_coordinates(net)
        theirs = Net([2, *(len(bias) for _, bias in layers)])
        with torch.no_grad():
            for module, (weight, bias) in zip(theirs.fcs, layers, strict=True):
                module.weight.copy_(torch.from_numpy(weight))
                module.bias.copy_(torch.from_numpy(bias))
            vertices, edges, _ = skeletal_subdivision(theirs, bbox=WINDOW[:2], device="cpu", verbose=False)
        return len(edges) - len(vertices) + 1

    run.__name__ = "relu_edge_subdivision"
    return run


def ours(net: nn.Sequential) -> int:
    return linear_regions_in_plane(net, *plane(), WINDOW).count


@dataclass(frozen=True)
class Growth:
    """Our cost for one network."""

    widths: tuple[int, ...]
    cells: int
    seconds: float
    gibibytes: float

    def row(self) -> str:
        """Its line of the table."""
        rate = self.cells / self.seconds
        return (
            f"| 784-{named(self.widths)}-10 | {self.cells:,} | {self.seconds:.3g} | {rate:,.0f} | "
            f"{1e6 * self.seconds / self.cells:.1f} | {self.gibibytes:.2f} |"
        )


def named(widths: tuple[int, ...]) -> str:
    same = len(widths) > 3 and len(set(widths)) == 1
    return f"{widths[0]}×{len(widths)}" if same else "-".join(map(str, widths))  # pyright: ignore[reportGeneralTypeIssues]


def growth() -> list[str]:
    rows = []
    for widths in GROWTH:
        net, counts, small = network(widths), [], sum(widths) <= 600
        run = [lambda net=net, counts=counts: counts.append(ours(net))]
        (timing,) = timed(5 if small else 1, *run, warm_up=int(small), clock=time.process_time)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append(Growth(widths, counts[-1], timing.seconds, peak).row())
        print(rows[-1], flush=True)
    return rows


def beside(contenders: list[Callable[[nn.Sequential], int]]) -> list[str]:
    rows = []
    for widths in BESIDE:
        net = network(widths)
        counts = [contender(net) for contender in contenders]
        runs = [lambda c=c, net=net: c(net) for c in contenders]
        timings = timed(3, *runs, warm_up=0, clock=time.process_time)
        for contender, count, timing in zip(contenders, counts, timings, strict=True):
            rows.append(_beside_row(widths, contender, count, timing, timings[0]))
            print(rows[-1], flush=True)
    return rows


def _beside_row(
    widths: tuple[int, ...],
    contender: Callable[[nn.Sequential], int],
    count: int,
    timing: Timing,
    first: Timing,
) -> str:
    ratio, stderr = timing.over(first)
    times = "" if timing is first else f"{ratio:.3g} ± {stderr:.1g}"
    name = {"ours": "metrics.geometry", "polygon_by_polygon": "polygon by polygon, numpy"}.get(
        contender.__name__, contender.__name__
    )
    rate = f"{count / timing.seconds:,.0f}"
    return f"| 784-{named(widths)}-10 | {name} | {count:,} | {timing.seconds:.3g} | {rate} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    peers = [edge_subdivision(options.peer)] if options.peer else []
    text = [
        f"Exact linear regions in a plane; {machine()}; processor seconds, median; peak memory of the process so far.",
        "",
        "| network | cells | seconds | cells/s | µs/cell | GiB |",
        "|---|---|---|---|---|---|",
        *growth(),
        "",
        "Beside others, three rounds; the ratio of times to ours ± standard error.",
        "",
        "| network | program | cells | seconds | cells/s | times ours |",
        "|---|---|---|---|---|---|",
        *beside([ours, polygon_by_polygon, *peers]),
        "",
        "SplineCam does not run here: it imports graph-tool, compiled and not on the package index, and needs CUDA.",
        f"One run; the machine's load average was {before:.1f} before it and {os.getloadavg()[0]:.1f} after it "
        f"({os.cpu_count()} cores, one of them ours).",
    ]
    if options.out:
        options.out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
