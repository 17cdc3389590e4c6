"""The random numbers of runs that are trained together: each run keeps the stream of its own seed.

A penalty or an augmentation draws by `gan.augment.draw_rows`. Under `torch.vmap` it would draw once for all runs, or
all of them from one generator; neither is what a run by itself would draw. `Streams` goes in the generator's place and
gives each run the numbers that its own generator would have given.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gan.seeds import stream

__all__ = ["Streams"]


class Streams(torch.Generator):
    """A generator for each of several seeds, in the place of one.

    Who draws from it as from an ordinary generator inside `torch.vmap` is refused there by torch.

    Args:
        name: What the numbers are for, as for `gan.seeds.stream`.
        seeds: One a run.
        device: Where they draw.

    >>> drawn = Streams("training", [0, 1]).draw(torch.rand, (3,), torch.float32)
    >>> torch.equal(drawn[1], torch.rand(3, generator=stream("training", 1)))
    True
    """

    def __new__(cls, name: str, seeds: Sequence[int], device: str | torch.device = "cpu") -> "Streams":
        """Return the generator that torch knows of; nobody draws from it."""
        return super().__new__(cls, device)  # pyright: ignore[reportCallIssue]

    def __init__(self, name: str, seeds: Sequence[int], device: str | torch.device = "cpu") -> None:
        self.generators = [stream(name, seed, device) for seed in seeds]

    def draw(self, kind: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return `kind(shape)` of each run, [runs, *shape]."""
        return torch.stack(
            [kind(shape, dtype=dtype, device=self.device, generator=each) for each in self.generators]
        )

    def draw_like(self, kind: Callable[..., Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return `kind(shape)` inside `torch.vmap` over the runs, each run its own.

        Args:
            kind: `torch.rand` or `torch.randn`.
            shape: That of one run's numbers.
            like: Any tensor of the run, by which `torch.vmap` knows that the numbers are too.
        """
        drawn = _DrawnByEach.apply(like.detach(), self, kind, shape)
        assert isinstance(drawn, Tensor)
        return drawn


class _DrawnByEach(torch.autograd.Function):
    """Random numbers whose rule under `torch.vmap` is to draw from each run's own generator."""

    @staticmethod
    def forward(
        like: Tensor, streams: Streams, kind: Callable[..., Tensor], shape: tuple[int, ...]
    ) -> Tensor:
        raise RuntimeError("streams of several runs are drawn from inside torch.vmap over the runs alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[None, None, None, None]:
        return None, None, None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[Any, ...],
        like: Tensor,
        streams: Streams,
        kind: Callable[..., Tensor],
        shape: tuple[int, ...],
    ) -> tuple[Tensor, int]:
        return streams.draw(kind, shape, like.dtype), 0
