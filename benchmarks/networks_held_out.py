"""Is a width that held-out data chose ever a loss? `python benchmarks/networks_held_out.py --data-dir DIR`.

On splits of every UCI regression (50 ReLUs, learned noise, no tuning; a tenth of the training part held out): the test
NLL of the snapshots' average, SWAG's mean, and the differences to it of SWAG, of SWAG in its span and of the width that
`calibrate(held_out=)` chose. The bound: the last one is never above 0 by more than one standard error over the test
points, paired.
"""

import argparse
import math
import warnings
from pathlib import Path

import torch
from networks_methods import Fit, member, of_one
from networks_problems import uci
from networks_scores import score
from timing import machine
from uci_data import SETS, data_folder

from bayessgd import Ensemble
from metrics.estimate import with_error

COLUMNS = ("SWAG as collected", "span", "span, held out")


def row(name: str, index: int, folder: Path, members: Path) -> tuple[str, bool]:
    """Return a split's line and whether the bound holds."""
    p = uci(name, index, folder)
    m = member(p, index, rank=40, folder=members)
    alone = Fit(Ensemble({key: t[None] for key, t in m.swag.mean.items()}), 1, 0.0, 0.0)
    fits = {"mean": alone, **of_one(p, m, index)}
    found = {key: score(p, fit, None) for key, fit in fits.items()}
    points = {key: torch.tensor(each.points, dtype=torch.float64) for key, each in found.items()}
    base = points["mean"]
    gaps = {key: points[key] - base for key in COLUMNS}
    cells = [_with(base), *(_with(gaps[key]) for key in COLUMNS), found["span, held out"].note]
    last = gaps[COLUMNS[-1]]
    holds = float(last.mean()) <= float(last.std()) / math.sqrt(len(last))
    return f"| {name} {index} | {len(base)} | {' | '.join(cells)} | {'yes' if holds else 'no'} |", holds


def _with(terms: torch.Tensor) -> str:
    return with_error(float(terms.mean()), float(terms.std()) / math.sqrt(len(terms)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, help="the folder that holds uci/, wine/ and protein/")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--splits", type=int, default=3, help="of each set")
    parser.add_argument("--folder", type=Path, default=Path("out/networks"), help="for the members")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = data_folder(arguments.data_dir)
    head = [
        "split",
        "test points",
        "NLL of the mean alone",
        *(f"{c}, − mean" for c in COLUMNS),
        "note",
        "bound",
    ]
    lines = [machine(), "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    print("\n".join(lines), flush=True)
    held = []
    for name in arguments.sets:
        for index in range(arguments.splits):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # directions that were dropped are in the note
                line, holds = row(name, index, folder, arguments.folder)
            held.append(holds)
            lines.append(line)
            print(line, flush=True)
    said = f"Held-out width: at most one paired standard error above the mean alone in {sum(held)} of {len(held)}."
    lines += [
        "",
        "NLL in nats a point, of standardised targets; ± one standard error over the test points.",
        "",
        said,
    ]
    print(said)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
