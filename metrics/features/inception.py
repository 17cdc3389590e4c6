"""Inception features: the ones that published Fréchet inception distances are in, from a file of weights at hand.

FID (Heusel et al. 2017) is the Fréchet distance in the 2048 outputs of the last average pooling of one network:
Inception-v3 as TensorFlow trained it in 2015. Its numbers hang on every detail: those weights and no other Inception's,
images of 8 bits, and TensorFlow 1's bilinear resizing to 299 × 299 without smoothing (Parmar, Zhang & Zhu 2022 measure
what each is worth). torch-fidelity has that network and that resizing to the bit, so its architecture is used here.

Nothing is downloaded: the weights are a file that the user has, `weights-inception-2015-12-05-6726825d.pth` among the
releases of torch-fidelity, or `pt_inception-2015-12-05-6726825d.pth` among those of pytorch-fid. It is read as tensors
only; torch-fidelity's own loader, which would unpickle it, is given those tensors and never the file.
"""

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from metrics.features.fingerprint import fingerprint
from metrics.files import read_safetensors, read_torch
from metrics.inputs import check_cloud, check_count
from metrics.precision import full_precision

__all__ = ["InceptionFeatures", "as_images", "check_shape", "read_weights"]

LAYERS = ("64", "192", "768", "2048", "logits_unbiased", "logits")


class InceptionFeatures:
    """A feature map: images → [n, 2048] of the Inception-v3 network that FID is defined by.

    Images are either

    - uint8 [n, c, h, w] with 0 … 255, c = 3 (red, green, blue) or c = 1 (grey, repeated); or
    - float [n, d] with pixels in [−1, 1] and a `shape` (c, h, w) with c·h·w = d, as `evaluate` has them. They are
      rounded to v = round(127.5·(x + 1)), because the published numbers are of images of 8 bits.

    Every size is resized to 299 × 299 inside, as TensorFlow 1 did (bilinear, corners not aligned, no smoothing): a
    difference between a set that was resized before and one that was not is a difference of the features.

    Args:
        weights: The file of weights: a state dict as `.pth` or `.pt`, or the same as `.safetensors`.
        shape: (c, h, w) of flat images.
        layer: "2048" for the Fréchet distance and KID; "64", "192", "768" are earlier layers, averaged over positions;
            "logits_unbiased" and "logits".
        batch: Images of one call of the network, about 10 MB each.

    Raises:
        ImportError: torch-fidelity is not installed.
        FileNotFoundError: There is no file at `weights`.
        TypeError: On a call, images that are neither uint8 nor float.
        ValueError: A file that does not hold this network's weights, an unknown layer; on a call, images of another
            shape or pixels outside [−1, 1].

    >>> InceptionFeatures("inception.pth")
    Traceback (most recent call last):
    FileNotFoundError: no file of Inception weights at inception.pth; ...
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        shape: tuple[int, int, int] | None = None,
        layer: str = "2048",
        batch: int = 32,
    ) -> None:
        if layer not in LAYERS:
            raise ValueError(f"layer must be one of {list(LAYERS)}, got {layer!r}")
        self.batch = check_count(batch, "batch")
        self.shape = None if shape is None else check_shape(shape)
        self.layer = layer
        state = read_weights(
            weights,
            "Inception weights",
            "pass weights-inception-2015-12-05-6726825d.pth, which is among the releases of torch-fidelity",
        )
        self._weights = state
        self._network = _network(state, layer)

    @property
    def name(self) -> str:
        """What it is, for reports."""
        return f"Inception-v3 of torch-fidelity, {self.layer}"

    @cached_property
    def hash(self) -> str:
        """The SHA-256 of the weights, whatever file format they came in."""
        return fingerprint(*(self._weights[name] for name in sorted(self._weights)))

    @full_precision
    def __call__(self, x: Float[Tensor, "n d"] | UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return the features [n, k] on the device of x, in its type or float32 for uint8; without a gradient."""
        images = self._bytes(x)
        network = self._network.to(x.device)
        with torch.no_grad():
            rows = [network(part.expand(-1, 3, -1, -1))[0] for part in images.split(self.batch)]
        return torch.cat(rows).to(x.dtype if x.is_floating_point() else torch.float32)

    @full_precision
    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the network's class scores without their bias ("logits_unbiased") from its features of layer "2048".

        They are one product with the last layer's matrix, so that features that are at hand need no second pass. The
        published Inception scores are those of their softmax.

        Raises:
            ValueError: Features of another layer; weights without a last layer.
        """
        cloud, head = check_cloud(features, "features"), self._weights.get("fc.weight")
        if head is None:
            raise ValueError(
                "weights must hold fc.weight for class scores, got none; fetch the weights again"
            )
        if cloud.shape[1] != head.shape[1]:
            raise ValueError(
                f"features must have {head.shape[1]} columns, those of layer '2048', got {cloud.shape[1]}; "
                "class scores are made of these alone"
            )
        return cloud @ head.to(cloud).T

    def _bytes(self, x: object) -> Tensor:
        images = as_images(x, self.shape)
        if images.dtype == torch.uint8:
            return images
        return ((images + 1) * 127.5).round().to(torch.uint8)


def as_images(x: object, shape: tuple[int, int, int] | None) -> Tensor:
    """Return uint8 images [n, c, h, w] as they are, and flat floats in [−1, 1] as [n, *shape].

    Raises:
        TypeError, ValueError: Images that are neither, of another shape, or with pixels outside [−1, 1].

    >>> as_images(torch.zeros(2, 12), (3, 2, 2)).shape
    torch.Size([2, 3, 2, 2])
    """
    if isinstance(x, Tensor) and x.dtype == torch.uint8:
        if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
            raise ValueError(f"x must have shape [n, 3, h, w] or [n, 1, h, w], got {list(x.shape)}")
        return x
    cloud = check_cloud(x).detach()
    if shape is None:
        raise ValueError("shape must be given for flat images, got None; pass shape=(c, h, w)")
    if torch.Size(shape).numel() != cloud.shape[1]:
        raise ValueError(
            f"x must have {torch.Size(shape).numel()} columns for images of shape {shape}, got {cloud.shape[1]}"
        )
    low, high = float(cloud.min()), float(cloud.max())
    if low < -1 or high > 1:
        raise ValueError(f"x must have pixels in [−1, 1], got {low:.3g} to {high:.3g}; rescale or clamp them")
    return cloud.reshape(-1, *shape)


def check_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return (c, h, w) of images with one or three channels."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"shape must be (3, h, w) or (1, h, w), got {shape}")
    channels, height, width = shape
    return channels, check_count(height, "shape[1]"), check_count(width, "shape[2]")


def read_weights(weights: str | Path, what: str, remedy: str) -> dict[str, Tensor]:
    """Return the state dict in a file, read as tensors and nothing else.

    Raises:
        FileNotFoundError, ValueError: No file, or one that does not hold a state dict.
    """
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"no file of {what} at {path}; {remedy}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    state = read_torch(path)
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(
            f"{path} must hold a state dict of tensors, got {type(state).__name__}; fetch the weights again"
        )
    return dict(state)


def _network(state: dict[str, Tensor], layer: str) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (  # pyright: ignore[reportMissingImports]
            FeatureExtractorInceptionV3,
        )
    except ImportError as error:
        raise ImportError(
            f"InceptionFeatures needs torch-fidelity's architecture ({error}): pip install torch-fidelity"
        ) from None
    # Its constructor unpickles whatever it is given, or downloads: it gets the tensors that were read, in memory.
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-v3", [layer], feature_extractor_weights_path=file)
    except RuntimeError as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"weights must be those of torch-fidelity's Inception-v3 ({told})") from None
