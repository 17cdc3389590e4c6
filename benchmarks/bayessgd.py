"""What collecting and predicting cost: `python benchmarks/bayessgd.py [--repeats 15] [--threads 2] [--cpu-time]`.

Contenders are timed in turn, round after round, so that whatever else the machine does meets all of them; a row gives
two medians and their ratio. On a busy machine `--cpu-time --threads 1` counts the processor's time and not the wall's.
"""

# ruff: noqa: E402

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# A script's own folder comes first on the path, and there `bayessgd` is this file.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from bayessgd.collectors import SWAG, IterateAverage
from bayessgd.collectors._running import BLOCK
from bayessgd.params import named_parameters
from bayessgd.posteriors import Ensemble
from bayessgd.predict import predict

EVERY = 50
DRAWS = 30
clock = time.perf_counter


@dataclass
class Row:
    """Two costs, in milliseconds or in the parameters' own bytes."""

    what: str
    first: float
    second: float
    unit: str
    bound: str

    def markdown(self) -> str:
        """Return a line of the table."""
        ratio = self.first / self.second
        return f"| {self.what} | {self.first:.4g} | {self.second:.4g} | {self.unit} | {ratio:.3g} | {self.bound} |"


def medians(repeats: int, *contenders: Callable[[], object]) -> list[float]:
    """Median milliseconds of each, timed in turn."""
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeats + 2):
        for contender, kept in zip(contenders, times, strict=True):
            start = clock()
            contender()
            kept.append(1e3 * (clock() - start))
    return [statistics.median(kept[2:]) for kept in times]  # the first two warm up


def wide_mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
    )


class PublishedSwag:
    """The arithmetic of the authors' swa-gaussian: moments by two products each, columns by concatenation."""

    def __init__(self, net: nn.Module, rank: int) -> None:
        self.parameters, self.rank, self.n = list(net.parameters()), rank, 0
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.columns = [torch.zeros(0, p.numel()) for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in one snapshot."""
        n = self.n
        for i, p in enumerate(self.parameters):
            self.mean[i] = self.mean[i] * n / (n + 1) + p / (n + 1)
            self.squares[i] = self.squares[i] * n / (n + 1) + p**2 / (n + 1)
            kept = torch.cat([self.columns[i], (p - self.mean[i]).view(1, -1)])
            self.columns[i] = kept[-self.rank :]
        self.n += 1


def collecting(repeats: int) -> list[Row]:
    net = wide_mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.randn(128, 784), torch.randint(10, (128,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    swag, lean, diagonal = SWAG(net), SWAG(net, columns_dtype=torch.bfloat16), SWAG(net, rank=0)
    published = PublishedSwag(net, 20)
    for _ in range(20):
        published.update()
    t_step, t_swag, t_lean, t_diagonal, t_published = medians(
        repeats, step, swag.update, lean.update, diagonal.update, published.update
    )
    bound = "≤ 0.02"
    return [
        Row(f"SWAG, every {EVERY} steps / step", t_swag / EVERY, t_step, "ms", bound),
        Row(f"SWAG bfloat16, every {EVERY} steps / step", t_lean / EVERY, t_step, "ms", bound),
        Row(f"SWAG diagonal, every {EVERY} steps / step", t_diagonal / EVERY, t_step, "ms", bound),
        Row("SWAG, update / swa-gaussian's arithmetic", t_swag, t_published, "ms", ""),
        *updating(repeats, net),
    ]


def updating(repeats: int, net: nn.Module) -> list[Row]:
    total = [torch.zeros_like(p) for p in net.parameters()]
    parameters = [p.detach() for p in net.parameters()]
    swag, diagonal, average, averaged = SWAG(net), SWAG(net, rank=0), IterateAverage(net), AveragedModel(net)

    # A whole block of additions at a time, so that the sum in float64 is counted.
    def times(one: Callable[[], object]) -> Callable[[], None]:
        def many() -> None:
            for _ in range(BLOCK):
                one()

        return many

    t_add, t_average, t_diagonal, t_swag, t_averaged = (
        t / BLOCK
        for t in medians(
            repeats,
            times(lambda: torch._foreach_add_(total, parameters)),
            times(average.update),
            times(diagonal.update),
            times(swag.update),
            times(lambda: averaged.update_parameters(net)),
        )
    )
    return [
        Row("IterateAverage, update / addition", t_average, t_add, "ms", "≤ 1.05"),
        Row("SWAG diagonal, update / addition", t_diagonal, t_add, "ms", ""),
        Row("SWAG, update / addition", t_swag, t_add, "ms", ""),
        Row("IterateAverage, update / torch AveragedModel", t_average, t_averaged, "ms", ""),
    ]


def memory(_: int) -> list[Row]:
    net = wide_mlp()
    size = sum(p.nbytes for p in net.parameters())
    rows = []
    for what, collector, bound in (
        ("SWAG(rank=20)", SWAG(net), 22),
        ("SWAG(rank=20, columns_dtype=bfloat16)", SWAG(net, columns_dtype=torch.bfloat16), 12),
        ("SWAG(rank=0)", SWAG(net, rank=0), 2),
        ("IterateAverage", IterateAverage(net), 3),
    ):
        collector.update()
        held = sum(t.nbytes for t in collector.state_dict()["tensors"].values())
        rows.append(Row(f"memory of {what} / parameters", held / size, 1, "×", f"≤ {bound}"))
    return rows


def predicting(repeats: int) -> list[Row]:
    rows = []
    for inputs, width, batch in ((8, 50, 100), (8, 50, 1000), (784, 1000, 128)):
        net = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
        )
        name = f"predict {DRAWS} × {inputs}-{width}-{width}-10, batch {batch}"
        rows += predicting_one(repeats, net, torch.randn(batch, inputs), name)
    return rows


def predicting_one(repeats: int, net: nn.Module, x: Tensor, name: str) -> list[Row]:
    draws = {k: 0.1 * torch.randn(DRAWS, *p.shape) for k, p in named_parameters(net).items()}
    bank = Ensemble(draws)

    @torch.no_grad()
    def functional() -> Tensor:
        ones = ({k: t[i] for k, t in draws.items()} for i in range(DRAWS))
        return torch.stack([functional_call(net, one, (x,)) for one in ones])

    @torch.no_grad()
    def loaded() -> Tensor:
        outputs = []
        for i in range(DRAWS):
            net.load_state_dict({k: t[i] for k, t in draws.items()})
            outputs.append(net(x))
        return torch.stack(outputs)

    ours, by_call, by_load = medians(
        repeats, lambda: predict(net, bank, x, num_samples=DRAWS), functional, loaded
    )
    return [
        Row(f"loop of functional_call / {name}", by_call, ours, "ms", "≥ 5"),
        Row(f"loop of load_state_dict / {name}", by_load, ours, "ms", "≥ 5"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="What collecting and predicting cost.")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        global clock
        clock = time.process_time
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print("| first / second | first | second | unit | ratio | bound |\n|---|---|---|---|---|---|")
    for part in (collecting, memory, predicting):
        for row in part(arguments.repeats):
            print(row.markdown(), flush=True)


if __name__ == "__main__":
    main()
