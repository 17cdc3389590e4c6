"""What can happen to a file: cut off, flipped, another's, or made by somebody who means harm.

`anything` is for every format; `headers` are hostile headers of safetensors; `other_metadata` and `other_tensors` are
whole files of ours, checksum and all, that hold something else than their reader expects.
"""

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FEW = 24
"""Of the places in a larger file, so many are tried."""


class Marked:
    """An object that makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def places(content: bytes, whole: int = 0) -> list[int]:
    """All places in a file's first bytes, and a sample of the others."""
    rest = random.Random(0).sample(range(whole, len(content)), min(FEW, max(len(content) - whole, 0)))
    return [*range(min(whole, len(content))), *sorted(rest)]


def anything(content: bytes, *, every: bool = False) -> Iterator[tuple[str, bytes]]:
    """Cuts, and files of something else."""
    for place in places(content, len(content) if every else 0):
        yield f"cut at byte {place}", content[:place]
    yield "empty", b""
    yield "random", random.Random(1).randbytes(max(len(content), 64))
    yield "zeros", bytes(len(content))
    yield "another's text", b"<!DOCTYPE html><html>404: not found</html>"


def flips(content: bytes, until: int | None = None) -> Iterator[tuple[str, bytes]]:
    """One bit of another value, in the first bytes and here and there."""
    for place in places(content, 0 if until is None else until):
        bit = 1 << random.Random(place).randrange(8)
        yield (
            f"bit {bit} of byte {place}",
            content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :],
        )


def pickles(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Every form of a pickle that readers of arrays and weights are known to open."""
    bad = Marked(marker)
    yield "a bare pickle", pickle.dumps(bad)
    yield "a pickled state dict", pickle.dumps({"state_dict": bad})
    file = io.BytesIO()
    torch.save({"weight": torch.ones(1), "bad": bad}, file)
    yield "torch.save", file.getvalue()
    file = io.BytesIO()
    torch.save({"weight": torch.ones(1), "bad": bad}, file, _use_new_zipfile_serialization=False)
    yield "torch.save of old", file.getvalue()
    file = io.BytesIO()
    np.save(file, np.array([bad, bad], dtype=object), allow_pickle=True)
    yield "objects in .npy", file.getvalue()
    inner = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train.npy", inner)
    yield "objects in .npz", file.getvalue()


def _safetensors(header: bytes, rest: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + rest


def headers(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Hostile headers on the data of a safetensors file."""
    (size,) = struct.unpack("<Q", content[:8])
    text, rest = content[8 : 8 + size], content[8 + size :]
    told = json.loads(text)
    for length in (2**60, 2**64 - 1, 0, size - 1, size + 1, 100_000_001):
        yield f"a header of {length} bytes", _safetensors(text, rest, length)
    name = next(key for key in told if key != "__metadata__")

    def changed(**entry: Any) -> bytes:
        return _safetensors(json.dumps({**told, name: {**told[name], **entry}}).encode(), rest)

    begin, end = told[name]["data_offsets"]
    for offsets in (
        [begin, end + 8],
        [0, 2**60],
        [-8, end],
        [end, begin],
        [begin + 1, end + 1],
        [begin],
        "0",
        None,
    ):
        yield f"offsets {offsets}", changed(data_offsets=offsets)
    for shape in ([float("nan")], [-1], [2**62, 2**62], ["2"], 2, None, [0], [1e300]):
        yield f"a shape {shape}", changed(shape=shape)
    for dtype in ("F16", "X32", None, 3, "OBJECT"):
        yield f"a type {dtype}", changed(dtype=dtype)
    overlapping = json.dumps({**told, "another": told[name]}).encode()
    yield "two tensors of the same bytes", _safetensors(overlapping, rest)
    swapped = {"F32": "I32", "F64": "I64", "I64": "F64", "U8": "I8"}[told[name]["dtype"]]
    entry = json.dumps({name: {**told[name], "dtype": swapped}})[1:-1].encode()
    yield "a name twice", _safetensors(text.rstrip()[:-1] + b"," + entry + b"}", rest)
    yield "nested deeply", _safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000, rest)
    yield "a list", _safetensors(b"[1, 2]", rest)
    yield "no metadata", _safetensors(json.dumps({name: told[name]}).encode(), rest)
    for metadata in (
        {"json": "[" * 100_000},
        {"json": "[]"},
        {"json": "null"},
        {"json": "{}}"},
        {"json": 3},
        [],
        {},
    ):
        whole = json.dumps({**told, "__metadata__": metadata}).encode()
        yield f"metadata {str(metadata)[:20]}", _safetensors(whole, rest)


OTHER_VALUES = (None, "text", "3", [], {}, [[]], -1, 2.5, 10**30, True)


def other_metadata(value: Any) -> Iterator[tuple[str, Any]]:
    """The JSON with one value in it missing or of another kind."""
    for other in OTHER_VALUES:
        yield f"{other!r}", other
    if isinstance(value, dict):
        for key in value:
            yield f"no {key}", {k: v for k, v in value.items() if k != key}
            for told, inner in other_metadata(value[key]):
                yield f"{key}: {told}", {**value, key: inner}
    elif isinstance(value, list) and value:
        for told, inner in other_metadata(value[0]):
            yield f"first: {told}", [inner, *value[1:]]


def other_tensors(tensors: dict[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The tensors with one of them missing, or of another type or shape."""
    for name, tensor in tensors.items():
        yield f"no {name}", {k: t for k, t in tensors.items() if k != name}
        others = {
            "of whole numbers": tensor.double().nan_to_num().round().long(),
            "of complex numbers": tensor.to(torch.complex64),
            "in half precision": tensor.half(),
            "with a dimension more": tensor[None],
            "of no entries": tensor.new_zeros(0),
            "a number": tensor.new_zeros(()),
            "longer": torch.cat([tensor.flatten(), tensor.flatten()]),
            "of NaN": torch.full(tensor.shape, torch.nan),
        }
        for told, other in others.items():
            yield f"{name} {told}", {**tensors, name: other}
