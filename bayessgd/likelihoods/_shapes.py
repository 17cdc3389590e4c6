"""What enters a likelihood: shapes and types alone, since `vmap` forbids a look at values."""

from torch import Tensor

__all__ = ["check_output", "check_same_shape", "check_target", "summed"]


def check_output(output: Tensor) -> None:
    if not isinstance(output, Tensor):
        raise TypeError(f"output must be a torch.Tensor, got {type(output).__name__}; use torch.as_tensor")
    if not output.is_floating_point():
        raise TypeError(f"output must be floating point, got {output.dtype}; convert with output.float()")
    if output.ndim == 0:
        raise ValueError("output must have shape [n, ...], got []; the first dimension counts the data")


def check_target(target: object) -> None:
    """Refuse what is no tensor, such as all that a batch has beside its inputs."""
    if isinstance(target, tuple):
        raise TypeError(
            f"target must be a torch.Tensor, got {len(target)} of them; of pairs (y, weights) take "
            "Weighted(likelihood), and leave out what is no target, such as an index"
        )
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a torch.Tensor, got {type(target).__name__}; use torch.as_tensor")


def check_same_shape(
    output: Tensor, target: Tensor, what: str = "the output", remedy: str | None = None
) -> None:
    """Refuse shapes that differ: `[n]` against `[n, 1]` would broadcast to `[n, n]` in silence."""
    check_output(output)
    check_target(target)
    if output.shape != target.shape:
        raise ValueError(
            f"target must have the shape of {what}, {list(output.shape)}, got {list(target.shape)}; "
            f"{remedy or _fitting(output, target)}"
        )


def _fitting(output: Tensor, target: Tensor) -> str:
    """Say how a target fits; to reshape another order of dimensions would mix the data."""
    own, given = ([size for size in t.shape if size != 1] for t in (output, target))
    if own == given:
        return "reshape it"
    if sorted(own) == sorted(given):
        return "its dimensions come in another order: permute them"
    return "there must be one for each output of the network"


def summed(terms: Tensor) -> Tensor:
    """Return the sum over everything but the data, [n]."""
    return terms.flatten(1).sum(1) if terms.ndim > 1 else terms
