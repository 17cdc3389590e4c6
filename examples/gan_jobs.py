"""Trainings of gan_metrics.py: one loss after the other, or several at once in processes of one thread each.

Small networks do not fill a core's neighbours, so that losses side by side take as long as the slowest of them, and
every loss gets the bits that it gets alone. A process that is told of Ctrl-C does nothing: its parent ends it, and its
last checkpoint is what a later run goes on from.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from gan_options import chosen, load
from tqdm import tqdm

from gan import GAN, Data, Recipe, TrainingDivergedError
from gan.history import History

__all__ = ["Run", "at_once", "in_turn", "rank"]

TELL_EVERY = 50
"""Steps after which a process tells its parent."""


@dataclass
class Run:
    """One loss after its trainings: samples `[n, ...]` of each seed, the first seed's curves, seconds in all."""

    samples: list[torch.Tensor]
    history: History
    seconds: float


def rank() -> int:
    """The number of this process among those of torchrun."""
    return int(os.environ.get("RANK", "0"))


def in_turn(names: list[str], data: Data, count: int, args: argparse.Namespace) -> Generator[tuple[str, Run]]:
    """Train one loss after the other in this process, with a bar for each training."""
    for name in names:
        yield name, _run(name, data, count, args, progress=not args.quiet)


def at_once(names: list[str], data: Data, count: int, args: argparse.Namespace) -> Generator[tuple[str, Run]]:
    """Train `args.jobs` losses at a time, in processes that end with this generator; the first to end comes first."""
    with _Workers(names, data, count, args) as workers:
        yield from workers.results()


def _run(
    name: str,
    data: Data,
    count: int,
    args: argparse.Namespace,
    *,
    progress: bool,
    told: Connection | None = None,
) -> Run:
    started = time.perf_counter()
    runs = []
    for seed in range(args.seed, args.seed + args.seeds):
        model = _train(name, seed, data, args, progress=progress, told=told)
        runs.append((model.sample(count, seed=seed).cpu(), model.history))
    return Run([samples for samples, _ in runs], runs[0][1], time.perf_counter() - started)


def _train(
    name: str, seed: int, data: Data, args: argparse.Namespace, *, progress: bool, told: Connection | None
) -> GAN:
    recipe = chosen(name, args, data)
    model = GAN.from_recipe(recipe, *recipe.players(seed=1000 * seed))
    steps = args.steps or recipe.steps
    if rank() == 0:
        # In one piece, or the lines of two processes mix where Python does not buffer.
        print(f"{name}, seed {seed}: {steps} steps\n", end="", file=sys.stderr, flush=True)

    def tell(step: int, model: GAN, history: History) -> None:
        if told is not None:
            told.send((seed, step, steps))

    return model.fit(
        data,
        steps=steps,
        seed=seed,
        device=args.device,
        progress=progress,
        checkpoint=args.out / "checkpoints" / f"{data.name}-{name}-{seed}.safetensors",
        on_step=None if told is None else tell,
        on_step_every=TELL_EVERY,
        workers=args.workers,
        amp=args.amp,
    )


def _work(name: str, count: int, args: argparse.Namespace, told: Connection) -> None:
    """What a process does: train a loss, and send how far it is and what it has in the end."""
    torch.set_num_threads(1)
    tqdm.set_lock(
        threading.RLock()
    )  # its own lock is shared among processes, and lost with one that is ended
    with suppress(BrokenPipeError):  # the parent has ended
        try:
            run = _run(name, load(args), count, args, progress=False, told=told)
        except (ValueError, TypeError, OSError, TrainingDivergedError) as error:
            told.send(f"{name}: {error}")
        else:
            # As arrays: a tensor would travel as a file descriptor of a process that ends.
            told.send(([x.numpy() for x in run.samples], run.history.rows().numpy(), run.seconds))


def _samples_seen(recipe: Recipe) -> int:
    """About what a training costs: the batches of both players in all steps."""
    settings = recipe.settings
    return recipe.steps * settings.batch_size * (1 + settings.critic_steps)


class _Workers:
    """At most `args.jobs` processes, one a loss."""

    def __init__(self, names: list[str], data: Data, count: int, args: argparse.Namespace) -> None:
        self.waiting, self.count, self.args = list(names), count, args
        # The longest first, so that none of them is what all wait for in the end.
        self.waiting.sort(key=lambda name: -_samples_seen(chosen(name, args, data)))
        self.context = multiprocessing.get_context("spawn")
        self.running: dict[Any, tuple[str, BaseProcess]] = {}
        self.steps: dict[tuple[str, int], tuple[int, int]] = {}

    def __enter__(self) -> "_Workers":
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        for _, process in self.running.values():
            process.terminate()
            process.join()

    def _start(self) -> None:
        while self.waiting and len(self.running) < self.args.jobs:
            name = self.waiting.pop(0)
            mine, theirs = self.context.Pipe(duplex=False)
            process = self.context.Process(
                target=_work, args=(name, self.count, self.args, theirs), daemon=True
            )
            # An ignored signal stays ignored in the new process, from its first moment.
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
            process.start()
            signal.signal(signal.SIGINT, handler)
            theirs.close()
            self.running[mine] = (name, process)

    def results(self) -> Generator[tuple[str, Run]]:
        """Yield what ends, with one bar of all steps."""
        names = ", ".join([name for name, _ in self.running.values()] + self.waiting)
        with tqdm(total=0, disable=True if self.args.quiet else None, desc=names, unit="step") as bar:
            while self.running:
                for connection in wait(list(self.running)):
                    run = self._heard(connection, bar)
                    if run is not None:
                        yield run

    def _heard(self, connection: Any, bar: tqdm) -> tuple[str, Run] | None:
        name, process = self.running[connection]
        try:
            message = connection.recv()
        except EOFError:
            process.join()
            raise OSError(
                f"the process of {name} ended with code {process.exitcode}; --jobs 1 needs the least memory"
            ) from None
        if isinstance(message, str):
            raise ValueError(message)
        if isinstance(message[0], int):
            seed, step, steps = message
            self.steps[name, seed] = (step, steps)
            bar.total = sum(steps for _, steps in self.steps.values())
            bar.update(sum(done for done, _ in self.steps.values()) - bar.n)
            return None
        del self.running[connection]
        process.join()
        self._start()
        samples, rows, seconds = message
        history = History()
        history.extend(torch.from_numpy(rows))
        return name, Run([torch.from_numpy(x) for x in samples], history, seconds)
