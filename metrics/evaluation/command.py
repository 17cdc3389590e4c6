"""What `python -m metrics` does: read sources, look through features, judge every model by as many samples, tell."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from metrics import files
from metrics.evaluation.copying import copying_measures, feature_likelihood_measure
from metrics.evaluation.evaluate import LEAST, evaluate
from metrics.evaluation.measures import Measure
from metrics.evaluation.published import inception_measure, published_measures
from metrics.evaluation.report import Comparison, Report
from metrics.evaluation.standard import standard_measures
from metrics.features.classifier import cache_folder
from metrics.features.inception import InceptionFeatures
from metrics.features.sources import Map, features_of, identity, read_source
from metrics.features.towers import clip_features, dinov2_features

__all__ = ["main"]

DESCRIPTION = """Judge samples of models against real ones.

A source is a folder of pictures, or a .npy, .npz or .safetensors file with one array: pictures [n, c, h, w], or
features [n, d], which are compared as they are. Every number comes with its standard error, beside the floor that a
perfect model would score at these sizes."""

COPYING = ["nearer_train", "authenticity", "data_copying", "feature_likelihood"]
"""Measures that know the training data."""

SCORE = "inception_score"
"""The measure that asks for a classifier's probabilities."""

EXAMPLES = """examples:
  python -m metrics real/ fake/ --features inception=weights-inception-2015-12-05-6726825d.pth --out report/
  python -m metrics held_out.npy model_a.npy model_b.npy --train train.npy --measures frechet_distance mmd2
  python -m metrics held_out.npy model.npy --train train.npy --measures kid mind authenticity data_copying
  python -m metrics real/ fake/ --features inception=FILE.pth --measures frechet_distance inception_score
  python -m metrics real/ fake/ --size 32 --n 2000 --budget 60"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 where it was asked for what cannot be done, told in one line.

    >>> main(["nowhere", "nowhere"])
    2
    """
    args = _arguments(argv)
    try:
        _run(args)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"metrics: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for m in (*standard_measures(), *published_measures()) for row in m.rows]
    names += [SCORE, *COPYING]
    parser = argparse.ArgumentParser(
        "python -m metrics",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("real", type=Path, metavar="REAL", help="true samples, held out from the models")
    parser.add_argument("fake", type=Path, nargs="+", metavar="FAKE", help="a model's samples")
    parser.add_argument(
        "--features",
        default="pixels",
        metavar="MAP",
        help="pixels (default); inception=FILE with the weights of torch-fidelity's Inception-v3; dinov2=FILE "
        "(needs timm); clip=FILE (OpenAI's, needs open_clip)",
    )
    parser.add_argument("--measures", nargs="+", choices=names, metavar="NAME", help=_told(names))
    parser.add_argument(
        "--n", type=int, help="samples of each source; the default is all that all models have"
    )
    parser.add_argument(
        "--train", type=Path, metavar="DIR", help="true samples for the floor; without them REAL is halved"
    )
    parser.add_argument("--size", type=int, help="side that pictures are cut and resized to")
    parser.add_argument("--grey", action="store_true", help="read pictures in one channel")
    parser.add_argument("--device", default="auto", help="where features are computed: auto, cpu, cuda, ...")
    parser.add_argument("--batch", type=int, default=64, help="pictures of one call of the features (64)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for each model's measures")
    parser.add_argument("--seed", type=int, default=0, help="of subsets, splits and permutations (0)")
    parser.add_argument(
        "--cache", type=Path, help="folder where features are kept; the default is the user's"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write results.json, report.md, measures.png")
    return parser.parse_args(argv)


def _told(names: list[str]) -> str:
    standard = len([row for measure in standard_measures() for row in measure.rows])
    return (
        f"{', '.join(names[:standard])} (the default: all of these); {', '.join(names[standard:])}: the last "
        f"{len(COPYING)} with --train DIR, {SCORE} with --features inception=FILE"
    )


def _run(args: argparse.Namespace) -> None:
    if args.out:
        files.check_folder(args.out)
    names = [path.name or str(path) for path in args.fake]
    if len(set(names)) < len(names):
        names = [str(path) for path in args.fake]
    if len(set(names)) < len(names):
        raise ValueError(f"FAKE must be different sources, got {names}; name each once")
    seen = _features(args.features)
    random = torch.Generator().manual_seed(args.seed)
    paths = [args.real, *args.fake, *([args.train] if args.train else [])]
    clouds = _of_one_type([_read(path, seen, args) for path in paths])
    if seen is None:
        _refuse_two_scales(clouds, paths)
    clouds = [_shuffled(cloud, random) for cloud in clouds]
    real, fakes = clouds[0], clouds[1 : 1 + len(names)]
    reference, truth = (real, clouds[-1]) if args.train else real.tensor_split(2)
    n = _count(args.n, reference, truth, dict(zip(names, fakes, strict=True)))
    reference = reference if args.n is None else reference[:n]
    measures = _measures(args.measures, clouds[-1] if args.train else None, seen)
    floored = [m for m in measures if m.floor]
    # A report needs a measure; a comparison has no floor where none of its measures has one.
    floor = _judged(truth[:n], reference, floored, seen, args, None) if floored else Report({})
    kept = [m for m in measures if not m.floor or all(row.name in floor.estimates for row in m.rows)]
    without = {row.name for m in kept if not m.floor for row in m.rows}
    reports = {
        name: _judged(cloud[:n], reference, kept, seen, args, floor)
        for name, cloud in zip(names, fakes, strict=True)
    }
    comparison = Comparison(_alike({name: _above(r, floor, without) for name, r in reports.items()}))
    print(comparison.to_text())
    if args.out:
        _write(args.out, comparison, floor, args)


def _features(told: str) -> Map | None:
    kind, _, file = told.partition("=")
    if told == "pixels":
        return None
    makers: dict[str, Callable[[str], Map]] = {
        "inception": InceptionFeatures,
        "dinov2": dinov2_features,
        "clip": clip_features,
    }
    if kind in makers and file:
        return makers[kind](file)
    kinds = ", ".join(f"{name}=FILE" for name in makers)
    raise ValueError(f"--features must be pixels, {kinds}, got {told!r}; give the file of weights")


def _read(path: Path, seen: Map | None, args: argparse.Namespace) -> Tensor:
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return features_of(
        path,
        seen,
        batch_size=args.batch,
        device=device,
        # Pixels are read as fast from their files.
        cache=None if seen is None else args.cache or cache_folder() / "features",
        size=None if args.size is None else (args.size, args.size),
        grey=args.grey,
    )


def _refuse_two_scales(clouds: list[Tensor], paths: Sequence[Path]) -> None:
    """Refuse pictures in bytes, 0 … 255, beside numbers within [−1, 1], which are pictures on another scale."""
    beyond = [path for path, x in zip(paths, clouds, strict=True) if bool((x > 1).any())]
    within = [
        path
        for path, x in zip(paths, clouds, strict=True)
        if bool((x.abs() <= 1).all() & (x != x.round()).any())
    ]
    # Counts may go to 255 as well: it is the source that says whether they are bytes.
    pictures = [p for p in beyond if within and (p.is_dir() or read_source(p).dtype == torch.uint8)]
    if pictures:
        raise ValueError(
            f"sources must have one scale, got grey values 0 to 255 in {pictures[0]} and numbers within [-1, 1] in "
            f"{within[0]}; write those as bytes, ((x + 1) * 127.5).round().astype('uint8')"
        )


def _of_one_type(clouds: list[Tensor]) -> list[Tensor]:
    """Clouds of the widest type among them."""
    widest = torch.float64 if any(x.dtype == torch.float64 for x in clouds) else torch.float32
    return [x.to(widest) for x in clouds]


def _shuffled(cloud: Tensor, random: torch.Generator) -> Tensor:
    """In random order: files are often sorted by class."""
    return cloud[torch.randperm(len(cloud), generator=random)]


def _count(asked: int | None, reference: Tensor, truth: Tensor, fakes: dict[str, Tensor]) -> int:
    """How many samples each model is judged by: as many as all of them, and the floor, have."""
    sizes = {name: len(cloud) for name, cloud in fakes.items()} | {"the floor": len(truth)}
    if asked is not None:
        sizes |= {"the reference": len(reference)}
    name = min(sizes, key=sizes.__getitem__)
    if asked is not None and asked > sizes[name]:
        raise ValueError(f"--n must be at most {sizes[name]}, what {name} has, got {asked}; lower it")
    n = sizes[name] if asked is None else asked
    if min(n, len(reference)) < LEAST:
        raise ValueError(
            f"sources must leave at least {LEAST} samples on each side, got {n} against {len(reference)} "
            f"({name} has the fewest; REAL is halved without --train); give more"
        )
    return n


def _measures(names: Sequence[str] | None, train: Tensor | None, seen: Map | None) -> list[Measure]:
    if names is None:
        return standard_measures()
    copying = [name for name in names if name in COPYING]
    if copying and train is None:
        raise ValueError(
            f"--measures {copying[0]} must know the training data, got no --train; add --train DIR"
        )
    if SCORE in names and not isinstance(seen, InceptionFeatures):
        raise ValueError(
            f"--measures {SCORE} must have class probabilities, got none; add --features inception=FILE, the weights"
        )
    every = [*standard_measures(), *published_measures()]
    every += [inception_measure(seen)] if isinstance(seen, InceptionFeatures) else []
    if copying and train is not None:
        every += [*copying_measures(train), feature_likelihood_measure(train)]
    return [m for m in every if any(row.name in names for row in m.rows)]


def _above(report: Report, floor: Report, without: set[str]) -> Report:
    return report if set(report.estimates) <= without else report.above(floor, without=without)


def _judged(
    cloud: Tensor,
    reference: Tensor,
    measures: list[Measure],
    seen: Map | None,
    args: argparse.Namespace,
    floor: Report | None,
) -> Report:
    random = torch.Generator().manual_seed(args.seed)
    permutations = 0 if floor is None else 199
    report = evaluate(
        cloud, reference, measures=measures, generator=random, permutations=permutations, budget=args.budget
    )
    # The clouds are features already.
    name = "pixels" if seen is None else identity(seen)
    return replace(report, features=name, on_features=tuple(report.estimates))


def _alike(reports: dict[str, Report]) -> dict[str, Report]:
    """The numbers that all reports have: a budget may have been spent in one and not in another."""
    first = next(iter(reports.values()))
    common = [name for name in first.estimates if all(name in r.estimates for r in reports.values())]
    return {
        key: replace(r, estimates={name: r[name] for name in common}, on_features=tuple(common))
        for key, r in reports.items()
    }


def _write(out: Path, comparison: Comparison, floor: Report, args: argparse.Namespace) -> None:
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    asked["fake"] = [str(path) for path in args.fake]
    results = {name: report.to_dict() for name, report in comparison.reports.items()}
    told = {"config": asked, "floor": floor.to_dict(), "models": results}
    files.write_text(out / "results.json", json.dumps(told, indent=2) + "\n")
    pages = [f"# Against {args.real.name}", comparison.to_markdown()]
    pages += [f"## {name}\n\n{report.to_markdown()}" for name, report in comparison.reports.items()]
    pages += ["![measures](measures.png)"]
    files.write_text(out / "report.md", "\n\n".join(pages) + "\n")
    figure = comparison.plot()
    figure.savefig(out / "measures.png", dpi=120)
    print(f"\nwritten to {out}: report.md, results.json, measures.png")
