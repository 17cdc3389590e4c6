"""Kill -9 at random moments: every run goes on to the same bits as one that was not stopped.

    python benchmarks/gan_kills.py [--kills 10] [--steps 1000]

Four kinds of run: a tensor, a `Dataset` with a reading process, a game of classes, two processes (gloo). An unbroken
run tells how long it takes until its first step, t₁, and from there to its end, T. Another run is killed, with all its
processes, in turn at a moment uniform on [0, t₁] after its start and at one uniform on [0, T/6] after its first step,
started again from what its checkpoint holds, and so on; then it is left alone. Everything in its last checkpoint
(weights, moments, average, curves, random state) is compared with that of the unbroken run. A kill comes before there
is a checkpoint, after one that an earlier start wrote, or after one of its own; the table counts them, and the steps
that were done and not yet written.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from timing import machine
from torch import Tensor
from torch.utils.data import TensorDataset

from gan import GAN, losses, networks, penalties
from metrics import files

KINDS = {"tensor": 1, "dataset": 1, "conditional": 1, "two processes": 2}
"""Kinds of run, and their processes."""
EVERY = 10


def child(kind: str, path: Path, steps: int) -> None:
    """One run, from wherever its checkpoint is; the number of the last step stands in a file beside it."""
    torch.set_num_threads(1)
    if KINDS[kind] > 1:
        torch.distributed.init_process_group("gloo")
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 2, generator=draw), torch.randint(3, (500,), generator=draw)
    classes = 3 if kind == "conditional" else 0
    generator = networks.mlp_generator(2, latent_dim=4, hidden=(64, 64), bounded=False, num_classes=classes)
    critic = networks.mlp_critic(2, hidden=(64, 64), num_classes=classes)
    model = GAN(generator, critic, loss=losses.NonSaturating(), penalties=(penalties.GradientPenalty(),))
    with open(_counter(path), "w") as counter:

        def count(step: int, *_: object) -> None:
            counter.seek(0)
            counter.write(f"{step:9d}")
            counter.flush()

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
            on_step=count,
            on_step_every=1,
        )
    if KINDS[kind] > 1:
        torch.distributed.destroy_process_group()


def _counter(path: Path) -> Path:
    return path.with_suffix(f".step{os.environ.get('RANK', '0')}")


class Run:
    """The processes of one start, each in a group of its own, so that a kill takes its readers too."""

    def __init__(self, kind: str, path: Path, steps: int) -> None:
        own = ["--child", kind, "--path", str(path), "--steps", str(steps)]
        command = [sys.executable, str(Path(__file__).resolve()), *own]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(KINDS[kind])}
        self.processes = [
            subprocess.Popen(
                command,
                start_new_session=True,
                env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(KINDS[kind])
        ]

    def running(self) -> bool:
        """Whether any of them does."""
        return any(process.poll() is None for process in self.processes)

    def kill(self) -> None:
        """Kill -9 all of them, and their children."""
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def wait(self) -> None:
        """Wait until all have ended by themselves."""
        codes = [process.wait() for process in self.processes]
        if any(codes):
            raise RuntimeError("a run that nobody killed failed; its words are above")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def written(path: Path) -> int:
    """The steps in a checkpoint; every one must be whole."""
    return len(files.read(path)[0]["history"]) if path.exists() else 0


@dataclass
class Kills:
    """What was hit: before any checkpoint, after an earlier start's, after its own; and the steps lost at most."""

    before: int = 0
    after_earlier: int = 0
    after_own: int = 0
    lost: int = 0


def trains(path: Path) -> bool:
    """Whether a step of this start is done."""
    return _counter(path).exists() and bool(_counter(path).read_text())


def started(kind: str, path: Path, steps: int) -> Run:
    """A start from what the checkpoint holds, its count of steps empty."""
    _counter(path).unlink(missing_ok=True)
    return Run(kind, path, steps)


def unbroken(kind: str, path: Path, steps: int) -> tuple[float, float]:
    """Run it whole; the seconds until its first step and from there to its end."""
    begin, run = time.monotonic(), started(kind, path, steps)
    while run.running() and not trains(path):
        time.sleep(0.01)
    first = time.monotonic()
    run.wait()
    return first - begin, time.monotonic() - first


def broken(kind: str, path: Path, steps: int, kills: int, start: float, training: float) -> Kills:
    """Kill a run so many times, in turn while it starts and while it trains, then let it end."""
    moments, hits = random.Random(0), Kills()
    for number in range(kills):
        before, run = written(path), started(kind, path, steps)
        while number % 2 and run.running() and not trains(path):
            time.sleep(0.005)
        end = time.monotonic() + moments.uniform(0, training / 6 if number % 2 else start)
        while run.running() and time.monotonic() < end:
            time.sleep(0.005)
        if not run.running():
            run.wait()
            break
        run.kill()
        after = written(path)
        hits.before += after == 0
        hits.after_earlier += after == before > 0
        hits.after_own += after > before
        if trains(path):
            hits.lost = max(hits.lost, int(_counter(path).read_text()) - after)
    started(kind, path, steps).wait()
    return hits


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, bool]:
    """The largest difference of two checkpoints' numbers, and whether all bits are the same."""
    assert first.keys() == second.keys()
    pairs = [(first[k].double(), second[k].double()) for k in first]
    same = all(torch.equal(a.nan_to_num(torch.pi), b.nan_to_num(torch.pi)) for a, b in pairs)
    return max(float((a - b).nan_to_num().abs().max()) for a, b in pairs), same


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--child")
    parser.add_argument("--path", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.path, args.steps)
        return
    print(f"{machine()}; {args.steps} steps, a checkpoint every {EVERY}\n")
    head = [
        "run",
        "kills",
        "before a checkpoint",
        "after an earlier start's",
        "after its own",
        "steps lost at most",
    ]
    head += ["largest difference", "same bits"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            whole, cut = Path(folder) / f"{kind} whole", Path(folder) / f"{kind} broken"
            hits = broken(kind, cut, args.steps, args.kills, *unbroken(kind, whole, args.steps))
            largest, same = difference(files.read(whole)[0], files.read(cut)[0])
            counts = (hits.before, hits.after_earlier, hits.after_own)
            told = f"| {kind} | {sum(counts)} | {' | '.join(map(str, counts))} | {hits.lost} |"
            print(f"{told} {largest:.1e} | {'yes' if same else 'no'} |", flush=True)


if __name__ == "__main__":
    main()
