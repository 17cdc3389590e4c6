"""Where to begin: potentials of a few points, carried over to all of them.

A solution on m points of a cloud is one for its distribution, up to sampling, and the equation of the potentials
carries it to any point,

    g(y) = −log Σ_i a_i exp(f_i + s(x_i, y)),

the entropic map's own way to extend (Pooladian & Niles-Weed 2021, eq. 5). So the expensive beginning, an annealing from
a temperature at which exp(s/t) spans e⁻³⁰ (Schmitzer 2019, section 3.2), is done on a hundred points. The points and
potentials of an earlier problem, as a step of training leaves them, do as well: that is a warm start, for points that
have moved and even for others of the same distribution.
"""

import torch
from torch import Tensor

from metrics.transport.entropic.kernels import LogKernel, Squares

__all__ = ["COLD", "annealed", "cold_start", "extended", "few", "log_sums"]

FEW = 128
"""Points to anneal on."""

COLD = 30.0
"""Annealing starts where the kernel spans e⁻³⁰, so that no column is lost."""

HOT = 8.0
"""Annealing that begins above this many times ε goes slowly."""

COOLING = ((5.0, 3), (2.0, 10))
"""The factor from one temperature to the next and the iterations at each: of an annealing up to `HOT`, and above."""

SMALL = 2**17
"""Entries of a kernel up to which an iteration costs less than annealing."""

NEAR = 180.0
"""The exponent that a kernel may span, as (√α + √β)², for a start at zero."""


def few(n: int, count: int = FEW) -> slice:
    """At most `count` of n points, in equal steps."""
    return slice(0, None, -(-n // count))


def cold_start(kernel: LogKernel, a: Tensor, b: Tensor) -> Tensor:
    """Return a start for g: zero for a small kernel that spans little, otherwise from annealing.

    Sinkhorn's first iteration leaves a small error at zero too, where no column is lost; annealing then saves one or
    two iterations, and costs more than these on a small kernel.
    """
    if isinstance(kernel, Squares) and len(a) * len(b) <= SMALL:
        # ½‖x − y‖² ≤ (√α + √β)², about twice as much as it is in many dimensions.
        reach = float(kernel.alpha.amax()) ** 0.5 + float(kernel.beta.amax()) ** 0.5
        if reach**2 <= NEAR:
            return torch.zeros_like(kernel.beta)
    return annealed(kernel, a, b)


def annealed(kernel: LogKernel, a: Tensor, b: Tensor) -> Tensor:
    """Return a start for g: the potentials of a few points at falling temperatures, extended to all columns."""
    rows, columns = few(len(a)), few(len(b))
    a, b = a[rows], b[columns]
    s = kernel.part(rows, columns).block(slice(None), slice(None), a.new_empty(len(a), len(b)))
    f = _cooled(s, a / a.sum(), b / b.sum())
    return extended(kernel.part(rows, slice(None)), f)


def _cooled(s: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return f + log a after a few iterations at each of the falling temperatures t ≥ 1 of exp(s/t)."""
    t, g, k = max(1.0, float(s.amin()) / -COLD), b.log(), torch.empty_like(s)
    (factor, sweeps), turned = COOLING[t > HOT], k.T
    while True:
        # k has rows that sum to one, so that u = a at v = 1.
        top = torch.add(s, g, out=k).amax(1)
        if t > 1:
            k.mul_(1 / t)
        torch.softmax(k, 1, out=k)
        u, v = a, b
        for _ in range(sweeps if t > 1 else 6):
            v = b / torch.mv(turned, u).clamp_(min=1e-25)
            u = a / torch.mv(k, v)
        if t == 1:
            return u.log_().sub_(top).add_(k.amax(1).log_())
        g = g + t * v.log()
        t = max(t / factor, 1.0)


def extended(kernel: LogKernel, f: Tensor) -> Tensor:
    """Return g_j = −log Σ_i exp(f_i + s_ij) for all columns, in float64; f with the log-weights of its points."""
    turned = kernel.T
    rows, columns = len(turned.alpha), len(turned.beta)
    step, g = max(1, 2**21 // columns), torch.empty_like(turned.alpha)
    column = (f - turned.beta).to(turned.dtype)
    buffer = torch.empty(min(step, rows) * columns, dtype=turned.dtype, device=f.device)
    for low in range(0, rows, step):
        z = buffer[: min(step, rows - low) * columns].view(-1, columns)
        turned.fill(column, z, slice(low, low + len(z)))
        g[low : low + len(z)] = turned.alpha[low : low + len(z)] - log_sums(z)
    return g


def log_sums(z: Tensor) -> Tensor:
    """Return log Σ_j exp(z_ij) in float64, and leave the softmax over j in z, in one pass of exponentials."""
    top = z.amax(-1).double()
    torch.softmax(z, -1, out=z)
    return top - z.amax(-1).double().log_()
