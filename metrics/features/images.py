"""Pictures from files: found, decoded by Pillow, cut to one shape, as bytes.

A picture becomes `[c, height, width]` in uint8: grey (c = 1) or colour (c = 3; transparency on black). To another
size it is first cut to the wanted aspect ratio around its centre and then resized with Pillow's bicubic filter,
which is antialiased when it shrinks. 16 bits are rounded to 8, 65535 to 255. Nothing else is done to it, so files
that have the size already keep their bytes.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from tqdm.auto import tqdm

__all__ = ["SUFFIXES", "find_images", "has_one_channel", "picture", "read_image", "read_images"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What a file's name ends with to be taken for a picture."""

DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's names for grey values of 16 bits."""


def find_images(folder: str | Path) -> list[Path]:
    """Return the pictures in a folder and its subfolders, sorted by path; hidden ones are left out.

    Links to folders are followed, but for one that leads back to a folder above it.

    Raises:
        FileNotFoundError: No such folder, or no picture in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}; check the path")
    found = sorted(_pictures_below(root, frozenset()))
    if not found:
        raise FileNotFoundError(f"no picture in {root} or below it; files must end in {', '.join(SUFFIXES)}")
    return found


def _pictures_below(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _pictures_below(path, above | {here})
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield path


def picture(image: Any, *, size: tuple[int, int] | None = None, grey: bool = False) -> UInt8[Tensor, "c h w"]:
    """Return a `PIL.Image` as bytes: turned as its camera noted (EXIF), converted, cut around its centre and resized.

    Args:
        image: A `PIL.Image.Image`.
        size: (height, width); None keeps the picture's own.
        grey: One channel in place of three.

    >>> from PIL import Image
    >>> picture(Image.new("RGB", (6, 4), (255, 0, 0)), size=(2, 2))[:, 0, 0]
    tensor([255,   0,   0], dtype=torch.uint8)
    """
    from PIL import Image, ImageOps

    # Notes that are broken are no reason to refuse the pixels; a broken picture says so below.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP:
        # Pillow would cut 16 bits off at 255.
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no known white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        # Pillow would show what lies under the transparent pixels, which nobody has ever seen.
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    image = image.convert("L" if grey else "RGB")
    if size is not None and image.size != (size[1], size[0]):
        height, width = size
        across, down = image.size
        scale = min(across / width, down / height)
        # Whole pixels, and cut before the filter, which would else look beyond the edge.
        kept = max(1, round(scale * width)), max(1, round(scale * height))
        left, top = (across - kept[0]) // 2, (down - kept[1]) // 2
        image = image.crop((left, top, left + kept[0], top + kept[1]))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()


def has_one_channel(path: str | Path) -> bool:
    """Return whether a file says of itself that it holds grey values only; nothing is decoded.

    Raises:
        ValueError: A file that Pillow cannot read.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", *DEEP)
    except Exception as error:  # each of Pillow's formats has its own kinds
        raise ValueError(f"{path} cannot be read as a picture ({error}); mend it or take it away") from None


def read_image(
    path: str | Path, *, size: tuple[int, int] | None = None, grey: bool = False
) -> UInt8[Tensor, "c h w"]:
    """Return one file's picture as bytes; see `picture`.

    Raises:
        ValueError: A file that Pillow cannot read; the message names it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return picture(image, size=size, grey=grey)
    except Exception as error:  # each of Pillow's formats has its own kinds
        raise ValueError(f"{path} cannot be read as a picture ({error}); mend it or take it away") from None


def read_images(
    paths: Iterable[str | Path],
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    progress: bool = True,
) -> UInt8[Tensor, "n c h w"]:
    """Return the pictures of many files as one tensor, with a bar; n·c·height·width bytes.

    Args:
        paths: The files.
        size: (height, width) of all; None wants them to have one size already.
        grey: One channel in place of three.
        progress: Show a bar, where there is a terminal.

    Raises:
        ValueError: A file that cannot be read, or pictures of several sizes and `size=None`.
    """
    if isinstance(paths, str | Path):
        raise TypeError(
            f"paths must be files, got the path {paths}; of a folder pass find_images(folder), of one file [path]"
        )
    paths = list(paths)
    bar = tqdm(paths, disable=None if progress else True, desc="reading pictures", unit="file")
    found: Tensor | None = None
    for i, path in enumerate(bar):
        one = read_image(path, size=size, grey=grey)
        if found is None:
            found = torch.empty((len(paths), *one.shape), dtype=torch.uint8)
        if one.shape != found.shape[1:]:
            raise ValueError(
                f"pictures must have one size, got {list(found.shape[2:])} in {paths[0]} and {list(one.shape[1:])} in "
                f"{path}; pass size=(height, width)"
            )
        found[i] = one
    if found is None:
        raise ValueError("paths must hold at least one file, got none")
    return found
