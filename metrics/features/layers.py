"""Features from a layer of any network: run it up to a named layer, stop there, keep what came out.

With f = f_L ∘ … ∘ f_1 and a layer l the features of an image are φ(x) = f_l ∘ … ∘ f_1(x), flattened, or averaged over
positions so that a shift of the picture hardly matters. Nothing after the layer is computed. The network is in
`eval` mode for the call (batch norm uses its running moments, dropout is off), so that an image's features do not
depend on which others came with it, and every submodule is put back as it was.

A distance in these features has their scale: two numbers can be compared only if `name` and `hash` are equal, and a
`Report` refuses otherwise.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metrics.evaluating import evaluating
from metrics.features.fingerprint import fingerprint_of_module
from metrics.inputs import check_cloud, check_count
from metrics.precision import full_precision

__all__ = ["LayerFeatures"]


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """A feature map [n, d] → [n, k]: what a named layer of a network gives.

    Attributes:
        module: The network. It is called on batches [b, d], or [b, *shape] where a shape is given.
        layer: The layer's name as in `module.named_modules()`, such as "features.3". Where a forward pass uses it more
            than once, its first result counts.
        shape: What a flat row is reshaped to before the call, such as (1, 28, 28).
        average: A layer's result [b, c, …] becomes its mean over all dimensions after c, [b, c]; else it is flattened.
        batch: Rows of one call. Memory beside the clouds and their features is that of one batch up to the layer.

    Raises:
        TypeError: No module; on a call, a layer that does not give a tensor.
        ValueError: A layer that the module does not have; on a call, rows that do not have the shape, a layer that the
            forward pass never reaches or that does not give a row per image.

    >>> network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
    >>> LayerFeatures(network, "1")(torch.zeros(2, 3)).shape
    torch.Size([2, 5])
    """

    module: nn.Module
    layer: str
    shape: tuple[int, ...] | None = None
    average: bool = False
    batch: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, got {type(self.module).__name__}")
        names = [name for name, _ in self.module.named_modules() if name]
        if self.layer not in names:
            raise ValueError(f"layer must be one of {names}, got {self.layer!r}")
        for size in self.shape or ():
            check_count(size, "shape")
        check_count(self.batch, "batch")

    @property
    def name(self) -> str:
        """What it is, for reports."""
        how = "averaged" if self.average else "flat"
        return f"{type(self.module).__name__} up to {self.layer}, {how}"

    @property
    def hash(self) -> str:
        """The fingerprint of the network as it is now; training it on makes other features of it."""
        return fingerprint_of_module(self.module)

    @full_precision
    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Return the layer's results, in the type and on the device of x, without a gradient.

        The network computes in its own type and on its own device.
        """
        if self.shape is None and isinstance(x, Tensor) and x.ndim > 2:
            raise ValueError(
                f"x must have shape [n, d], got {list(x.shape)}; flatten every point with x.flatten(1), and tell the "
                f"network's shape, LayerFeatures(module, {self.layer!r}, shape={tuple(x.shape[1:])})"
            )
        check_cloud(x)
        shape = (x.shape[1],) if self.shape is None else self.shape
        if torch.Size(shape).numel() != x.shape[1]:
            raise ValueError(
                f"x must have {torch.Size(shape).numel()} columns for images of shape {shape}, got {x.shape[1]}"
            )
        own = next((t for t in self.module.state_dict().values() if t.is_floating_point()), x)
        with torch.no_grad(), evaluating(self.module):
            rows = [self._features(part.to(own).reshape(-1, *shape)) for part in x.split(self.batch)]
        return torch.cat([part.to(x) for part in rows])

    def _features(self, images: Tensor) -> Tensor:
        out = _up_to(self.module, self.layer, images)
        if out.ndim < 2 or len(out) != len(images):
            raise ValueError(
                f"layer must give [b, …] for b images, got {list(out.shape)} for {len(images)}; choose another"
            )
        return out.flatten(2).mean(2) if self.average and out.ndim > 2 else out.flatten(1)


class _Reached(Exception):
    """A signal and no error: carries a layer's result out of a forward pass that needs to go no further."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


def _up_to(module: nn.Module, layer: str, images: Tensor) -> Tensor:
    def stop(_module: nn.Module, _inputs: object, result: object) -> None:
        raise _Reached(result)

    handle = module.get_submodule(layer).register_forward_hook(stop)
    try:
        module(images)
    except _Reached as reached:
        result = reached.result
    else:
        raise ValueError(f"layer {layer!r} must be used by the forward pass, which ended without it")
    finally:
        handle.remove()
    if not isinstance(result, Tensor):
        raise TypeError(f"layer must give a tensor, got {type(result).__name__}; choose a layer inside of it")
    return result
