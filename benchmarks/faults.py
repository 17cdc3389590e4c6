"""Kill -9 at random moments, of everything that runs long: each goes on to the same bits.

    python benchmarks/faults.py [--kills 40] [--only KIND ...] [--keep DIR]

Five kinds of run:

    gan          `GAN.fit(checkpoint=)`, a checkpoint every 10 steps
    collector    a plain loop of SGD with SWAG, its state saved every 20 steps with the network's and the optimizer's
    chains       `Chains` under SGLD with a trajectory, saved every 20 steps
    mapped       `Trajectory(path=)`: iterates in a file that grows, its state saved every 20 steps
    nuts         `reference.nuts(cache=)`, an interval is a chain

An unbroken run tells how long it takes to its first step, t₁, and from there to its end, T. Another is killed in turn
at a moment uniform on [0, T/4] after its first step and at one uniform on [0, t₁ + T/4] after its start, started again,
and so on; after five kills it is left alone. What it ends with is compared with what the unbroken one ended with, every
bit; the work that was done and is in no file (steps, or chains of NUTS) is counted at each kill. With `--keep` the
kills so far are kept, and only the others are done.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from timing import machine
from torch import Tensor, nn

from bayessgd import SWAG, Chains, Trajectory, reference
from bayessgd.collectors._collector import Collector
from bayessgd.likelihoods import Gaussian, GaussianPrior
from bayessgd.optim import SGLD
from gan import GAN, losses, networks
from metrics import files

EVERY = {"gan": 10, "collector": 20, "chains": 20, "mapped": 20, "nuts": 1}
"""The interval: steps, or chains of NUTS."""
STEPS = 200
CHAINS, DRAWS = 4, 15
DATA = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
Count = Callable[[int], None]


def gan(folder: Path, count: Count) -> dict[str, Tensor]:
    """A GAN of a cloud."""
    torch.manual_seed(0)
    generator = networks.mlp_generator(3, latent_dim=2, hidden=(16,), bounded=False)
    model = GAN(generator, networks.mlp_critic(3, hidden=(16,)), loss=losses.NonSaturating())
    path = folder / "run.safetensors"
    model.fit(
        DATA,
        steps=STEPS,
        batch_size=16,
        device="cpu",
        progress=False,
        checkpoint=path,
        checkpoint_every=EVERY["gan"],
        on_step=lambda step, *_: count(step),
        on_step_every=1,
    )
    return files.read(path)[0]


def _loop(
    folder: Path, count: Count, model: nn.Module, sampler: torch.optim.Optimizer, loss: Callable[[Tensor], Tensor],
    collector: Collector, every: int,
) -> dict[str, Tensor]:  # fmt: skip
    """A plain loop as docs/scaling.md has it: what it needs to go on is in one file, renamed into place."""
    path, part = folder / "run.pt", folder / "run.part"
    draws, done = torch.Generator().manual_seed(1), 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        sampler.load_state_dict(state["sampler"])
        collector.load_state_dict(state["collector"])
        draws.set_state(state["draws"])
        done = state["done"]
    with collector.attach(sampler, every=5):
        for step in range(done, STEPS):
            sampler.zero_grad()
            loss(torch.randint(len(DATA), (8,), generator=draws)).backward()
            sampler.step()
            count(step + 1)
            if (step + 1) % every == 0:
                state = {"model": model.state_dict(), "sampler": sampler.state_dict()}
                state |= {"collector": collector.state_dict(), "draws": draws.get_state(), "done": step + 1}
                torch.save(state, part)
                os.replace(part, path)
    law = collector.posterior()
    return {**law.pack().tensors, **model.state_dict(), "draws": draws.get_state()}


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def collector(folder: Path, count: Count) -> dict[str, Tensor]:
    """SGD with momentum, under SWAG."""
    net = _network()
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    def loss(rows: Tensor) -> Tensor:
        return (net(DATA[rows, :2]) - DATA[rows, 2:]).square().mean()

    return _loop(folder, count, net, sgd, loss, SWAG(net, rank=4), EVERY["collector"])


def _langevin(folder: Path, count: Count, path: Path | None, every: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    chains = Chains(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), 3)
    own = torch.Generator().manual_seed(2)
    sgld = SGLD(chains.parameters(), 1e-3, num_data=len(DATA), generator=own)

    def loss(rows: Tensor) -> Tensor:
        return chains.loss(nn.functional.mse_loss, DATA[rows, :2], DATA[rows, 2:], shared=True).sum()

    return _loop(folder, count, chains, sgld, loss, Trajectory(chains, path=path), every)


def chains(folder: Path, count: Count) -> dict[str, Tensor]:
    """Three chains of Langevin dynamics."""
    return _langevin(folder, count, None, EVERY["chains"])


def mapped(folder: Path, count: Count) -> dict[str, Tensor]:
    """The same with the iterates in a file."""
    return _langevin(folder, count, folder / "iterates", EVERY["mapped"])


def nuts(folder: Path, count: Count) -> dict[str, Tensor]:
    """NUTS of a small regression; a chain of 30 draws at a time."""
    net = nn.Linear(2, 1).double()
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    real, done = reference._one_chain, len(list(folder.glob("*.chain*.safetensors")))

    def counted(*args: object) -> object:
        nonlocal done
        found = real(*args)  # pyright: ignore[reportArgumentType]
        done += 1
        count(done)
        return found

    reference._one_chain = counted  # pyright: ignore[reportAttributeAccessIssue]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        law = reference.nuts(
            net,
            DATA[:, :2].double(),
            DATA[:, 2:].double(),
            likelihood=Gaussian(1.0),
            prior=GaussianPrior(1.0),
            num_samples=DRAWS,
            num_chains=CHAINS,
            progress=False,
            cache=folder,
        )
    return {**law.draws, "gradients": torch.tensor(law.origin["gradient_evaluations"])}


KINDS: dict[str, Callable[[Path, Count], dict[str, Tensor]]] = {
    "gan": gan,
    "collector": collector,
    "chains": chains,
    "mapped": mapped,
    "nuts": nuts,
}


def child(kind: str, folder: Path) -> None:
    """One start, from wherever its files are; the number of the last step stands in a file beside them."""
    torch.set_num_threads(1)
    with open(folder / "count", "w") as counter:

        def count(step: int) -> None:
            counter.seek(0)
            counter.write(f"{step:9d}")
            counter.flush()

        count(0)
        found = KINDS[kind](folder, count)
    files.write(folder / "result.safetensors", found, {})


def written(kind: str, folder: Path) -> int:
    """The steps, or chains, in a run's files; each file must be whole."""
    if kind == "nuts":
        return len([files.read(path) for path in folder.glob("*.chain*.safetensors")])
    if kind == "gan":
        path = folder / "run.safetensors"
        return len(files.read(path)[0]["history"]) if path.exists() else 0
    path = folder / "run.pt"
    return torch.load(path, weights_only=True)["done"] if path.exists() else 0


def counted(folder: Path) -> int:
    """The last step that a start has done; 0 where it has not begun."""
    path = folder / "count"
    text = path.read_text().strip() if path.exists() else ""
    return int(text or 0)


@dataclass
class Kills:
    """What was hit so far: before anything was written or after, the most lost, and the runs that ended."""

    kills: int = 0
    before: int = 0
    after: int = 0
    lost: int = 0
    runs: int = 0
    same: int = 0
    largest: float = 0.0


def start(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    """A process of its own group."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "count").unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--child", kind, "--folder", str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def unbroken(kind: str, folder: Path) -> tuple[float, float]:
    """Run it whole; the seconds until its first step and from there to its end."""
    begin, process = time.monotonic(), start(kind, folder)
    while process.poll() is None and counted(folder) == 0:
        time.sleep(0.005)
    first = time.monotonic()
    if process.wait():
        raise RuntimeError(f"an unbroken run of {kind} failed; its words are above")
    return first - begin, time.monotonic() - first


def one_kill(
    kind: str, folder: Path, latest: float, training: float, moments: random.Random, hits: Kills
) -> bool:
    """Start, and kill at a random moment; whether the run had ended before."""
    process, end = start(kind, folder), time.monotonic() + moments.uniform(0, latest)
    wait = moments.uniform(0, training / 4)
    # Every other moment counts from the first step: a start takes longer than many a run.
    while hits.kills % 2 == 0 and process.poll() is None and counted(folder) == 0:
        end = time.monotonic() + wait
        time.sleep(0.005)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    if process.poll() is not None:
        if process.returncode:
            raise RuntimeError(f"a run of {kind} that nobody killed failed; its words are above")
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    hits.kills += 1
    there = written(kind, folder)
    hits.before += there == 0
    hits.after += there > 0
    whole = (folder / "result.safetensors").exists() or (kind == "nuts" and _has_whole(folder))
    hits.lost = max(hits.lost, 0 if whole else counted(folder) - there)
    return False


def _has_whole(folder: Path) -> bool:
    return any("chain" not in p.name and "checks" not in p.name for p in folder.glob("nuts-*.safetensors"))


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, bool]:
    """The largest difference of two results' numbers, and whether all bits are the same."""
    assert first.keys() == second.keys()
    pairs = [(first[k].double().nan_to_num(torch.pi), second[k].double().nan_to_num(torch.pi)) for k in first]
    return max(float((a - b).abs().max()) for a, b in pairs), all(torch.equal(a, b) for a, b in pairs)


def killed(kind: str, folder: Path, kills: int, kept: Path | None) -> Kills:
    """Kill runs of one kind so many times in all; each run is left alone after its fifth kill."""
    told = None if kept is None else kept / f"{kind}.json"
    hits = Kills(**json.loads(told.read_text())) if told is not None and told.exists() else Kills()
    if hits.kills >= kills:
        return hits
    begins, trains = unbroken(kind, folder / "whole")
    whole, moments = files.read(folder / "whole" / "result.safetensors")[0], random.Random(hits.kills)
    while hits.kills < kills:
        cut, ended, mine = folder / "cut", False, 0
        shutil.rmtree(cut, ignore_errors=True)
        while not ended and mine < 5 and hits.kills < kills:
            ended = one_kill(kind, cut, begins + trains / 4, trains, moments, hits)
            mine += not ended
        if not ended and start(kind, cut).wait():
            raise RuntimeError(f"a run of {kind} did not go on; its words are above")
        largest, same = difference(whole, files.read(cut / "result.safetensors")[0])
        hits.runs, hits.same = hits.runs + 1, hits.same + same
        hits.largest = max(hits.largest, largest)
        left = sorted(p.name for p in cut.iterdir() if p.name.endswith(".part") and p.name.startswith("."))
        assert not left, left
        if told is not None:
            files.write_text(told, json.dumps(asdict(hits)))
    return hits


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=40, help="of each kind")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder where the kills so far are kept")
    parser.add_argument("--child", choices=KINDS)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder)
        return
    print(f"{machine()}\n")
    head = ["run", "kills", "before anything was written", "after", "interval", "lost at most"]
    head += ["runs", "the same bits", "largest difference"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for kind in args.only:
        with tempfile.TemporaryDirectory() as folder:
            hits = killed(kind, Path(folder), args.kills, args.keep)
        unit = "chains" if kind == "nuts" else "steps"
        told = [kind, hits.kills, hits.before, hits.after, f"{EVERY[kind]} {unit}", hits.lost, hits.runs]
        told += [hits.same, f"{hits.largest:.1e}"]
        print(f"| {' | '.join(map(str, told))} |", flush=True)


if __name__ == "__main__":
    main()
