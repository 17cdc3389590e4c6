"""Many chains at once against the same chains one after another: steps per second of all chains together.

    python benchmarks/chains.py [--chains 64] [--threads 2]

One step of one chain is forward, backward and an optimizer step on a batch of its own. Both ways run the same networks,
batches and optimizer; rounds alternate, so that a busy machine slows both, and the table gives medians over
rounds with the standard error of the ratio's mean. The first network is the one of the UCI benchmarks (50 ReLU).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from bayessgd.chains import Chains
from bayessgd.optim import SGLD

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP 8-50-1": lambda: nn.Sequential(nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 1)),
    "MLP 8-50-50-1": lambda: nn.Sequential(
        nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 1)
    ),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=1e-3),
    "Adam": partial(torch.optim.Adam, lr=1e-3),
    "SGLD": partial(SGLD, lr=1e-3, num_data=1000),
}


@dataclass(frozen=True)
class Row:
    """Chain-steps per second both ways, and their ratio with its standard error over rounds."""

    network: str
    optimizer: str
    batch: int
    together: float
    alone: float
    ratio: float
    stderr: float


def measure(network: str, optimizer: str, *, num_chains: int, batch: int, rounds: int = 5) -> Row:
    chains = Chains(NETWORKS[network](), num_chains, seed=0)
    models = [chains.chain(i) for i in range(num_chains)]
    x, y = torch.randn(num_chains, batch, 8), torch.randn(num_chains, batch, 1)
    stacked = OPTIMIZERS[optimizer](chains.parameters())
    singles = [OPTIMIZERS[optimizer](m.parameters()) for m in models]
    mse = nn.functional.mse_loss

    def together() -> None:
        stacked.zero_grad()
        chains.loss(mse, x, y).sum().backward()
        stacked.step()

    def alone() -> None:
        for i, (model, single) in enumerate(zip(models, singles, strict=True)):
            single.zero_grad()
            mse(model(x[i]), y[i]).backward()
            single.step()

    pairs = []
    for warm in (True, *[False] * rounds):
        times = [_seconds(together, 10), _seconds(alone, 1)]
        if not warm:
            pairs.append(times)
    fast, slow = (statistics.median(t) for t in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    stderr = statistics.stdev(ratios) / rounds**0.5
    return Row(
        network, optimizer, batch, num_chains / fast, num_chains / slow, statistics.median(ratios), stderr
    )


def _seconds(step: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def chains_throughput(*, num_chains: int = 64, batch: int = 32) -> str:
    """Return one Markdown table over networks and optimizers."""
    lines = [
        f"{num_chains} chains, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "",
        "| network | optimizer | batch | together, steps/s | one by one, steps/s | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            r = measure(network, optimizer, num_chains=num_chains, batch=batch)
            lines.append(
                f"| {r.network} | {r.optimizer} | {r.batch} | {r.together:,.0f} | {r.alone:,.0f} | "
                f"{r.ratio:.1f} ± {r.stderr:.1f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(chains_throughput(num_chains=arguments.chains, batch=arguments.batch))
