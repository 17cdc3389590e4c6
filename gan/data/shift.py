"""Random shifts of flattened images; differentiable, so that generated images can be shifted as well."""

import torch
from jaxtyping import Float
from torch import Tensor

from metrics.inputs import check_count, check_generator

__all__ = ["shift_images"]


def shift_images(
    x: Float[Tensor, "n d"],
    image_shape: tuple[int, int],
    *,
    pixels: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "n d"]:
    """Return each image shifted by its own random whole number of pixels, −1 filling what comes into view.

    Both shifts are uniform on −pixels … pixels. No flips: a mirrored digit is another thing, or none.

    Args:
        x: Flattened images.
        image_shape: (height, width).
        pixels: The largest shift, 0 for none.
        generator: The source of the shifts, on any device; torch's own if None.

    >>> x = torch.arange(9.0).reshape(1, 9)
    >>> shift_images(x, (3, 3), generator=torch.Generator().manual_seed(0)).reshape(3, 3)
    tensor([[-1.,  3.,  4.],
            [-1.,  6.,  7.],
            [-1., -1., -1.]])
    """
    height, width = image_shape
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.layout != torch.strided or x.is_meta:
        got = f"{x.dtype} on {x.device}, {x.layout}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"x must be a dense floating-point tensor with numbers, got {got}; scale pixels to [−1, 1]"
        )
    if len(x) == 0:
        raise ValueError(f"x must not be empty, got shape {list(x.shape)}; pass at least one image")
    if x.ndim != 2 or x.shape[1] != height * width:
        raise ValueError(
            f"x must have shape [n, {height * width}] for images {image_shape}, got {list(x.shape)}"
        )
    pixels = check_count(pixels, "pixels", least=0)
    check_generator(generator)
    device = x.device if generator is None else generator.device
    corners = torch.randint(2 * pixels + 1, (2, len(x), 1), device=device, generator=generator).to(x.device)
    padded = torch.nn.functional.pad(x.reshape(-1, height, width), (pixels,) * 4, value=-1.0)
    rows = corners[0] + torch.arange(height, device=x.device)
    columns = corners[1] + torch.arange(width, device=x.device)
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[picture, rows[:, :, None], columns[:, None, :]].flatten(1)
