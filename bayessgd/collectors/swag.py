"""SWAG: the running mean and variance of the iterates, and the last K deviations (Maddox et al. 2019).

After the n-th snapshot θₙ, with m the mean and q the sum of squared deviations, elementwise,

    mₙ = mₙ₋₁ + (θₙ − mₙ₋₁)/n,   dₙ = θₙ − mₙ,   qₙ = qₙ₋₁ + n/(n−1) · dₙ²

so that qₙ/n = E[θ²] − m² (Welford 1962). The paper's own form keeps E[θ²] and subtracts: for weights that
fluctuate by 1e-3 of their size float32 then leaves hardly a digit. The columns of D̂ are the last K of the
dₙ: deviations from the mean *as it was after* that snapshot. The posterior is

    N(m, ½ (diag(q/n) + D̂D̂ᵀ/(k−1))) with the k = min(n, K) columns stored,   N(m, diag(q/n)) without columns.

State: m and q in the parameters' type (at least float32) and K columns, (K + 2) × the parameters. A float32
mean is rounded to 6e-8 of itself, so the deviations of a weight that fluctuates by σ are right to 6e-8·|θ|/σ,
and some 1e3 snapshots are averaged to 1e-6. Where that is not enough, `moments_dtype=torch.float64` is, at
two parameters' sizes more.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from bayessgd.collectors._collector import Collector, accumulator_type
from bayessgd.collectors._states import taken
from bayessgd.posteriors import LowRankGaussian
from bayessgd.selection import Selection
from metrics.inputs import check_count, check_positive

__all__ = ["SWAG"]

PIECE = 2**16
"""Numbers of a tensor that are taken in at once."""


class SWAG(Collector):
    """Collects snapshots into a Gaussian: diagonal plus low rank.

    Args:
        model: The network that is trained; it may be compiled, in DDP, or sharded by `fully_shard`.
        rank: K, the number of deviations to keep; 0 is the diagonal variant.
        columns_dtype: The type that the deviations are stored in; `torch.bfloat16` halves their memory at a
            relative error of at most 2⁻⁸ each. `None` is the parameters' type, at least float32.
        columns_device: Where they are stored, such as "cpu"; `None` is where the parameters are.
        moments_dtype: The type of mean and variance; `None` is the parameters' type, at least float32.
        parameters: The part to collect: a module, a name pattern or a predicate (`bayessgd.selection`), such as
            `net.head`, `"*.lora_*"`; the rest stays where the network has it when it predicts. `None` is everything
            that trains.

    Raises:
        TypeError: Not a module, or a type that is not floating.
        ValueError: A negative rank, or 1, whose divisor k − 1 is 0.

    Reference: Maddox, Izmailov, Garipov, Vetrov & Wilson 2019, "A simple baseline for Bayesian uncertainty in
    deep learning", sections 3.2 and 3.3.

    >>> import torch
    >>> net = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> swag = SWAG(net, rank=2)
    >>> with swag.attach(optimizer, every=5):
    ...     for _ in range(20):
    ...         optimizer.zero_grad()
    ...         (net(torch.ones(4, 1)) - 1).square().mean().backward()
    ...         optimizer.step()
    >>> swag.num_updates, swag.posterior().rank, swag.posterior().scale
    (4, 2, 0.5)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        rank: int = 40,
        columns_dtype: torch.dtype | None = None,
        columns_device: torch.device | str | None = None,
        moments_dtype: torch.dtype | None = None,
        parameters: Selection | None = None,
    ) -> None:
        super().__init__(model, parameters)
        self.rank = _check_rank(rank)
        for name, given in (("columns_dtype", columns_dtype), ("moments_dtype", moments_dtype)):
            if given is not None and not getattr(given, "is_floating_point", False):
                raise TypeError(f"{name} must be a floating type such as torch.float64, got {given!r}")
        self._columns_dtype, self._columns_device = columns_dtype, columns_device
        self._moments_dtype = moments_dtype
        self._mean: list[Tensor] = []
        self._squares: list[Tensor] = []
        self._columns: list[Tensor] = []

    def _allocate(self, parameters: list[Tensor]) -> None:
        types = [self._moments_dtype or accumulator_type(p) for p in parameters]
        self._mean = [torch.zeros_like(p, dtype=t) for p, t in zip(parameters, types, strict=True)]
        self._squares = [torch.zeros_like(m) for m in self._mean]
        self._columns = [
            torch.zeros(
                (self.rank, *m.shape),
                dtype=self._columns_dtype or accumulator_type(p),
                device=self._columns_device or m.device,
            )
            for p, m in zip(parameters, self._mean, strict=True)
        ]

    def _collect(self, parameters: list[Tensor]) -> None:
        if not self._mean:
            self._allocate(parameters)
        n = self._updates + 1
        slot = self._updates % self.rank if self.rank else None
        for parameter, mean, squares, columns in zip(
            parameters, self._mean, self._squares, self._columns, strict=True
        ):
            column = None if slot is None else columns[slot]
            for piece in _pieces(parameter, mean, squares, column):
                _add(*piece, n)

    def posterior(
        self, *, scale: float | None = None, rank: int | None = None, min_variance: float = 0.0
    ) -> LowRankGaussian:
        """Return N(m, scale · (diag(q/n) + D̂D̂ᵀ/(k−1))).

        Args:
            scale: The factor of the covariance; `None` is the paper's, ½ with columns and 1 without.
            rank: k, the number of latest columns to use; `None` is all that are stored, min(n, K).
            min_variance: The least entry of diag(q/n). A parameter that never moved has 0 and the law then no
                density; draws need none.

        Raises:
            ValueError: Fewer than 2 updates, or a rank above what was collected.
        """
        self._need(2, "SWAG's posterior")
        stored = min(self._updates, self.rank)
        used = stored if rank is None else _check_rank(rank)
        if used > stored:
            raise ValueError(
                f"rank must be at most the {stored} columns stored (of {self._updates} updates at rank "
                f"{self.rank}), got {used}; collect more snapshots or ask for fewer"
            )
        if min_variance != 0:
            min_variance = check_positive(min_variance, "min_variance")
        variance = [(squares / self._updates).clamp(min=min_variance) for squares in self._squares]
        chosen = [(self._updates - used + i) % self.rank for i in range(used)]
        rows = [[columns[slot] for columns in self._columns] for slot in chosen]
        return LowRankGaussian(
            self._whole(self._mean),
            self._whole(variance),
            self._whole_rows(rows) if used else None,
            scale=scale if scale is not None else (0.5 if used else 1.0),
        )

    def _settings(self) -> dict[str, object]:
        return {"rank": self.rank}

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{part}/{name}": tensor
            for part, tensors in (
                ("mean", self._mean),
                ("squares", self._squares),
                ("columns", self._columns),
            )
            for name, tensor in zip(self._names, tensors, strict=False)
        }

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._mean, self._squares, self._columns = [], [], []
        if not self._updates:
            return
        self._allocate(self._locals())
        for name, tensor in self._tensors().items():
            tensor.copy_(taken(tensors, name, tensor))


Tensors = tuple[Tensor, Tensor, Tensor, Tensor | None]


def _pieces(parameter: Tensor, mean: Tensor, squares: Tensor, column: Tensor | None) -> Iterator[Tensors]:
    """Yield large tensors in flat pieces: what is computed on the way is then small beside them."""
    if parameter.numel() <= PIECE or not parameter.is_contiguous():
        yield parameter, mean, squares, column
        return
    flat = [t.view(-1).split(PIECE) for t in (parameter, mean, squares)]
    columns = [None] * len(flat[0]) if column is None else column.view(-1).split(PIECE)
    yield from zip(*flat, columns, strict=True)


def _add(parameter: Tensor, mean: Tensor, squares: Tensor, column: Tensor | None, n: int) -> None:
    theta = parameter.to(mean.dtype)
    mean.lerp_(theta, 1 / n)
    # The column is its own scratch memory where it can be.
    direct = column is not None and column.dtype == mean.dtype and column.device == mean.device
    deviation = torch.sub(theta, mean, out=column if direct else None)
    squares.addcmul_(deviation, deviation, value=n / max(n - 1, 1))
    if column is not None and not direct:
        column.copy_(deviation)


def _check_rank(rank: int) -> int:
    rank = check_count(rank, "rank", least=0)
    if rank == 1:
        raise ValueError(
            "rank must be 0 (diagonal) or at least 2, for k − 1 divides the low-rank part, got 1"
        )
    return rank
