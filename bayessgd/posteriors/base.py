"""What every posterior can do.

A posterior is a law over a network's trainable parameters θ. Whatever made it (averaged iterates, SWAG,
Langevin chains, independent runs), it speaks of θ as a dict from name to tensor, draws whole networks, and
lives on disk in one safetensors file. It never touches a module: `predict` puts its draws through one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayessgd.batches import Data
from bayessgd.posteriors._module import with_values
from metrics import files
from metrics.inputs import check_count
from metrics.precision import full_precision

__all__ = ["FORMAT", "Draws", "Packed", "Posterior", "check_named", "randn"]

FORMAT = "bayessgd posterior 1"


@dataclass(frozen=True)
class Packed:
    """A posterior as a file holds it: its kind, its tensors by name, and the rest as JSON."""

    kind: str
    tensors: dict[str, Tensor]
    rest: dict[str, object]


@dataclass(frozen=True)
class Draws:
    """Some draws: parameters and, where they have their own, buffers; both from name to [n, *shape]."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor] = field(default_factory=dict)
    fresh: bool = False
    """Whether nobody else holds the parameters, so that they may be written to."""

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))


class Posterior(ABC):
    """A law over the trainable parameters of a network."""

    USUAL = 30
    """Draws where nobody asks for a number."""

    @property
    def names(self) -> list[str]:
        """The parameters' names, in their order."""
        return list(self.mean)

    @property
    def usual_samples(self) -> int:
        """How many draws `predict` takes unless it is told: every point of points once, else 30."""
        return self.USUAL

    def stream(self, n: int, size: int, *, generator: torch.Generator | None = None) -> Iterator[Draws]:
        """Yield the draws of `sample(n)` with their buffers, at most `size` at a time, which changes no number."""
        bank = self.sample(n, generator=generator)
        for start in range(0, n, size):
            yield Draws({name: t[start : start + size] for name, t in bank.items()})

    @property
    @abstractmethod
    def mean(self) -> dict[str, Tensor]:
        """E[θ], from name to [*shape]."""

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return n draws of θ, from name to [n, *shape].

        Args:
            n: How many draws.
            generator: The randomness; `None` is torch's default generator. It may live on another device.
        """

    @abstractmethod
    def log_prob(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return the log density of θ in nats, [...] for a dict of [..., *shape]."""

    @abstractmethod
    def to_distribution(self) -> Distribution:
        """Return the same law of the flat vector [P] (`bayessgd.params.flatten`); never a P × P matrix."""

    @abstractmethod
    def to(
        self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Posterior":
        """Return the posterior on another device or in another floating type; this one stays."""

    @abstractmethod
    def pack(self) -> Packed:
        """Return what a file must hold for `bayessgd.load` to make the posterior again."""

    @full_precision
    def module(
        self,
        model: nn.Module,
        *,
        draw: int | None = None,
        refresh_batchnorm: Data | None = None,
    ) -> nn.Module:
        """Return the averaged network, or one draw, as an ordinary module: to save, to export or to serve.

        A copy of the bare network in evaluation mode (what compiles or wraps it is left behind), with the posterior's
        values; what the posterior does not name is the network's own. The network and the posterior stay as they are.

        Args:
            model: The network that the posterior was collected from, or one like it.
            draw: Draw i of an `Ensemble`; `None` is the mean.
            refresh_batchnorm: Batches for BatchNorm's statistics, which belong to the weights: they become means over
                these data. The first entry of a batch that is a tuple or a list is the input; a dict is keywords.

        Raises:
            TypeError: Not a module, or a draw of a posterior that has no numbered draws.
            ValueError: A network of other parameters, a draw that is not there, or no batches.

        Warns:
            UserWarning: The network has BatchNorm's running statistics and nothing made them for these weights.

        >>> from bayessgd import Ensemble
        >>> law = Ensemble({"weight": torch.tensor([[[1.0]], [[3.0]]])})
        >>> net = nn.Linear(1, 1, bias=False)
        >>> law.module(net)(torch.ones(1, 1)), law.module(net, draw=1)(torch.ones(1, 1))
        (tensor([[2.]], grad_fn=<MmBackward0>), tensor([[3.]], grad_fn=<MmBackward0>))
        """
        if draw is None:
            return with_values(model, self.mean, refresh_batchnorm, mean=True)
        draws: dict[str, Tensor] | None = getattr(self, "draws", None)
        if draws is None:
            raise TypeError(
                f"draw must be None for a {type(self).__name__}, whose draws have no numbers; keep some, "
                "bank = Ensemble(posterior.sample(n)), and call bank.module(model, draw=i)"
            )
        index = check_count(draw, "draw", least=0, below=len(next(iter(draws.values()))))
        chosen = {name: t[index] for name, t in [*draws.items(), *getattr(self, "buffers", {}).items()]}
        return with_values(model, chosen, refresh_batchnorm, mean=False)

    def save(self, path: str | Path) -> None:
        """Write the posterior to one safetensors file, whole or not at all; `bayessgd.load` reads it.

        Under FSDP or DDP, where every process holds the same posterior, call it on one of them.
        """
        packed = self.pack()
        files.write(path, packed.tensors, {"format": FORMAT, "kind": packed.kind, "rest": packed.rest})


def check_named(
    tensors: object, name: str, *, like: Mapping[str, Tensor] | None = None, lead: int = 0
) -> None:
    """Refuse what is not a dict from name to finite floating tensors, of `like`'s names and shapes.

    Args:
        tensors: What the user passed.
        name: The argument's name, for the message.
        like: The dict whose names and shapes it must have, after `lead` leading dimensions.
        lead: How many leading dimensions it has; all tensors must agree on them.
    """
    if not isinstance(tensors, Mapping) or not tensors:
        raise TypeError(f"{name} must be a dict from parameter name to tensor, got {type(tensors).__name__}")
    for key, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name}[{key!r}] must be a floating tensor, got {kind}; convert with .float()")
        if tensor.is_meta:
            raise TypeError(
                f"{name}[{key!r}] must hold numbers, got a tensor on the meta device; take a real one"
            )
        if tensor.ndim < lead:
            raise ValueError(f"{name}[{key!r}] must have shape [n, ...], got {list(tensor.shape)}")
        # The extremes show NaN and infinity without a mask of the tensor's size: it may be a mapped file.
        if tensor.numel() and not all(bool(t.isfinite()) for t in tensor.detach().aminmax()):
            raise ValueError(
                f"{name}[{key!r}] must be finite, got NaN or infinity; did the training diverge?"
            )
    leads = {tuple(tensor.shape[:lead]) for tensor in tensors.values()}
    if len(leads) > 1:
        raise ValueError(f"{name} must have the same number of draws in every tensor, got {sorted(leads)}")
    if like is None:
        return
    if list(tensors) != list(like):
        raise ValueError(f"{name} must have the names {list(like)} in that order, got {list(tensors)}")
    for key, tensor in tensors.items():
        if tensor.shape[lead:] != like[key].shape:
            raise ValueError(
                f"{name}[{key!r}] must have the shape {list(like[key].shape)} of the mean, got "
                f"{list(tensor.shape[lead:])}"
            )


def without_graph(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without what they were computed from: a posterior has no gradient, and may be copied."""
    return {name: t.detach() for name, t in tensors.items()}


def check_draws(n: object) -> int:
    """Return the number of draws that was asked for."""
    return check_count(n, "n")


def randn(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard normals of `like`'s type on its device, drawn where the generator lives."""
    device = like.device if generator is None else generator.device
    return torch.randn(shape, dtype=like.dtype, device=device, generator=generator).to(like.device)
