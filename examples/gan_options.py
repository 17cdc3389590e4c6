"""The command line of gan_metrics.py: what may be asked for, and which data that means."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

import torch
from command_line import Parser, folder

import gan
from gan import Data, losses
from gan import data as datasets
from gan.train import pick_device

__all__ = ["arguments", "chosen", "classes", "load", "random_part", "resume_command"]

BUILT_IN = ("digits", "mnist", "ring", "grid")
MIXTURE_POINTS = 2500


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; every mistake is answered in one line."""
    parser = Parser(description="Train GANs with several losses and judge them with one set of measures.")
    parser.add_argument("--losses", nargs="+", choices=losses.NAMES, default=["js", "wgan-gp", "sinkhorn"])
    parser.add_argument(
        "--data",
        default="digits",
        help=f"{', '.join(BUILT_IN)}, a folder of pictures, or a .npy, .npz or .safetensors file (default: digits)",
    )
    parser.add_argument("--data-dir", type=Path, help="folder of the MNIST IDX files, for --data mnist")
    parser.add_argument("--size", type=int, help="side that a folder's pictures are cut and resized to")
    parser.add_argument("--grey", action="store_true", help="a folder's pictures in one channel")
    parser.add_argument(
        "--conditional", action="store_true", help="generators of classes, where the data have them"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument("--steps", type=int, help="generator steps; the default is each recipe's")
    parser.add_argument("--seeds", type=int, default=1, help="trainings per loss")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--evaluated", type=int, default=1000, help="samples and held-out points that are compared"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that read data which do not fit into memory"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="losses trained at once, in processes; the default is one a core for small data",
    )
    parser.add_argument("--out", type=folder, default=Path("out/gan_metrics"), help="where the results go")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in OUT")
    parser.add_argument("--overwrite", action="store_true", help="begin anew in an OUT that has results")
    parser.add_argument("--amp", action="store_true", help="bfloat16 forward passes on CUDA")
    parser.add_argument("--quiet", action="store_true", help="no bars")
    args = parser.parse_args(argv)
    try:
        _check(args)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def _check(args: argparse.Namespace) -> None:
    if args.data == "mnist" and args.data_dir is None:
        raise ValueError("--data mnist needs --data-dir DIR with the four MNIST IDX files")
    if args.data not in BUILT_IN and not Path(args.data).exists():
        raise ValueError(
            f"--data: choose from {', '.join(BUILT_IN)}, or name a folder or file; no {args.data!r} is there"
        )
    for name, least in (
        ("steps", 1),
        ("seeds", 1),
        ("jobs", 1),
        ("size", 1),
        ("evaluated", 4),
        ("seed", 0),
        ("workers", 0),
    ):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    device = pick_device(args.device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be the CPU or a CUDA device, got {args.device}; write auto or cpu")
    if args.amp and device.type != "cuda":
        raise ValueError(f"--amp needs a CUDA device, got {device}; leave it out")
    _check_folder(args)


def _check_folder(args: argparse.Namespace) -> None:
    out = args.out
    if args.resume and args.overwrite:
        raise ValueError("--resume goes on and --overwrite begins anew; give one of them")
    if (out / "results.json").exists() and not (args.resume or args.overwrite):
        raise ValueError(
            f"{out} has results; add --overwrite to begin anew, --resume to go on, or choose another --out"
        )
    if args.overwrite and (out / "checkpoints").is_dir() and int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(out / "checkpoints")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise ValueError(f"--out must be a folder that can be written to, got {out}; choose another")


def load(args: argparse.Namespace) -> Data:
    """The data set that was asked for."""
    if args.data == "mnist":
        return datasets.mnist(args.data_dir)
    if args.data == "digits":
        return datasets.digits()
    if args.data in BUILT_IN:
        return {"ring": datasets.ring, "grid": datasets.grid}[args.data](MIXTURE_POINTS)
    path = Path(args.data)
    if path.is_dir():
        return datasets.folder(
            path, size=args.size, grey=True if args.grey else None, progress=not args.quiet
        )
    return datasets.file(path)


def resume_command() -> str:
    """The command that goes on with this run."""
    told = [word for word in sys.argv if word not in ("--overwrite", "--resume")]
    return shlex.join(["python", *told, "--resume"])


def classes(args: argparse.Namespace, data: Data) -> int:
    """How many classes the generators have; 0 where they know none."""
    if args.conditional and data.train_labels is None:
        raise ValueError("--conditional needs data with classes, and these have none; leave it out")
    return data.num_classes if args.conditional else 0


def chosen(name: str, args: argparse.Namespace, data: Data) -> gan.Recipe:
    """The recipe of a loss for the data."""
    return gan.recipe(name, like=data, num_classes=classes(args, data))


def random_part(x: torch.Tensor, count: int) -> torch.Tensor:
    """So many samples at random: the first ones of a file are often no sample of it."""
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]]
