"""Kill -9 at random moments: every run goes on to the same bits as one that was not stopped.

    python benchmarks/gan_kills.py [--kills 10] [--steps 400]

Four kinds of run: a tensor, a `Dataset` with a reading process, a game of classes, two processes. Each is started,
killed with its children at a random moment, started again from its checkpoint, and so on; then it is left alone and
its weights are compared with those of an unbroken run.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from gan import GAN, losses, networks, penalties
from metrics import files

KINDS = ("tensor", "dataset", "conditional", "two processes")
EVERY = 20


def child(kind: str, path: str, steps: int) -> None:
    """One run, from wherever its checkpoint is."""
    torch.set_num_threads(1)
    if kind == "two processes":
        torch.distributed.init_process_group("gloo")
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 2, generator=draw), torch.randint(3, (500,), generator=draw)
    classes = 3 if kind == "conditional" else 0
    generator = networks.mlp_generator(2, latent_dim=4, hidden=(64, 64), bounded=False, num_classes=classes)
    critic = networks.mlp_critic(2, hidden=(64, 64), num_classes=classes)
    model = GAN(generator, critic, loss=losses.NonSaturating(), penalties=(penalties.GradientPenalty(),))
    model.fit(
        TensorDataset(x) if kind == "dataset" else x,
        labels=y if classes else None,
        steps=steps,
        batch_size=64,
        device="cpu",
        progress=False,
        checkpoint=path,
        checkpoint_every=EVERY,
        workers=1 if kind == "dataset" else 0,
    )
    if kind == "two processes":
        torch.distributed.destroy_process_group()


def start(kind: str, path: Path, steps: int) -> subprocess.Popen:
    """The run in a process group of its own, so that a kill takes its children too."""
    own = [str(Path(__file__).resolve()), "--child", kind, "--path", str(path), "--steps", str(steps)]
    launch = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        if kind == "two processes"
        else []
    )
    return subprocess.Popen(
        [sys.executable, *launch, *own], start_new_session=True, stderr=subprocess.DEVNULL
    )


def steps_done(path: Path) -> int:
    """What the checkpoint holds."""
    return len(files.read(path)[0]["history"]) if path.exists() else 0


def killed(kind: str, path: Path, steps: int, kills: int) -> int:
    """Kill a run so many times while it trains, let it end, and return how often it was hit."""
    moments, hits = random.Random(0), 0
    while hits < kills and steps_done(path) < steps:
        before, process = steps_done(path), start(kind, path, steps)
        while process.poll() is None and steps_done(path) == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hits += 1
    start(kind, path, steps).wait()
    return hits


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--child")
    parser.add_argument("--path")
    args = parser.parse_args()
    if args.child:
        child(args.child, args.path, args.steps)
        return
    print("| run | kills | largest difference of a weight from the unbroken run |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            whole, broken = Path(folder) / f"{kind} whole", Path(folder) / f"{kind} broken"
            start(kind, whole, args.steps).wait()
            hits = killed(kind, broken, args.steps, args.kills)
            a, b = (files.read(path)[0] for path in (whole, broken))
            difference = max(float((a[k].double() - b[k].double()).nan_to_num().abs().max()) for k in a)
            print(f"| {kind} | {hits} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
