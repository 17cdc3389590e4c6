r"""The noise of a gradient: its mean, covariance, trace, spectrum and the simple noise scale, from one batch.

From per-example gradients g_1 … g_B of P entries each, with the mean ḡ,

    C = Σ_i (g_i − ḡ)(g_i − ḡ)ᵀ / (B − c)    c = 1: unbiased for the covariance of the population behind the data,
                                             c = 0: the covariance over exactly these data, as SGD on them has it,
    |G|² = |ḡ|² − Tr C / B                   unbiased for the squared norm of the true gradient (c = 1),
    B_simple = Tr C / |G|²                   the simple noise scale (McCandlish et al. 2018, arXiv:1812.06162, eq. 2.9
                                             and appendix A), a ratio of unbiased numbers and so biased by O(1/B).

C is P × P and is formed only when asked for, and only for a small P. Its non-zero spectrum is that of the
centred Gram matrix K_ij = (g_i − ḡ)·(g_j − ḡ), divided by B − c, which is B × B and is put together from
pairs of chunks of the batch: the B × P matrix is never held. Sums over data are in float64, about a mean
found first, since Tr C may be a small difference.

Standard errors are the jackknife's over data (Efron & Stein 1981), which needs only r_i = |g_i − ḡ|² and
p_i = ḡ·(g_i − ḡ).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bayessgd._inputs import Output, Targets
from bayessgd._over import Told, telling
from bayessgd.batches import Data
from bayessgd.noise.per_example import Examples, Loss, trainable
from bayessgd.params import flatten
from metrics.inputs import check_count, check_tensor
from metrics.precision import full_precision

__all__ = ["GradientNoise", "gradient_noise"]

# 4096² float64 are 128 MiB.
LARGEST = 4096
# Gradients of one chunk: about 64 MiB of float32.
CHUNK_ELEMENTS = 2**24


@full_precision
def gradient_noise(
    model: nn.Module,
    loss: Loss,
    x: Data,
    y: Targets | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    correction: int = 1,
    chunk_size: int | None = None,
    output: Output | None = None,
) -> "GradientNoise":
    """Measure the noise of the gradient from the per-example gradients of a batch.

    A prior shifts every g_i by the same vector and changes the mean alone; the covariance needs none.

    Args:
        model: A plain network, in eval mode if it has BatchNorm or Dropout; it is not changed.
        loss: `loss(output, target)` of a batch of one, as `per_example_gradients` takes it.
        x: The inputs `[n, ...]`, n ≥ 3: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: The targets `[n, ...]`; `None` where x brings them.
        params: θ, where it is not the model's own.
        correction: c: 1 for data that are a sample, 0 for all the data that SGD will draw from.
        chunk_size: How many per-example gradients are held at once; `None` for about 64 MiB.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> model, theta = nn.Linear(1, 1, bias=False), {"weight": torch.tensor([[1.0]])}
    >>> x, y = torch.tensor([[1.0], [1.0], [2.0]]), torch.zeros(3, 1)  # gradients 2, 2, 8
    >>> noise = gradient_noise(model, nn.functional.mse_loss, x, y, params=theta)
    >>> noise.mean, noise.covariance, noise.spectrum()
    (tensor([4.]), tensor([[12.]]), tensor([12.]))
    >>> noise.noise_scale  # 12 / (16 − 12/3)
    tensor(1.)
    """
    examples = Examples(model, loss, x, y, output)
    if len(examples) < 3:
        raise ValueError(
            f"x must hold at least 3 data for a variance and its error, got {len(examples)}; pass more"
        )
    c = check_count(correction, "correction", least=0, below=2)
    theta = {name: value.clone() for name, value in trainable(model, params).items()}
    size = sum(value.numel() for value in theta.values())
    chunk = max(1, CHUNK_ELEMENTS // size) if chunk_size is None else check_count(chunk_size, "chunk_size")
    told = Told()

    def rows(start: int) -> Tensor:
        with telling(told):
            return flatten(examples.gradients(theta, slice(start, start + chunk)), theta)

    return GradientNoise.measure(rows, num_data=len(examples), chunk=chunk, correction=c)


@dataclass(frozen=True)
class GradientNoise:
    """The noise of one datum's gradient; vectors are flat, in the order of `model.named_parameters()`.

    Attributes:
        mean: ḡ `[p]`.
        variance: The diagonal of C `[p]`.
        trace: Tr C, unbiased with correction 1; `trace_stderr` is its standard error.
        squared_norm: |G|² = |ḡ|² − Tr Ĉ / B with the unbiased Ĉ: an unbiased estimate, negative by chance
            near an optimum.
        noise_scale: B_simple = Tr Ĉ / |G|², infinite where |G|² is not positive: the gradient is then lost
            in its noise.
        noise_scale_stderr: Its standard error; NaN where the noise scale is infinite.
        num_data: B.
        correction: c.

    >>> rows = torch.tensor([[2.0], [2.0], [8.0]])  # gradients of three data, one parameter
    >>> noise = GradientNoise.measure(lambda start: rows[start:], num_data=3, chunk=3, correction=1)
    >>> noise.variance, noise.trace, noise.squared_norm  # 16 − 12/3
    (tensor([12.]), tensor(12.), tensor(12.))
    """

    mean: Float[Tensor, " p"]
    variance: Float[Tensor, " p"]
    trace: Float[Tensor, ""]
    trace_stderr: Float[Tensor, ""]
    squared_norm: Float[Tensor, ""]
    noise_scale: Float[Tensor, ""]
    noise_scale_stderr: Float[Tensor, ""]
    num_data: int
    correction: int
    _rows: Callable[[int], Tensor] = field(repr=False)
    _chunk: int = field(repr=False)

    @classmethod
    def measure(
        cls, rows: Callable[[int], Tensor], *, num_data: int, chunk: int, correction: int
    ) -> "GradientNoise":
        """Measure from a function that returns the gradients `[≤ chunk, p]` from a given datum on."""
        starts, B = range(0, num_data, chunk), num_data
        if len(starts) == 1:
            held = rows(0)
            rows = lambda start: held  # noqa: E731
        first = rows(0)
        dtype = first.dtype
        mean = torch.zeros(first.shape[1], dtype=torch.float64, device=first.device)
        for start in starts:
            mean += rows(start).sum(0, dtype=torch.float64)
        mean /= B
        squares, radii, shifts = torch.zeros_like(mean), [], []
        for start in starts:
            centred = rows(start).double() - mean
            squares += centred.square().sum(0)
            radii.append(centred.square().sum(1))
            shifts.append(centred @ mean)
        r, p = torch.cat(radii), torch.cat(shifts)
        trace, norm = r.sum() / (B - 1), mean.square().sum()
        # Leaving out datum i moves the mean by −(g_i − ḡ)/(B−1) and takes B/(B−1) r_i from the squares.
        traces = (r.sum() - B / (B - 1) * r) / (B - 2)
        norms = norm - 2 * p / (B - 1) + r / (B - 1) ** 2 - traces / (B - 1)
        square = norm - trace / B
        scale, error = trace / square, _jackknife(traces / norms)
        if not float(square) > 0:
            scale, error = torch.full_like(scale, math.inf), torch.full_like(scale, math.nan)
        factor = (B - 1) / (B - correction)
        return cls(
            mean=mean.to(dtype),
            variance=(squares / (B - correction)).to(dtype),
            trace=(factor * trace).to(dtype),
            trace_stderr=(factor * _jackknife(traces)).to(dtype),
            squared_norm=square.to(dtype),
            noise_scale=scale.to(dtype),
            noise_scale_stderr=error.to(dtype),
            num_data=B,
            correction=correction,
            _rows=rows,
            _chunk=chunk,
        )

    @cached_property
    def covariance(self) -> Float[Tensor, "p p"]:
        """C `[p, p]`, formed at the first call.

        Raises:
            ValueError: If p is above 4096.
        """
        size = len(self.mean)
        if size > LARGEST:
            raise ValueError(
                f"covariance must have at most {LARGEST} rows to be formed, got {size} parameters "
                f"({size**2 * 8 / 2**30:.3g} GiB); use .variance, .spectrum() or .product(v)"
            )
        total = torch.zeros(size, size, dtype=torch.float64, device=self.mean.device)
        for part in self._centred():
            total += part.mT @ part
        return (total / (self.num_data - self.correction)).to(self.mean.dtype)

    def product(self, vector: Float[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Return C v `[p]` without forming C, in one pass over the batch."""
        check_tensor(vector, "vector", shape="[p]", ndim=1)
        if vector.shape != self.mean.shape:
            raise ValueError(
                f"vector must have shape [{len(self.mean)}], got {list(vector.shape)}; one entry per parameter"
            )
        total = torch.zeros(len(self.mean), dtype=torch.float64, device=self.mean.device)
        for part in self._centred():
            total += (part @ vector.double()) @ part
        return (total / (self.num_data - self.correction)).to(self.mean.dtype)

    def spectrum(self) -> Float[Tensor, " k"]:
        """Return the min(B, p) leading eigenvalues of C, descending; all others are zero.

        From C itself where p ≤ B, and otherwise from the B × B Gram matrix, for which the gradients of every
        pair of chunks are computed anew: about B/(2·chunk_size) passes over the batch, two chunks in memory.
        """
        if len(self.mean) <= min(self.num_data, LARGEST):
            eigenvalues = torch.linalg.eigvalsh(self.covariance.double())
        else:
            eigenvalues = torch.linalg.eigvalsh(self._gram()) / (self.num_data - self.correction)
        leading = eigenvalues.flip(0)[: min(self.num_data, len(self.mean))]
        return leading.clamp(min=0).to(self.mean.dtype)

    def _centred(self) -> Iterator[Tensor]:
        mean = self.mean.double()
        for start in range(0, self.num_data, self._chunk):
            yield self._rows(start).double() - mean

    def _gram(self) -> Tensor:
        """Return the lower triangle of blocks of the centred Gram matrix: what `eigvalsh` reads."""
        gram = torch.zeros(self.num_data, self.num_data, dtype=torch.float64, device=self.mean.device)
        mean = self.mean.double()
        for i in range(0, self.num_data, self._chunk):
            left = self._rows(i).double() - mean
            for j in range(0, i + 1, self._chunk):
                right = left if i == j else self._rows(j).double() - mean
                gram[i : i + len(left), j : j + len(right)] = left @ right.mT
        return gram


def _jackknife(values: Tensor) -> Tensor:
    """Return the standard error of a statistic from its values with each datum left out."""
    n = len(values)
    return ((n - 1) / n * (values - values.mean()).square().sum()).sqrt()
