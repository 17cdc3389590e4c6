"""What collecting and predicting cost, beside peers: `python benchmarks/collectors.py [--repeats 15] [--threads 2]`.

Prints a table and writes it with `--out FILE`. Contenders are timed in turn, round after round; a row gives two
medians, their ratio with its standard error, and the bound that we hold ourselves to. The peers of
`collectors_peers.py` take part where they are installed (`pip install torch-uncertainty lightning-uq-box posteriors`).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from collectors_peers import Swag, lightning_uq_box, posteriors_sgld, swa_gaussian, torch_uncertainty
from timing import Timing, machine, timed
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel

from bayessgd.collectors import SWAG, IterateAverage
from bayessgd.collectors._running import BLOCK
from bayessgd.optim import SGLD
from bayessgd.params import named_parameters
from bayessgd.posteriors import Ensemble
from bayessgd.predict import predict

EVERY = 50
DRAWS = 30
RANK = 20


@dataclass(frozen=True)
class Row:
    """Two costs, in milliseconds or in the parameters' own bytes."""

    what: str
    first: float
    second: float
    unit: str
    ratio: tuple[float, float]
    bound: str

    def markdown(self) -> str:
        """Return a line of the table."""
        value, stderr = self.ratio
        told = f"{value:.3g}" + (f" ± {stderr:.1g}" if stderr > 0 else "")
        return f"| {self.what} | {self.first:.4g} | {self.second:.4g} | {self.unit} | {told} | {self.bound} |"


def compared(what: str, first: Timing, second: Timing, bound: str = "", *, per: float = 1.0) -> Row:
    """Return the row of two timings, of which the first is spread over `per` steps."""
    ratio, stderr = first.over(second)
    return Row(
        what, 1e3 * first.seconds / per, 1e3 * second.seconds, "ms", (ratio / per, stderr / per), bound
    )


def wide_mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)
    )


def peers(net: nn.Module) -> list[Swag]:
    found = (
        swa_gaussian(net, rank=RANK),
        torch_uncertainty(net, rank=RANK, draws=DRAWS),
        lightning_uq_box(net, rank=RANK, draws=DRAWS),
    )
    return [peer for peer in found if peer is not None]


def collecting(repeats: int) -> list[Row]:
    net = wide_mlp()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.randn(128, 784), torch.randint(10, (128,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    swag, lean, diagonal = SWAG(net), SWAG(net, columns_dtype=torch.bfloat16), SWAG(net, rank=0)
    others = peers(wide_mlp())
    for _ in range(RANK):
        for other in others:
            other.update()
    t_step, t_swag, t_lean, t_diagonal, *t_others = timed(
        repeats, step, swag.update, lean.update, diagonal.update, *[other.update for other in others]
    )
    bound = "≤ 0.02"
    return [
        compared(f"SWAG, every {EVERY} steps / step", t_swag, t_step, bound, per=EVERY),
        compared(f"SWAG bfloat16, every {EVERY} steps / step", t_lean, t_step, bound, per=EVERY),
        compared(f"SWAG diagonal, every {EVERY} steps / step", t_diagonal, t_step, bound, per=EVERY),
        *[
            compared(f"update of {other.name} / SWAG's", t_other, t_swag)
            for other, t_other in zip(others, t_others, strict=True)
        ],
    ]


def updating(repeats: int) -> list[Row]:
    net = wide_mlp()
    total = [torch.zeros_like(p) for p in net.parameters()]
    parameters = [p.detach() for p in net.parameters()]
    swag, diagonal, average, averaged = SWAG(net), SWAG(net, rank=0), IterateAverage(net), AveragedModel(net)

    # A whole block of additions at a time, so that the sum in float64 is counted.
    def block(one: Callable[[], object]) -> Callable[[], None]:
        def many() -> None:
            for _ in range(BLOCK):
                one()

        return many

    t_add, t_average, t_diagonal, t_swag, t_averaged = (
        Timing([t / BLOCK for t in timing.rounds])
        for timing in timed(
            repeats,
            block(lambda: torch._foreach_add_(total, parameters)),  # pyright: ignore[reportPrivateImportUsage]
            block(average.update),
            block(diagonal.update),
            block(swag.update),
            block(lambda: averaged.update_parameters(net)),
        )
    )
    return [
        compared("IterateAverage, update / addition", t_average, t_add, "≤ 1.05"),
        compared("torch AveragedModel, update / addition", t_averaged, t_add),
        compared("SWAG diagonal, update / addition", t_diagonal, t_add),
        compared("SWAG, update / addition", t_swag, t_add),
    ]


def memory(_: int) -> list[Row]:
    net = wide_mlp()
    size = sum(p.nbytes for p in net.parameters())

    def row(what: str, held: int, bound: str = "") -> Row:
        return Row(f"memory of {what} / parameters", held / size, 1, "×", (held / size, 0.0), bound)

    rows = []
    for what, collector, bound in (
        ("SWAG(rank=20)", SWAG(net, rank=RANK), "≤ 22"),
        ("SWAG(rank=20, columns_dtype=bfloat16)", SWAG(net, rank=RANK, columns_dtype=torch.bfloat16), "≤ 11"),
        ("SWAG(rank=20, moments_dtype=float64)", SWAG(net, rank=RANK, moments_dtype=torch.float64), ""),
        ("SWAG(rank=0)", SWAG(net, rank=0), "≤ 2"),
        ("IterateAverage", IterateAverage(net), ""),
    ):
        collector.update()
        rows.append(row(what, sum(t.nbytes for t in collector.state_dict()["tensors"].values()), bound))
    for peer in peers(wide_mlp()):
        for _ in range(RANK):
            peer.update()
        rows.append(row(f"{peer.name}, rank 20", peer.held()))
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

    ours, by_call, by_load = timed(
        repeats, lambda: predict(net, bank, x, num_samples=DRAWS), functional, loaded
    )
    return [
        compared(f"loop of functional_call / {name}", by_call, ours, "≥ 5"),
        compared(f"loop of load_state_dict / {name}", by_load, ours, "≥ 5"),
    ]


def drawing(repeats: int) -> list[Row]:
    """SWAG's draws and their predictions together, as the peers do both in one call."""
    rows = []
    for width, batch in ((50, 100), (1000, 128)):
        net = nn.Sequential(
            nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        swag, x, others = SWAG(net, rank=RANK), torch.randn(batch, 8), peers(net)
        for _ in range(RANK + 1):
            with torch.no_grad():
                for p in net.parameters():
                    p.add_(0.01 * torch.randn_like(p))
            for one in (swag, *others):
                one.update()
        posterior, able = swag.posterior(), [other for other in others if other.predict is not None]
        name = f"draw and predict {DRAWS} × 8-{width}-{width}-1, batch {batch}"
        ours, *theirs = timed(
            repeats,
            lambda net=net, posterior=posterior, x=x: predict(net, posterior, x, num_samples=DRAWS),
            *[lambda call=other.predict, x=x: call(x) for other in able],  # pyright: ignore[reportOptionalCall]
        )
        rows += [
            compared(f"{other.name} / {name}", their, ours) for other, their in zip(able, theirs, strict=True)
        ]
    return rows


def sampling(repeats: int) -> list[Row]:
    """A step of SGLD, gradient included."""
    rows = []
    for inputs, width, batch in ((8, 50, 32), (784, 1000, 128)):
        net = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
        )
        x, y = torch.randn(batch, inputs), torch.randint(10, (batch,))
        peer = posteriors_sgld(net, x, y, lr=1e-4, num_data=1000)
        if peer is None:
            return rows
        sgld = SGLD(net.parameters(), 1e-4, num_data=1000)

        def step(net: nn.Module = net, sgld: SGLD = sgld, x: Tensor = x, y: Tensor = y) -> None:
            sgld.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            sgld.step()

        ours, theirs = timed(repeats, step, peer[1])
        rows.append(
            compared(
                f"SGLD step of {peer[0]} / ours, {inputs}-{width}-{width}-10, batch {batch}", theirs, ours
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    lines = [
        f"{machine()}; medians of {arguments.repeats} rounds taken in turn, ratios ± their standard error",
        "",
        "| first / second | first | second | unit | ratio | bound |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for part in (collecting, updating, memory, predicting, drawing, sampling):
        for row in part(arguments.repeats):
            lines.append(row.markdown())
            print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
