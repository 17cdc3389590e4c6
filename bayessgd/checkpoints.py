"""A posterior from the checkpoints that a run left behind.

The iterates of training need not be collected while it runs: what was saved on the way (every epoch, every 500 steps)
is a sample of them, and each checkpoint is one update of a collector. What holds for collecting holds here: the
checkpoints should be of the stretch where the loss has levelled off, at a learning rate that is still large.

Files are read as they are, without unpickling (`bayessgd._weights`): safetensors, torch, Lightning, Hugging Face, PEFT.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor, nn
from tqdm import tqdm

from bayessgd._weights import SUFFIXES, WEIGHTS, weights_of
from bayessgd.collectors import SWAG
from bayessgd.collectors._collector import Collector
from bayessgd.params import clean_name
from bayessgd.posteriors import Posterior

__all__ = ["from_checkpoints"]

STEPS = [
    re.compile(rf"(?:{word})[=_\-. ]*(\d+)", re.I)
    for word in ("step", "iter(?:ation)?", "checkpoint|ckpt", "epoch")
]
"""What tells a checkpoint's place in the run, the surest first."""


def from_checkpoints(
    model: nn.Module,
    paths: str | Path | Iterable[str | Path],
    *,
    collector: Callable[[nn.Module], Collector] | Collector = SWAG,
    prefix: str | None = None,
    progress: bool = True,
) -> Posterior:
    """Return the posterior of a run's checkpoints, as if a collector had seen them.

    Args:
        model: The network that was trained; it is not changed. Of PEFT's, the network with its adapter.
        paths: A folder, whose checkpoints are all taken: `checkpoint-*` folders, or files of weights; or the
            checkpoints one by one. They are put in the order of the step (else the epoch, else the only number) that
            their names tell; a list of which one tells none stays in its order.
        collector: What they are updates of: a class, a function of the model such as
            `lambda net: SWAG(net, rank=0)`, or a collector of the model.
        prefix: What stands before the network's names there, as "net." in Lightning, whose module holds the network as
            `self.net`. Entries without it are not the network's.
        progress: Show a bar.

    Returns:
        `collector(model).posterior()`. For BatchNorm, whose statistics belong to each checkpoint's weights, pass
        `refresh_batchnorm` when you predict.

    Raises:
        TypeError: Not a module, paths or a collector.
        FileNotFoundError: Nothing there.
        ValueError: Fewer checkpoints than the collector needs, a folder of checkpoints without a step, weights of
            another network, NaN, files that would have to be unpickled.

    >>> import tempfile
    >>> import torch
    >>> net, folder = nn.Linear(1, 1, bias=False), Path(tempfile.mkdtemp())
    >>> for step in (1, 2, 10):
    ...     torch.save({"weight": torch.full((1, 1), float(step))}, folder / f"step_{step}.pt")
    >>> from bayessgd import Trajectory
    >>> from_checkpoints(net, folder, collector=Trajectory, progress=False).draws["weight"].flatten()
    tensor([ 1.,  2., 10.])
    """
    found = _ordered(paths)
    told = (
        collector if isinstance(collector, Collector) else collector(model) if callable(collector) else None
    )
    if not isinstance(told, Collector):
        raise TypeError(
            f"collector must be SWAG, IterateAverage or Trajectory, or a function of the model that returns one, got "
            f"{type(collector if told is None else told).__name__}"
        )
    for path in tqdm(found, desc="checkpoints", disable=None if progress else True):
        state = weights_of(path)  # whose errors name the file
        try:
            told.update(_below(state, prefix))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None
    return told.posterior()


def _below(state: dict[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    if not prefix:
        return state
    prefix = f"{prefix.rstrip('.')}."
    bare = {clean_name(name): tensor for name, tensor in state.items()}
    kept = {name.removeprefix(prefix): tensor for name, tensor in bare.items() if name.startswith(prefix)}
    if not kept:
        raise ValueError(
            f"prefix must begin some names, got {prefix!r} of {list(bare)[:5]} …; such as 'model.'"
        )
    return kept


def _ordered(paths: object) -> list[Path]:
    if isinstance(paths, str | Path):
        return _of_folder(Path(paths))
    if not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a folder or a list of checkpoints, got {type(paths).__name__}")
    given = [Path(path) for path in paths]
    if not given:
        raise ValueError("paths must not be empty, got no checkpoint; did a pattern match nothing?")
    twice = {str(path) for path in given if given.count(path) > 1}
    if twice:
        raise ValueError(f"paths must be different, got {sorted(twice)} more than once; each is one iterate")
    steps = [_step(path) for path in given]
    known = [step for step in steps if step is not None]
    return (
        given
        if len(known) < len(given)
        else [path for _, path in sorted(zip(known, given, strict=True), key=_first)]
    )


def _first(pair: tuple[int, Path]) -> int:
    return pair[0]


def _of_folder(folder: Path) -> list[Path]:
    if not folder.exists():
        raise FileNotFoundError(f"no checkpoints at {folder}; check the path")
    if folder.is_file() or any((folder / name).is_file() for name in WEIGHTS if not _steps_in(folder)):
        return [folder]
    found = _steps_in(folder) or [p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no checkpoints in {folder}; it must hold checkpoint-* folders or files {', '.join(SUFFIXES)}"
        )
    by_step: dict[int, Path] = {}
    for path in sorted(found):
        step = _step(path)
        if step is None or step in by_step:
            why = "tells no step" if step is None else f"has the step of {by_step[step].name}"
            raise ValueError(
                f"paths must be a folder whose checkpoints tell their steps, but {path.name} {why}; pass a list of "
                "those that you mean"
            )
        by_step[step] = path
    return [by_step[step] for step in sorted(by_step)]


def _steps_in(folder: Path) -> list[Path]:
    """Return Hugging Face's folders in it."""
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def _step(path: Path) -> int | None:
    """Return the step that a checkpoint's name tells, or its folder's."""
    for name in (path.stem if path.suffix in SUFFIXES else path.name, path.parent.name):
        for pattern in STEPS:
            told = pattern.findall(name)
            if told:
                return int(told[-1])
        numbers = re.findall(r"\d+", name)
        if len(numbers) == 1:
            return int(numbers[0])
        if numbers or path.name not in WEIGHTS:
            return None
    return None
