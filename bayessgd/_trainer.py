"""A collector inside Hugging Face's `Trainer`, with resume.

The `Trainer` gives its callbacks the optimizer when training begins; the collector listens to it from there on. When a
checkpoint has been written the collector's state goes beside it, `checkpoint-*/collector.safetensors`, and when a run
goes on from a checkpoint it is read back, so that the posterior is that of a run that was never stopped.
"""

import importlib
from pathlib import Path
from typing import Any

from bayessgd.collectors._collector import Collector
from metrics import files
from metrics.inputs import check_count

__all__ = ["trainer_callback"]

FORMAT = "bayessgd collector 1"


def trainer_callback(
    collector: Collector, *, every: int = 1, start: int = 0, resume_from: str | Path | None = None
) -> Any:
    """Return a `transformers.TrainerCallback` that collects after the optimizer's steps, and resumes.

    Make the collector from the model that the `Trainer` gets. Steps are the optimizer's, so with gradient accumulation
    one is several batches; a step that a scaler skipped is no iterate.

    Args:
        collector: `SWAG`, `IterateAverage` or `Trajectory`.
        every: As `Collector.attach`.
        start: As `Collector.attach`.
        resume_from: The checkpoint folder to take the collector's state from when a run goes on. `None` is the folder
            of the step that is gone on from in `args.output_dir`, which is where the `Trainer` has it itself.

    Raises:
        ImportError: transformers is not there; `pip install transformers accelerate`.
        TypeError, ValueError: Not a collector; counts that are not as `Collector.attach` has them. While training:
            a run that goes on from a checkpoint that has no collector's state.

    References: the state is safetensors and JSON; nothing is unpickled.
    """
    if not isinstance(collector, Collector):
        raise TypeError(
            f"collector must be SWAG, IterateAverage or Trajectory, got {type(collector).__name__}; make it "
            "from the network that is trained"
        )
    every, start = check_count(every, "every"), check_count(start, "start", least=0)
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError("transformers is needed for this; pip install transformers accelerate") from error

    class Collecting(transformers.TrainerCallback):
        """Holds the collector's hook while the trainer trains."""

        def __init__(self) -> None:
            self.collector, self.handle = collector, None

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self._stop()  # what a training that failed left behind
            if state.global_step:
                folder = Path(resume_from or Path(args.output_dir) / f"checkpoint-{state.global_step}")
                _read(collector, folder / _file(collector, args), int(state.global_step))
            self.handle = collector.attach(given["optimizer"], every=every, start=start)

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if args.should_save or not collector.is_whole:
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                _write(collector, folder / _file(collector, args))

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self._stop()

        def _stop(self) -> None:
            if self.handle is not None:
                self.handle.remove()
                self.handle = None

    return Collecting()


def _file(collector: Collector, args: Any) -> str:
    return "collector.safetensors" if collector.is_whole else f"collector-{args.process_index}.safetensors"


def _write(collector: Collector, path: Path) -> None:
    state = collector.state_dict()
    rest = {key: value for key, value in state.items() if key != "tensors"}
    files.write(path, state["tensors"], {"format": FORMAT, **rest})


def _read(collector: Collector, path: Path, step: int) -> None:
    if not path.is_file():
        raise ValueError(
            f"the run goes on from step {step}, but there is no {path}; pass trainer_callback(resume_from=…) the "
            "checkpoint folder that was written with the callback, or begin anew without resume_from_checkpoint"
        )
    tensors, metadata = files.read(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} must be a {FORMAT!r}, got {metadata.get('format')!r}; it is another file")
    try:
        collector.load_state_dict({**metadata, "tensors": tensors})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} does not go on with this collector: {error}") from None
