"""Memory of a large network: a random GPT-2 of 124 million parameters on a CPU.

    python benchmarks/large_network.py [--layers 12] [--width 768] [--vocabulary 50257]

Each job runs in a process of its own. A thread reads its resident memory every two milliseconds; the largest value
during the job, less the value before it, is told in units of the parameters' own size. The network is written out here
in torch's modules, with GPT-2's shapes, its tied embedding and random weights: nothing is downloaded.
"""

import argparse
import multiprocessing
import os
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import bayessgd

SNAPSHOTS = 3
DRAWS = 10
BATCH, LENGTH = 1, 16


class Block(nn.Module):
    """Attention and a perceptron, each behind a norm and around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [batch, length, width]."""
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.attend(self.first(x)).chunk(3, -1)
        )
        found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(found.transpose(1, 2).flatten(2))
        return x + self.narrow(nn.functional.gelu(self.widen(self.second(x))))


class GPT2(nn.Module):
    """GPT-2 with its embedding tied to its head."""

    def __init__(self, layers: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.blocks = nn.Sequential(*(Block(width, max(1, width // 64)) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            nn.init.normal_(p, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [batch, length, vocabulary]."""
        at = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.places(at))))


def resident() -> float:
    with open("/proc/self/statm") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watch:
    """The largest resident memory while it is open, over that at its start."""

    def __enter__(self) -> "Watch":
        self.before = self.most = resident()
        self.started, self.done = time.time(), threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while not self.done.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.seconds = time.time() - self.started
        self.extra = max(self.most, resident()) - self.before


def size_of(net: nn.Module) -> float:
    return float(sum(p.numel() * p.element_size() for p in net.parameters()))


def moved(net: nn.Module, collector: bayessgd.SWAG, generator: torch.Generator) -> None:
    """Collect snapshots of a random walk in place, which needs no gradients and no other memory."""
    with torch.no_grad():
        for _ in range(SNAPSHOTS):
            for p in net.parameters():
                for row in p.view(-1).split(2**16):
                    row.add_(torch.randn(row.shape, generator=generator), alpha=1e-3)
            collector.update()


def measured(job: str, shape: tuple[int, int, int]) -> dict[str, float]:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    net = GPT2(*shape)
    ids = torch.randint(shape[2], (BATCH, LENGTH), generator=generator)
    unit = size_of(net)
    with torch.no_grad():
        output = net(ids)  # what torch sets up at a first call is not ours
    rank = 2 if "rank 2" in job else 0
    with Watch() as watch:
        collector = bayessgd.SWAG(net, rank=rank)
        moved(net, collector, generator)
    kept = 0.0
    if job.startswith("predict"):
        posterior = collector.posterior()
        del collector
        chunk = 1 if "one at a time" in job else None
        reduce = "moments" if "moments" in job else None
        kept = (2 if reduce else DRAWS) * output.numel() * 4.0
        with Watch() as watch:
            found = bayessgd.predict(
                net, posterior, ids, num_samples=DRAWS, generator=generator, reduce=reduce, chunk_size=chunk
            )
        del found
    return {"parameters": unit / 4, "units": (watch.extra - kept) / unit, "seconds": watch.seconds}


JOBS: dict[str, str] = {
    "collect, SWAG diagonal (rank 0)": "(K + 2) = 2",
    "collect, SWAG rank 2": "(K + 2) = 4",
    "predict, diagonal": "3",
    "predict, diagonal, one at a time": "3",
    "predict, diagonal, moments": "3",
    "predict, rank 2": "3",
}


def alone(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run a function in a fresh process, whose peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    given = parser.parse_args()
    shape = (given.layers, given.width, given.vocabulary)
    print("| job | parameters (million) | extra memory (× the parameters) | bound | seconds |")
    print("|---|---|---|---|---|")
    for job, bound in JOBS.items():
        found = alone(measured, job, shape)
        print(
            f"| {job} | {found['parameters'] / 1e6:.1f} | {found['units']:.2f} | {bound} | {found['seconds']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
