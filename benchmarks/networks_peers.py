"""Peers of `networks.py`, each run by an interpreter of its own that has the peer and torch, and not this package.

    PYTHON networks_peers.py PEER --data FILE.npz --out FILE.npz --model digits --precision 1 --passes 132 --lr 0.2

- *laplace* (laplace-torch): the last layer, Kronecker GGN, linearised, probit: its defaults, with the prior given;
- *laplace-marglik*: the same after `optimize_prior_precision()`, by the marginal likelihood (its default);
- *ivon* (ivon-opt): its README's loop and lr = .1, the package's defaults β₁ = .9, β₂ = .99999, h₀ = 1 (its authors'
  experiments on images default to β₂ = .999); ess = N, weight decay τ/N;
- *mc-dropout* (torch-uncertainty): `mc_dropout` of a network with p = .5, as in its tutorial, and torch's default;
- *swag* (torch-uncertainty): its defaults, 20 columns, 16 estimators and scale 1, twice the paper's covariance; a
  snapshot a pass, of SGD at a constant rate.

The data are arrays `x` and `y` for training; every other array is inputs to predict at, `test_x` and as many as there
are. SGD has momentum .9 and, except for SWAG, cosine annealing to 0, as IVON has too (its authors' own experiments do
so); batches are shuffled by pass, as all of the peers have it. A Gaussian prior of precision τ is a weight decay of τ/N
on the mean loss.

`--out` gets, for classes, `NAME` [samples, n, classes] probabilities (one sample where a peer has a closed form) for
each of the inputs; for regressions `NAME_mean` and `NAME_variance` [samples, n], noise included. Beside them are
`passes`, gradients of single data over N; `train_seconds` and `predict_seconds`; `peer`, with its version.
"""

import argparse
import copy
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from networks_models import MODELS, Model, mean_network
from peer_imports import named, without_compiled_torchvision
from torch import Tensor, nn

Arrays = dict[str, np.ndarray]
ROWS = 1000
"""Inputs to predict at a time."""


@dataclass(frozen=True)
class Task:
    """Data, network, prior and rhythm: what a peer is told.

    Attributes:
        model: The network's entry in the table.
        x, y: Training data.
        inputs: Where to predict, by name.
        precision: Of the Gaussian prior, τ.
        passes: Over the data.
        batch, lr, seed: S, SGD's learning rate, where everything random starts.
        samples: Of weights, for peers whose default has no number of them.
        dropout: p, of MC dropout.
        ivon_lr, ivon_beta2: IVON's own learning rate, and its memory for the Hessian.
        snapshots: Passes at a constant rate after the training, each with a snapshot: SWAG's.
    """

    model: Model
    x: Tensor
    y: Tensor
    inputs: dict[str, Tensor]
    precision: float
    passes: int
    batch: int
    lr: float
    seed: int
    samples: int
    dropout: float
    ivon_lr: float
    ivon_beta2: float
    snapshots: int

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the data in a new order."""
        for rows in torch.randperm(len(self.x)).split(self.batch):
            yield self.x[rows], self.y[rows]

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the mean −log p(y | output), but for constants."""
        if not self.model.regression:
            return nn.functional.cross_entropy(output, y)
        mean, log_scale = output[:, :1], output[:, 1:]
        return (log_scale + 0.5 * ((y - mean) / log_scale.exp()).square()).mean()


@dataclass(frozen=True)
class Trained:
    """A peer after its training: from inputs to outputs [samples, n, …] or to predictions, and what it took."""

    outputs: Callable[[Tensor], Tensor] | None
    predict: Callable[[Tensor], tuple[Tensor, ...]] | None
    passes: float
    package: str


def sgd(task: Task, network: nn.Module, passes: int, *, anneal: bool) -> None:
    optimizer = torch.optim.SGD(
        network.parameters(), task.lr, momentum=0.9, weight_decay=task.precision / len(task.x)
    )
    for n in range(passes):
        if anneal:
            optimizer.param_groups[0]["lr"] = task.lr * annealed(n / passes)
        for x, y in task.batches():
            optimizer.zero_grad()
            task.loss(network(x), y).backward()
            optimizer.step()


def annealed(share: float) -> float:
    return 0.5 * (1 + float(np.cos(np.pi * share)))


def laplace(task: Task, *, tune: bool = False) -> Trained:
    """Fit to the trained mean; σ of a regression is the trained one."""
    without_compiled_torchvision()
    from laplace import Laplace
    from torch.utils.data import DataLoader, TensorDataset

    network = task.model.make(0.0)
    sgd(task, network, task.passes, anneal=True)
    network.eval()
    loader = DataLoader(TensorDataset(task.x, task.y), batch_size=task.batch)
    if task.model.regression:
        kind, sigma = "regression", float(network.log_scale.detach().exp())  # pyright: ignore[reportCallIssue]
        fitted = Laplace(mean_network(network), kind, sigma_noise=sigma, prior_precision=task.precision)
    else:
        kind, sigma = "classification", 0.0
        fitted = Laplace(network, kind, prior_precision=task.precision)
    fitted.fit(loader)
    if tune:
        fitted.optimize_prior_precision()

    def predict(x: Tensor) -> tuple[Tensor, ...]:
        if kind == "classification":
            return (fitted(x)[None],)
        mean, variance = fitted(x)
        return mean.reshape(1, -1), variance.reshape(1, -1) + sigma**2

    # A pass for the GGN: as many vector-Jacobian products as outputs, of one layer.
    return Trained(None, predict, task.passes + 1, named("laplace-torch"))


def marginal_laplace(task: Task) -> Trained:
    return laplace(task, tune=True)


def ivon(task: Task) -> Trained:
    from ivon import IVON

    network = task.model.make(0.0)
    n = len(task.x)
    optimizer = IVON(
        network.parameters(), task.ivon_lr, ess=n, weight_decay=task.precision / n, beta2=task.ivon_beta2
    )
    for epoch in range(task.passes):
        optimizer.param_groups[0]["lr"] = task.ivon_lr * annealed(epoch / task.passes)
        for x, y in task.batches():
            with optimizer.sampled_params(train=True):
                optimizer.zero_grad()
                task.loss(network(x), y).backward()
            optimizer.step()
    bank = []
    for _ in range(task.samples):
        with optimizer.sampled_params():
            bank.append(copy.deepcopy(network))
    return Trained(
        lambda x: torch.stack([member(x) for member in bank]), None, task.passes, named("ivon-opt")
    )


def mc_dropout(task: Task) -> Trained:
    without_compiled_torchvision()
    from torch_uncertainty.methods import mc_dropout as wrap

    network = task.model.make(task.dropout)
    sgd(task, network, task.passes, anneal=True)
    wrapped = wrap(network, num_estimators=task.samples).eval()
    return Trained(
        lambda x: wrapped(x).unflatten(0, (task.samples, len(x))),
        None,
        task.passes,
        named("torch-uncertainty"),
    )


def swag(task: Task) -> Trained:
    without_compiled_torchvision()
    from torch_uncertainty.methods import SWAG

    network = task.model.make(0.0)
    sgd(task, network, task.passes, anneal=False)
    wrapped = SWAG(network, cycle_start=0, cycle_length=1)
    for epoch in range(1, task.snapshots + 1):
        sgd(task, network, 1, anneal=False)
        wrapped.update_wrapper(epoch)
    wrapped.eval()
    return Trained(
        lambda x: wrapped(x).unflatten(0, (wrapped.num_estimators, len(x))),
        None,
        task.passes + task.snapshots,
        named("torch-uncertainty"),
    )


PEERS: dict[str, Callable[[Task], Trained]] = {
    "laplace": laplace,
    "laplace-marglik": marginal_laplace,
    "ivon": ivon,
    "mc-dropout": mc_dropout,
    "swag": swag,
}


def predictions(task: Task, trained: Trained, x: Tensor) -> tuple[Tensor, ...]:
    """Return probabilities [samples, n, classes], or means and variances [samples, n]."""
    if trained.predict is not None:
        return trained.predict(x)
    outputs = trained.outputs(x)  # pyright: ignore[reportOptionalCall]
    if not task.model.regression:
        return (outputs.softmax(-1),)
    return outputs[..., 0], (2 * outputs[..., 1]).exp()


def answer(task: Task, peer: str) -> Arrays:
    """Train and predict: the arrays of `--out`."""
    torch.manual_seed(task.seed)
    start = time.perf_counter()
    trained = PEERS[peer](task)
    found: Arrays = {
        "peer": np.array(trained.package),
        "passes": np.array(float(trained.passes)),
        "train_seconds": np.array(time.perf_counter() - start),
    }
    start = time.perf_counter()
    for name, inputs in task.inputs.items():
        with torch.no_grad():
            parts = [predictions(task, trained, rows) for rows in inputs.split(ROWS)]
        whole = [torch.cat(part, 1).float().numpy() for part in zip(*parts, strict=True)]
        names = [f"{name}_mean", f"{name}_variance"] if task.model.regression else [name]
        found |= dict(zip(names, whole, strict=True))
    return found | {"predict_seconds": np.array(time.perf_counter() - start)}


def read(path: Path) -> dict[str, Tensor]:
    """Read arrays: real ones as float32, as the networks are."""
    with np.load(path) as held:
        found = {name: torch.as_tensor(held[name]) for name in held.files}
    missing = {"x", "y"} - found.keys()
    if missing:
        raise ValueError(
            f"--data needs arrays x and y; {path} lacks {sorted(missing)} and has {sorted(found)}"
        )
    return {name: t.float() if t.is_floating_point() else t for name, t in found.items()}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--data", type=Path, required=True, help="npz of x, y and the inputs to predict at")
    parser.add_argument("--out", type=Path, required=True, help="npz of predictions")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--precision", type=float, default=1.0, help="τ of the prior N(0, 1/τ)")
    parser.add_argument("--passes", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, required=True, help="SGD's, at momentum .9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=16, help="of weights or of dropout's masks")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--ivon-lr", type=float, default=0.1)
    parser.add_argument("--ivon-beta2", type=float, default=0.99999)
    parser.add_argument("--snapshots", type=int, default=20, help="passes of SWAG after the training")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    given = vars(arguments().parse_args())
    data, out, peer = given.pop("data"), given.pop("out"), given.pop("peer")
    torch.set_num_threads(given.pop("threads"))
    model = MODELS[given.pop("model")]
    inputs = read(data)
    x, y = inputs.pop("x"), inputs.pop("y")
    if model.regression:
        y = y.float().reshape(len(x), 1)
    task = Task(model=model, x=x, y=y if model.regression else y.long(), inputs=inputs, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers', of each other's deprecations
        found = answer(task, peer)
    np.savez(out, allow_pickle=False, **found)


if __name__ == "__main__":
    main()
