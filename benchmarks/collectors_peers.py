"""Peers of `benchmarks/collectors.py`, each behind one function; None where the package is not installed.

Versions matter: torch-uncertainty 0.13, lightning-uq-box 0.2 and posteriors 0.1.3 were read and run.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Swag", "lightning_uq_box", "posteriors_sgld", "swa_gaussian", "torch_uncertainty"]


@dataclass(frozen=True)
class Swag:
    """Somebody's SWAG of a network: how it takes in a snapshot, its mean, its draws' predictions, its tensors."""

    name: str
    update: Callable[[], object]
    mean: Callable[[], Tensor]
    predict: Callable[[Tensor], Tensor] | None
    held: Callable[[], int]


def swa_gaussian(net: nn.Module, *, rank: int) -> Swag:
    """Write out the arithmetic of the authors' swa-gaussian: moments by two products each, columns by concatenation."""
    parameters = list(net.parameters())
    mean = [torch.zeros_like(p) for p in parameters]
    squares = [torch.zeros_like(p) for p in parameters]
    columns = [torch.zeros(0, p.numel()) for p in parameters]
    n = 0

    @torch.no_grad()
    def update() -> None:
        nonlocal n
        for i, p in enumerate(parameters):
            mean[i] = mean[i] * n / (n + 1) + p / (n + 1)
            squares[i] = squares[i] * n / (n + 1) + p**2 / (n + 1)
            columns[i] = torch.cat([columns[i], (p - mean[i]).view(1, -1)])[-rank:]
        n += 1

    def held() -> int:
        return sum(t.nbytes for t in (*mean, *squares, *columns))

    return Swag("swa-gaussian's arithmetic", update, lambda: _flat(mean), None, held)


def torch_uncertainty(net: nn.Module, *, rank: int, draws: int) -> Swag | None:
    """Wrap torch-uncertainty's SWAG. Its update also redraws its networks, which here counts as predicting."""
    package = _package("torch_uncertainty.methods")
    if package is None:
        return None
    # Scale 1 of its convention doubles the paper's covariance: full diagonal plus full low rank.
    swag = package.SWAG(net, cycle_start=0, cycle_length=1, max_num_models=rank, num_estimators=0)

    def mean() -> Tensor:
        return torch.cat(
            [swag.swag_stats[f"{swag.prfx}{name}_mean"].view(-1) for name, _ in net.named_parameters()]
        )

    @torch.no_grad()
    def predict(x: Tensor) -> Tensor:
        swag.samples = [swag.sample(swag.scale, swag.diag_covariance) for _ in range(draws)]
        return torch.stack([sample(x) for sample in swag.samples])

    def held() -> int:
        return sum(t.nbytes for t in swag.swag_stats.values())

    return Swag(_named("torch_uncertainty"), lambda: swag.update_wrapper(1), mean, predict, held)


def lightning_uq_box(net: nn.Module, *, rank: int, draws: int) -> Swag | None:
    """Wrap lightning-uq-box's SWAG, which adds its first snapshot to a mean that starts from the initial weights."""
    package = _package("lightning_uq_box.uq_methods")
    if package is None:
        return None
    names = [name for name, _ in net.named_parameters()]
    parameters = sum(p.nbytes for p in net.parameters())
    swag = package.SWAGRegression(
        net,
        max_swag_snapshots=rank,
        snapshot_freq=1,
        num_mc_samples=draws,
        swag_lr=1e-3,
        loss_fn=nn.MSELoss(),
    )

    def mean() -> Tensor:
        return torch.cat([getattr(swag.model, f"{name.replace('.', '_')}_mean").view(-1) for name in names])

    def predict(x: Tensor) -> Tensor:
        return swag.sample_predictions(x).movedim(-1, 0)

    def held() -> int:
        return sum(t.nbytes for t in swag.model.state_dict().values()) - parameters

    return Swag(_named("lightning_uq_box"), swag.update_uncertainty_buffers, mean, predict, held)


def posteriors_sgld(
    net: nn.Module, x: Tensor, y: Tensor, *, lr: float, num_data: int
) -> tuple[str, Callable[[], object]] | None:
    """Return posteriors' SGLD step in place, gradient included, at our learning rate: its potential is N × ours."""
    package = _package("posteriors")
    if package is None:
        return None

    def log_posterior(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        output = functional_call(net, parameters, (batch[0],))
        return -nn.functional.cross_entropy(output, batch[1]), output

    parameters = {name: p.detach().clone() for name, p in net.named_parameters()}
    transform = package.sgmcmc.sgld.build(log_posterior, lr=lr, temperature=1 / num_data)
    state = transform.init(parameters)
    return _named("posteriors"), lambda: transform.update(state, (x, y), inplace=True)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _package(name: str) -> Any:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except (ImportError, RuntimeError):  # the latter for a torchvision of another build
            return None


def _named(package: str) -> str:
    from importlib.metadata import version

    return f"{package.replace('_', '-')} {version(package.replace('_', '-'))}"
