"""Features of DINOv2 and CLIP: vision transformers, from a file of weights at hand.

Both see an image as numbers in [0, 1], resized to one square and normalised by channel, x ↦ (x − μ)/σ. The resize is
bicubic and *antialiased*, on floating point, without a rounding to bytes after it and without a cut at 0 and 1: what
Parmar, Zhang & Zhu (2022, section 3) ask for and clean-fid does, Pillow's filter on each channel as floats. A picture
that is not square is squeezed to one, as there.

|        | network | side | μ and σ | feature |
|---|---|---|---|---|
| DINOv2 | ViT-S, B, L or g, patches of 14, registers or none | 224 | ImageNet's | class token after the last norm |
| CLIP | ViT of open_clip's sizes | its own | CLIP's | projected class token, divided by its length |

DINOv2's positions, trained at 518, are interpolated to the side asked for. ViT-L/14 at 336 pixels is CMMD's.
The architectures are timm's and open_clip's; the sizes are read from the weights, every one of which has to fit.
Nothing is downloaded, and files are read as tensors alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from metrics.features.fingerprint import fingerprint
from metrics.features.inception import as_images, check_shape, read_weights
from metrics.inputs import check_count
from metrics.precision import full_precision

__all__ = ["ImageTower", "clip_features", "dinov2_features"]

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

DINO_SIZES = {(384, 12): "small", (768, 12): "base", (1024, 24): "large", (1536, 40): "giant"}
"""Of width and depth."""

CLIP_HEADS = {(768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 16, (1664, 48): 16}
"""Attention heads, which the weights do not tell, of width and depth."""

PATCH = 14


@dataclass(frozen=True, eq=False)
class ImageTower:
    """A feature map: images → [n, k] by a vision transformer. `dinov2_features` and `clip_features` make them.

    Images are uint8 [n, c, h, w] with 0 … 255, c = 3 or c = 1 (grey, repeated), or float [n, d] in [−1, 1] with a
    `shape` (c, h, w), which are not rounded.

    Attributes:
        network: From normalised images [b, 3, side, side] to features [b, k].
        name: What it is, for reports.
        hash: The SHA-256 of the weights.
        side: That images are resized to.
        normalisation: μ and σ of the channels.
        shape: (c, h, w) of flat images.
        batch: Images of one call of the network.
        unit: Whether a feature is divided by its length.
    """

    network: Callable[[Tensor], Tensor]
    name: str
    hash: str
    side: int
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    shape: tuple[int, int, int] | None = None
    batch: int = 32
    unit: bool = False

    @torch.no_grad()
    @full_precision
    def __call__(self, x: Float[Tensor, "n d"] | UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return the features [n, k] on the device of x, in its type or float32 for uint8; without a gradient."""
        images = as_images(x, self.shape)
        network = self.network.to(x.device) if isinstance(self.network, nn.Module) else self.network
        rows = [network(self.prepared(part)) for part in images.split(self.batch)]
        found = torch.cat(rows)
        found = nn.functional.normalize(found) if self.unit else found
        return found.to(x.dtype if x.is_floating_point() else torch.float32)

    def prepared(self, images: Tensor) -> Float[Tensor, "b 3 side side"]:
        """Images as the network sees them: in [0, 1], resized without rounding, normalised; in float32."""
        unit = images / 255 if images.dtype == torch.uint8 else (images.float() + 1) / 2
        if unit.shape[2:] != (self.side, self.side):
            unit = nn.functional.interpolate(
                unit, (self.side, self.side), mode="bicubic", antialias=True, align_corners=False
            )
        mean, std = (unit.new_tensor(v)[:, None, None] for v in self.normalisation)
        return (unit.expand(-1, 3, -1, -1) - mean) / std


def dinov2_features(
    weights: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    side: SupportsIndex = 224,
    batch: SupportsIndex = 32,
) -> ImageTower:
    """Return DINOv2 as a feature map (Oquab et al. 2024): the class token after the last norm.

    Args:
        weights: The file of weights, `.pth` or `.safetensors`, as Meta publishes it (dinov2_vitl14_pretrain.pth) or
            timm.
        shape: (c, h, w) of flat images.
        side: A multiple of 14 that images are resized to; published comparisons have 224.
        batch: Images of one call of the network.

    Raises:
        ImportError: timm is not installed.
        FileNotFoundError: There is no file at `weights`.
        ValueError: A file that does not hold such weights; a side that is no multiple of 14.

    >>> dinov2_features("dinov2.pth")
    Traceback (most recent call last):
    FileNotFoundError: no file of DINOv2 weights at dinov2.pth; ...
    """
    side = check_count(side, "side", least=PATCH)
    if side % PATCH:
        raise ValueError(f"side must be a multiple of {PATCH}, got {side}; pass {side // PATCH * PATCH}")
    state = read_weights(weights, "DINOv2 weights", "pass dinov2_vitl14_pretrain.pth or timm's own file")
    size, registers = _dino_size(state)
    name = f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2"
    try:
        import timm  # pyright: ignore[reportMissingImports]
        from timm.models.vision_transformer import checkpoint_filter_fn  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter where it does not fit torch
        raise ImportError(
            f"dinov2_features needs timm's architecture ({error}): pip install timm, and the torchvision that was "
            f"built for torch {torch.__version__}"
        ) from None
    network = timm.create_model(name, pretrained=False, num_classes=0, img_size=side)
    network = _loaded(network, checkpoint_filter_fn(dict(state), network), "timm's DINOv2")
    return ImageTower(
        network,
        f"DINOv2 {name} of timm, class token, {side} pixels",
        fingerprint(*(state[key] for key in sorted(state))),
        side,
        IMAGENET,
        None if shape is None else check_shape(shape),
        check_count(batch, "batch"),
    )


def clip_features(
    weights: str | Path,
    *,
    shape: tuple[int, int, int] | None = None,
    batch: SupportsIndex = 32,
    quick_gelu: bool = True,
) -> ImageTower:
    """Return CLIP's image tower as a feature map (Radford et al. 2021): embeddings of length 1.

    Args:
        weights: The file of a state dict with the image tower's tensors `visual.…`, as in open_clip and OpenAI's model;
            the text tower may be in it. OpenAI's archives hold code: save their `state_dict()` first.
        shape: (c, h, w) of flat images.
        batch: Images of one call of the network.
        quick_gelu: Whether the activation is x·σ(1.702x), as in OpenAI's models, and not GELU, as in those that others
            trained. The weights do not tell.

    Raises:
        ImportError: open_clip is not installed.
        FileNotFoundError: There is no file at `weights`.
        ValueError: A file that does not hold such weights.

    >>> clip_features("clip.pt")
    Traceback (most recent call last):
    FileNotFoundError: no file of CLIP weights at clip.pt; ...
    """
    state = read_weights(weights, "CLIP weights", "pass a state dict with the tensors visual.…")
    tower = {key.removeprefix("visual."): t for key, t in state.items() if key.startswith("visual.")}
    sizes = _clip_sizes(tower)
    try:
        from open_clip.transformer import (  # pyright: ignore[reportMissingImports]
            LayerNorm,
            QuickGELU,
            VisionTransformer,
        )
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"clip_features needs open_clip's architecture ({error}): pip install open_clip_torch, and the torchvision "
            f"that was built for torch {torch.__version__}"
        ) from None
    activation = QuickGELU if quick_gelu else nn.GELU
    network = VisionTransformer(**sizes, act_layer=activation, norm_layer=LayerNorm)
    tower = {key: t.float() for key, t in tower.items()}
    network = _loaded(network, tower, "open_clip's image tower")
    told = f"ViT of {sizes['layers']} × {sizes['width']}, patches of {sizes['patch_size']}"
    return ImageTower(
        network,
        f"CLIP {told} at {sizes['image_size']} of open_clip, {'Quick' if quick_gelu else ''}GELU, unit length",
        fingerprint(*(tower[key] for key in sorted(tower))),
        sizes["image_size"],
        CLIP,
        None if shape is None else check_shape(shape),
        check_count(batch, "batch"),
        unit=True,
    )


def _dino_size(state: dict[str, Tensor]) -> tuple[str, bool]:
    token, depth = state.get("cls_token"), _depth(state, "blocks.")
    size = None if token is None else DINO_SIZES.get((token.shape[-1], depth))
    if size is None or not any("patch_embed" in key for key in state):
        told = "no cls_token" if token is None else f"width {token.shape[-1]} and {depth} blocks"
        known = ", ".join(f"{w} and {d}" for w, d in DINO_SIZES)
        raise ValueError(
            f"weights must be those of DINOv2, width and blocks one of {known}, got {told}; pass its file"
        )
    return size, "register_tokens" in state or "reg_token" in state


def _clip_sizes(tower: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments of open_clip's transformer, from the shapes of the weights."""
    kernel, places, out = (tower.get(key) for key in ("conv1.weight", "positional_embedding", "proj"))
    depth = _depth(tower, "transformer.resblocks.")
    if kernel is None or places is None or out is None or (kernel.shape[0], depth) not in CLIP_HEADS:
        told = "none" if kernel is None else f"width {kernel.shape[0]} and {depth} blocks"
        known = ", ".join(f"{w} and {d}" for w, d in CLIP_HEADS)
        raise ValueError(
            "weights must hold the tensors visual.… of a CLIP vision transformer, width and blocks one of "
            f"{known}, got {told}; save model.state_dict()"
        )
    width, patch = kernel.shape[0], kernel.shape[2]
    hidden = tower.get("transformer.resblocks.0.mlp.c_fc.bias")
    return {
        "image_size": patch * round((len(places) - 1) ** 0.5),
        "patch_size": patch,
        "width": width,
        "layers": depth,
        "heads": CLIP_HEADS[width, depth],
        # Half a unit more: open_clip cuts the product to a whole number.
        "mlp_ratio": 4.0 if hidden is None else (len(hidden) + 0.5) / width,
        "output_dim": out.shape[1],
    }


def _depth(state: dict[str, Tensor], prefix: str) -> int:
    """How many blocks there are: names such as blocks.3.norm1.weight, or blocks.0.3.norm1.weight in chunks."""
    numbers = set()
    for key in state:
        if key.startswith(prefix):
            parts = key.removeprefix(prefix).split(".")
            numbers.add(parts[1] if len(parts) > 1 and parts[1].isdigit() else parts[0])
    return len(numbers)


def _loaded(network: nn.Module, state: dict[str, Tensor], whose: str) -> nn.Module:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"weights must be those of {whose} ({told})") from None
    return network.eval().requires_grad_(False)
