"""Draws evaluated at inputs, a chunk at a time: together under `vmap` where that can be, else one by one.

A forward pass gets copies of all that it might write to: buffers anew for every pass, parameters unless the draw was
made for it. So no draw sees what another left behind, results do not depend on the chunks, and the network and the
posterior stay as they are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from bayessgd._evaluating import Attributes, evaluating
from bayessgd._functional import State, of_network
from bayessgd._inputs import Inputs, Output, arguments, call, mapped, moved, size, tensors
from bayessgd._over import over, warn
from bayessgd._sequence import Sequence
from bayessgd._spectral import needs_vectors, vectors
from bayessgd._unfit import telling_unfit
from bayessgd.batches import Data
from bayessgd.batchnorm import fresh_statistics, refresh_batches, refreshing, statistics, too_few
from bayessgd.params import check_shaped, clean_name
from bayessgd.posteriors import Ensemble
from bayessgd.posteriors.base import Draws, Posterior

__all__ = ["State", "chunk_of", "evaluate", "of_network", "stream", "warn_of_statistics"]

# For what the draws of one chunk compute: beyond its cache a CPU loses more time to memory than it saves in
# calls. Constants, so that the bits do not depend on what else runs.
BUDGET_BYTES = {"cpu": 2**22}
OTHER_BUDGET_BYTES = 2**30
WEIGHTS_BYTES = 2**26
"""For the draws of one chunk themselves, on a CPU; elsewhere `OTHER_BUDGET_BYTES`."""


def stream(
    network: nn.Module,
    posterior: Any,
    batches: list[Inputs],
    *,
    count: int,
    generator: torch.Generator | None = None,
    output: Output | None = None,
    refresh: Data | None = None,
    chunk_size: int | None = None,
) -> Iterator[tuple[int, Draws, Tensor]]:
    """Yield f(x; θᵢ) of chunk after chunk of draws, and of each chunk for every batch of inputs.

    Args:
        network: The bare module.
        posterior: Anything with `sample(n, generator=)`.
        batches: The inputs.
        count: How many draws.
        generator: Their randomness.
        output: Picks a tensor from what the network returns.
        refresh: Data for BatchNorm's statistics of each draw; `None` leaves the draw's or the network's.
        chunk_size: How many draws run at once; `None` is what `chunk_of` says.

    Yields:
        The number of the batch, the draws of the chunk, and their outputs [chunk, batch, ...].
    """
    check_shaped(network)
    own = {clean_name(name): p for name, p in network.named_parameters()}
    if isinstance(posterior, Posterior):
        shapes = {name: own[name] for name in posterior.names if name in own}
        chunk = chunk_size or chunk_of(shapes or own, batches[0])
        source = posterior.stream(count, min(chunk, count), generator=generator)
    else:
        bank = posterior.sample(count, generator=generator)
        chunk = chunk_size or chunk_of({name: t[0] for name, t in bank.items()}, batches[0])
        source = Ensemble(bank).stream(count, min(chunk, count))
    with evaluating(network) as attributes:
        run: _Run | None = None
        for draws in source:
            state = of_network({**draws.parameters, **draws.buffers}, network)
            if run is None or run.names != list(state):  # components of a mixture may differ in their buffers
                run = _Run(network, list(state), batches, output, refresh, attributes)
            for i, found in enumerate(run(state, fresh=draws.fresh)):
                yield i, draws, found
                del found
            del draws, state  # or they would be there beside the next ones


def evaluate(
    network: nn.Module,
    draws: State,
    inputs: Inputs,
    refresh: Data | None = None,
    chunk_size: int | None = None,
    output: Output | None = None,
) -> Tensor:
    """Return f(x; θᵢ) of a bank of draws by the network's names, [draws, batch, ...]."""
    bank = Ensemble({clean_name(name): t for name, t in draws.items()})
    found = stream(
        network, bank, [inputs], count=len(bank), refresh=refresh, chunk_size=chunk_size, output=output
    )
    return torch.cat([outputs for _, _, outputs in found])


class _Run:
    """A network over its inputs, for chunk after chunk of draws of the same names."""

    def __init__(
        self,
        network: nn.Module,
        names: list[str],
        batches: list[Inputs],
        output: Output | None,
        refresh: Data | None,
        attributes: Attributes,
    ) -> None:
        self.network, self.batches, self.output, self.attributes = network, batches, output, attributes
        self.names = names
        self.statistics = statistics(network) if refresh is not None else []
        self.refresh = refresh if self.statistics else None
        given = {*names, *self.statistics, *needs_vectors(network, names)}
        self.frozen = {n: p.detach() for n, p in network.named_parameters() if n not in given}
        self.buffers = {n: b.detach() for n, b in network.named_buffers() if n not in given}
        self.lent = _Lent()
        self.chunk: _Lent | None = None
        self.parameters = {name for name, _ in network.named_parameters()}
        self.sequence = Sequence.of(network, given)
        self.starts: dict[int, Any] = {}
        # A used iterator has nothing left for the second chunk.
        if isinstance(self.refresh, Iterator):
            self.refresh = list(self.refresh)

    def __call__(self, state: State, *, fresh: bool) -> Iterator[Tensor]:
        plain = [self._is_plain(i) for i in range(len(self.batches))]
        if not all(plain):
            state = state | vectors(self.network, state)
            # A draw made for a single pass needs no copy.
            self.chunk = _Lent() if not fresh or self.refresh is not None or len(plain) > 1 else None
            if self.refresh is not None:
                state |= self._refreshed(state, self.refresh)
        for i, x in enumerate(self.batches):
            if plain[i] and self.sequence is not None:
                yield self.sequence.perceptron(state, self.starts[i])
            else:
                yield self._over(lambda own, i=i, x=x: self._forward(own, i, x), state)

    def _over(self, function: Callable[[State], Any], state: State) -> Any:
        lent = state if self.chunk is None else self.chunk.of(state)
        return over(function, (lent,), (0,), before=self.attributes.restore)

    def _forward(self, own: State, i: int, x: Inputs) -> Tensor:
        state = self._whole(own)
        if self.sequence is None:
            return call(self.network, state, self.lent.of(x), self.output)
        with self._telling(i):
            return self.sequence.rest(state, self.lent.of(self.starts[i]), self.output)

    def _telling(self, i: int) -> AbstractContextManager[None]:
        return telling_unfit(self.network, *arguments(self.batches[i]))

    def _is_plain(self, i: int) -> bool:
        """Return whether a batch takes the short way; the frozen layers in front see it once for all draws."""
        if self.sequence is None:
            return False
        if i not in self.starts:
            given = self.lent.of(self.batches[i])
            with self._telling(i):
                self.starts[i] = self.sequence.start(self._whole({}), given)
        return self.output is None and self.sequence.is_plain(self.starts[i])

    def _whole(self, own: State) -> State:
        """Return a draw with what it leaves out: the network's own, as copies that a pass may write to."""
        frozen = {name: self.lent.of(p) for name, p in self.frozen.items()}
        buffers = {name: b.clone() for name, b in self.buffers.items()}
        kept = {name: t if name in self.parameters else t.clone() for name, t in own.items()}
        return frozen | buffers | kept

    def _refreshed(self, state: State, data: Data) -> State:
        """Return BatchNorm's statistics for each draw after one pass over the data, [draws, *shape] by name."""
        found = fresh_statistics(self.network, len(next(iter(state.values()))))
        device = next(iter(found.values())).device
        with refreshing(self.network) as refresh:
            for inputs in refresh_batches(data, self.network):
                given = moved(inputs, device)
                refresh.next_batch(size(given))
                found = self._over(lambda own, given=given: self._after(own, given), state | found)
        if not refresh.seen:
            raise ValueError(
                "refresh_batchnorm must yield batches, got none; pass a loader, not a used iterator"
            )
        return found

    def _after(self, own: State, given: Inputs) -> State:
        # BatchNorm writes into what it is given: copies, so that a pass that fails half-way has changed nothing.
        state = self._whole(own)
        copies = {name: state[name] for name in self.statistics}
        with too_few():
            call(self.network, state, given, lambda _: next(iter(copies.values())))
        return copies


class _Lent:
    """Copies of tensors, made anew once one was written to."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[Tensor, Tensor, int]] = {}

    def of(self, x: Any) -> Any:
        """Return the data with a copy in the place of every tensor."""
        return mapped(x, self._of)

    def _of(self, tensor: Tensor) -> Tensor:
        known = self._copies.get(id(tensor))
        if known is not None and not known[1].is_inference() and known[1]._version == known[2]:
            return known[1]
        copy = tensor.detach().clone()
        self._copies[id(tensor)] = (tensor, copy, 0 if copy.is_inference() else copy._version)
        return copy


def warn_of_statistics(network: nn.Module, given: Iterable[str]) -> None:
    """Warn where running statistics belong to the network's own weights and not to the draws."""
    means = {name for name in statistics(network) if name.endswith(("running_mean", "running_var"))}
    missing = {clean_name(name) for name in means} - set(given)
    if missing:
        warn(
            "statistics",
            "model has BatchNorm, whose running statistics belong to its own weights and not to the draws of "
            "the posterior; pass refresh_batchnorm=train_loader, or keep each member's own by Ensemble.of_modules",
        )


def chunk_of(shapes: Mapping[str, Tensor], inputs: Inputs) -> int:
    """Return how many draws fit the budget, by an estimate that is on the large side.

    A weight [out, ...] makes `out` numbers at every position of every example, twice with its nonlinearity.
    Positions are those of the input: one for features, the grid for images, the length for sequences.

    Args:
        shapes: Tensors of the shapes of one draw.
        inputs: The inputs of one pass.
    """
    x = next(iter(tensors(inputs).values()))
    if x.ndim >= 3:
        positions = max(prod(x.shape[2:]), prod(x.shape[1:-1]))
    else:
        positions = 1 if x.is_floating_point() or not len(x) else x[0].numel()
    outputs = sum(t.shape[0] for t in shapes.values() if t.ndim > 1)
    width = max(t.element_size() for t in shapes.values())
    weights = sum(t.numel() * t.element_size() for t in shapes.values())
    room = WEIGHTS_BYTES if x.device.type == "cpu" else OTHER_BUDGET_BYTES
    budget = BUDGET_BYTES.get(x.device.type, OTHER_BUDGET_BYTES)
    return max(1, min(budget // (width * max(1, 2 * len(x) * positions * outputs)), room // max(1, weights)))
