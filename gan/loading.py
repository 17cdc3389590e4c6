"""A model back from its file."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan import networks
from gan.history import History
from gan.storage import FORMAT, built, fill, made, part_of_file
from gan.train import GAN
from metrics import files

__all__ = ["load"]


def load(
    path: str | Path,
    *,
    generator: nn.Module | None = None,
    critic: nn.Module | None = None,
    loss: Any = None,
) -> GAN:
    """Return the model in a file that `GAN.save` wrote, on the CPU, ready to sample.

    Args:
        path: The file.
        generator: A module of the same architecture, where the generator was one's own; its weights are replaced.
        critic: As the generator. Without one a model that had a critic of one's own samples, and does not train on.
        loss: The loss, where it was one's own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another file, or a network or loss of one's own that was not given; the message names it.
    """
    tensors, told = files.read(path)
    if told.get("format") != FORMAT:
        raise ValueError(f"{path} is no model of GAN.save; a checkpoint goes to GAN.fit(checkpoint=...)")
    calls = told["built"]
    assert isinstance(calls, dict)
    state = {name: part_of_file(tensors, name) for name in ("generator", "critic", "average")}
    generator = generator or built(calls["generator"])
    if generator is None:
        raise ValueError(
            f"{path} has a generator of your own; pass generator=, a module of the same architecture"
        )
    critic = critic or built(calls["critic"])
    loss = loss or made(told["loss"])
    if loss is None:
        raise ValueError(f"{path} has a loss of your own; pass loss=")
    punished = [made(each) for each in told["penalties"]]  # pyright: ignore[reportGeneralTypeIssues]
    if critic is not None:
        for each in punished:
            if each is not None:
                each.prepare(critic)
        fill(critic, state["critic"], "critic", path)
    elif state["critic"]:
        critic = _Missing(networks.num_classes(generator))
    fill(generator, state["generator"], "generator", path)
    kept, ema = [each for each in punished if each is not None], told["ema"]
    assert isinstance(ema, float)
    model = GAN(generator, critic, loss=loss, penalties=kept, ema=ema)
    if state["average"]:
        model.averaged = AveragedModel(generator)
        fill(model.averaged.module, state["average"], "generator", path)
    model.history = History()
    model.history.extend(tensors["history"])
    model.class_counts = tensors.get("class_counts")
    return model


class _Missing(nn.Module):
    """In the place of a critic of one's own that was not given."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.num_classes = classes

    def forward(self, *_: Tensor) -> Tensor:
        raise ValueError(
            "this model was loaded without its critic; pass gan.load(path, critic=...) to train on"
        )
