"""Everything of the project that reads a file: how the file is made, and how it is read."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import bayessgd
import gan
from bayessgd import IterateAverage, Trajectory
from bayessgd._trainer import _read, _write
from bayessgd.collectors import SWAG
from bayessgd.posteriors import Ensemble, LowRankGaussian, Mixture
from gan import GAN, losses, networks, penalties
from metrics import files
from metrics.features import features_of, inception


@dataclass(frozen=True)
class Reader:
    """A reader and its file.

    Attributes:
        name: Of the file, in its folder.
        make: Writes it there.
        read: Reads it from there.
        kind: "ours" (safetensors with metadata and checksum), "safetensors", "torch", "numpy", "json", "picture".
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    kind: str


def _ensemble() -> Ensemble:
    draws = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, 1)}
    return Ensemble(draws, buffers={"count": torch.tensor([3, 4])}, origin={"by": "hand"})


def _gaussian() -> LowRankGaussian:
    mean = {"w": torch.zeros(3), "b": torch.zeros(1)}
    return LowRankGaussian(
        mean, {k: t + 1 for k, t in mean.items()}, {k: torch.ones(2, *t.shape) for k, t in mean.items()}
    )


def _model() -> GAN:
    generator = networks.mlp_generator(2, latent_dim=2, hidden=(3,), bounded=False, num_classes=2)
    critic = networks.mlp_critic(2, hidden=(3,), num_classes=2)
    model = GAN(generator, critic, loss=losses.KL(max_log_ratio=5.0), penalties=(penalties.R1(0.5),))
    model.history.extend(torch.ones(2, 3))
    model.class_counts = torch.tensor([3, 5])
    return model


CLOUD = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))


def _fit(path: Path) -> GAN:
    torch.manual_seed(0)
    generator = networks.mlp_generator(2, latent_dim=2, hidden=(3,), bounded=False)
    model = GAN(generator, networks.mlp_critic(2, hidden=(3,)), loss=losses.NonSaturating())
    return model.fit(CLOUD, steps=2, batch_size=4, device="cpu", progress=False, checkpoint=path)


def _net() -> nn.Module:
    return nn.Linear(2, 1)


def _inception(path: Path) -> object:
    return inception.read_weights(path, "Inception weights", "fetch them again")


def _weights() -> dict[str, Tensor]:
    return {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}


def _swag() -> SWAG:
    swag = SWAG(_net(), rank=2)
    for _ in range(3):
        swag.update(_weights())
    return swag


def _sharded(path: Path) -> None:
    save_file(_weights(), path.with_name("model-1.safetensors"))
    path.write_text('{"weight_map": {"weight": "model-1.safetensors", "bias": "model-1.safetensors"}}')


def _of_checkpoints(path: Path) -> object:
    return bayessgd.from_checkpoints(_net(), [path], collector=Trajectory, progress=False)


def _pictures(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path.with_name(f"{i}{path.suffix}"))


def _npz(path: Path) -> None:
    np.savez(path, train=CLOUD.numpy(), labels=np.arange(32) % 2)


def _collector_of(make: Callable[[], Any]) -> tuple[Callable[[Path], object], Callable[[Path], object]]:
    return lambda path: _write(make(), path), lambda path: _read(make(), path, 3)


def _average() -> IterateAverage:
    average = IterateAverage(_net())
    average.update(_weights())
    return average


def _trajectory() -> Trajectory:
    trajectory = Trajectory(_net())
    trajectory.update(_weights())
    return trajectory


READERS = {
    "files.read": Reader(
        "x.safetensors", lambda p: files.write(p, {"x": torch.ones(3)}, {"a": [1]}), files.read, "ours"
    ),
    "load, ensemble": Reader("e.safetensors", lambda p: _ensemble().save(p), bayessgd.load, "ours"),
    "load, Gaussian": Reader("g.safetensors", lambda p: _gaussian().save(p), bayessgd.load, "ours"),
    "load, mixture": Reader(
        "m.safetensors",
        lambda p: Mixture([_gaussian(), _gaussian()], [0.5, 0.5]).save(p),
        bayessgd.load,
        "ours",
    ),
    "gan.load": Reader("gan.safetensors", lambda p: _model().save(p), gan.load, "ours"),
    "GAN.fit": Reader("run.safetensors", _fit, _fit, "ours"),
    "SWAG's state": Reader("collector.safetensors", *_collector_of(_swag), "ours"),
    "average's state": Reader("average.safetensors", *_collector_of(_average), "ours"),
    "trajectory's state": Reader("trajectory.safetensors", *_collector_of(_trajectory), "ours"),
    "checkpoint, safetensors": Reader(
        "step1.safetensors", lambda p: save_file(_weights(), p), _of_checkpoints, "safetensors"
    ),
    "checkpoint, torch": Reader(
        "step1.pt", lambda p: torch.save({"state_dict": _weights()}, p), _of_checkpoints, "torch"
    ),
    "checkpoint, old torch": Reader(
        "step1.ckpt",
        lambda p: torch.save(_weights(), p, _use_new_zipfile_serialization=False),
        _of_checkpoints,
        "torch",
    ),
    "checkpoint, index": Reader("model.safetensors.index.json", _sharded, _of_checkpoints, "json"),
    "data.file, npy": Reader("cloud.npy", lambda p: np.save(p, CLOUD.numpy()), gan.data.file, "numpy"),
    "data.file, npz": Reader("cloud.npz", _npz, gan.data.file, "numpy"),
    "data.file, safetensors": Reader(
        "cloud.safetensors", lambda p: save_file({"train": CLOUD}, p), gan.data.file, "safetensors"
    ),
    "data.folder, png": Reader(
        "a/0.png", _pictures, lambda p: gan.data.folder(p.parent, progress=False), "picture"
    ),
    "data.folder, jpeg": Reader(
        "a/0.jpg", _pictures, lambda p: gan.data.folder(p.parent, progress=False), "picture"
    ),
    "data.folder, tiff": Reader(
        "a/0.tiff", _pictures, lambda p: gan.data.folder(p.parent, progress=False), "picture"
    ),
    "features, pictures": Reader(
        "b/0.bmp", _pictures, lambda p: features_of(p.parent, progress=False), "picture"
    ),
    "features, npy": Reader(
        "pictures.npy", lambda p: np.save(p, np.zeros((4, 1, 2, 2), np.uint8)), features_of, "numpy"
    ),
    "Inception, torch": Reader("inception.pth", lambda p: torch.save(_weights(), p), _inception, "torch"),
    "Inception, safetensors": Reader(
        "inception.safetensors", lambda p: save_file(_weights(), p), _inception, "safetensors"
    ),
}


def read_quietly(reader: Reader, path: Path) -> object:
    """Read; what a loader warns of before it refuses is not looked at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader.read(path)
