# pyright: reportMissingImports=false
"""The two Triton kernels of a fused pass; imported by the first pass alone, since Triton takes long to load."""

import triton
import triton.language as tl

__all__ = ["column_sums", "row_maxima_and_sums"]


@triton.jit
def _tile(x, y, column, i, j, n, m, d, R: tl.constexpr, C: tl.constexpr, D: tl.constexpr):
    """Return z for rows i and columns j; −∞ beyond the last column."""
    i, j = i.to(tl.int64), j.to(tl.int64)  # n·d and m·d may be beyond 2³¹
    z = tl.zeros((R, C), dtype=tl.float32)
    for low in range(0, d, D):
        k = low + tl.arange(0, D)
        u = tl.load(x + i[:, None] * d + k[None, :], (i[:, None] < n) & (k[None, :] < d), 0.0)
        v = tl.load(y + j[None, :] * d + k[:, None], (j[None, :] < m) & (k[:, None] < d), 0.0)
        z = tl.dot(u, v, z, input_precision="ieee")
    return z + tl.load(column + j, j < m, -float("inf"))[None, :]


@triton.jit
def row_maxima_and_sums(x, y, column, top, total, n, m, d, R: tl.constexpr, C: tl.constexpr, D: tl.constexpr):
    """The running maximum and sum of a tile of rows."""
    i = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    most = tl.full((R,), -float("inf"), dtype=tl.float32)
    mass = tl.zeros((R,), dtype=tl.float32)
    for low in range(0, m, C):
        z = _tile(x, y, column, i, low + tl.arange(0, C), n, m, d, R, C, D)
        higher = tl.maximum(most, tl.max(z, 1))
        mass = mass * tl.exp(most - higher) + tl.sum(tl.exp(z - higher[:, None]), 1)
        most = higher
    tl.store(top + i, most, i < n)
    tl.store(total + i, mass, i < n)


@triton.jit
def column_sums(x, y, column, top, weight, sums, n, m, d, R: tl.constexpr, C: tl.constexpr, D: tl.constexpr):
    """Σ_i weight_i exp(z_ij − top_i) of a tile of columns, in float64 from tile to tile."""
    j = tl.program_id(0).to(tl.int64) * C + tl.arange(0, C)
    mass = tl.zeros((C,), dtype=tl.float64)
    for low in range(0, n, R):
        i = low + tl.arange(0, R)
        z = _tile(x, y, column, i, j, n, m, d, R, C, D)
        w = tl.load(weight + i, i < n, 0.0)
        z = z - tl.load(top + i, i < n, float("inf"))[:, None]
        mass += tl.sum(w[:, None] * tl.exp(z), 0).to(tl.float64)
    tl.store(sums + j, mass, j < m)
