"""Which GANs can be trained at once: they differ in their weights alone, and stacked they give what each gives."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan.identity import told
from gan.losses.protocols import RunLoss
from gan.networks.generator import num_classes
from gan.penalties import Penalty, WeightClipping
from gan.stacked import Stacked
from gan.stacked_game import StackedGame
from gan.train import GAN

__all__ = ["ONE_BY_ONE", "checked", "stack_alike", "try_once"]

ONE_BY_ONE = "train the models one by one: model.fit(data, steps=..., seed=seed)"


def checked(models: object) -> list[GAN]:
    """The models, if they differ in their weights alone and can be stacked."""
    if not isinstance(models, Sequence) or not models or not all(isinstance(each, GAN) for each in models):
        kinds = (
            ", ".join(sorted({type(each).__name__ for each in models}))
            if isinstance(models, Sequence)
            else ""
        )
        got = f"{type(models).__name__} of {kinds or 'nothing'}"
        raise TypeError(f"models must be a list of GANs, got a {got}; make one for each seed")
    found = list(models)
    networks = [id(net) for model in found for net in (model.generator, model.critic) if net is not None]
    if len(set(networks)) < len(networks):
        raise ValueError("models must have networks of their own, got one twice; make new ones for each seed")
    _refuse_parts(found[0])
    for i, model in enumerate(found):
        for name, value in _told(model).items():
            if value != (wanted := _told(found[0])[name]):
                raise ValueError(
                    f"models must differ in their weights alone, and models[{i}] has the {name} {value}, models[0] "
                    f"{wanted}; {ONE_BY_ONE}"
                )
    return found


def _told(model: GAN) -> dict[str, str]:
    """What models that are stacked have in common."""
    networks = (("generator", model.generator), ("critic", model.critic))
    return {
        "loss": repr(model.loss),
        "penalties": repr(model.penalties),
        "ema": repr(model.ema),
        "settings": repr(model.recipe.settings),
        "augmentation": repr([told(each) for each in model.recipe.augment]),
        "optimizers": repr({k: told(v) for k, v in (model.recipe.optimizers or {}).items()}),
    } | {name: _architecture(network) for name, network in networks}


def _architecture(network: nn.Module | None) -> str:
    if network is None:
        return "None"
    shapes = [(name, list(t.shape), t.requires_grad, t.dtype) for name, t in network.named_parameters()]
    return f"{type(network).__name__} {shapes}"


def _refuse_parts(model: GAN) -> None:
    """Parts that cannot be stacked whatever the data are."""
    if num_classes(model.generator):
        raise ValueError(f"networks of classes cannot be stacked, got num_classes; {ONE_BY_ONE}")
    if isinstance(model.loss, RunLoss):
        raise ValueError(
            f"a loss that learns something of the data in each run cannot be stacked, got {model.loss}; {ONE_BY_ONE}"
        )
    for each in model.penalties:
        changes = (
            type(each).prepare is not Penalty.prepare or type(each).project is not Penalty.project
        ) and not isinstance(each, WeightClipping)
        if changes:
            raise ValueError(
                f"penalties that change the critic cannot be stacked, got {each}, which would see all runs' weights as "
                f"one tensor; {ONE_BY_ONE}"
            )


def stack_alike(networks: list[nn.Module], inputs: Tensor, name: str) -> Stacked:
    """The networks as one, if a pass changes nothing and gives what each gives by itself."""
    before = [{k: b.clone() for k, b in network.named_buffers()} for network in networks]
    own: list[Tensor] = []
    with torch.no_grad():
        for network, kept in zip(networks, before, strict=True):
            own.append(network(inputs))
            changed = [k for k, b in network.named_buffers() if not torch.equal(b, kept[k])]
            for key, buffer in network.named_buffers():
                buffer.copy_(kept[key])
            if changed:
                raise ValueError(
                    f"the {name} must not change its buffers at each pass to be stacked, and {changed[0]!r} changes "
                    f"(batch or spectral normalisation); {ONE_BY_ONE}"
                )
        try:
            stacked = Stacked(networks)
            found = stacked(inputs.expand(len(networks), *inputs.shape))
        except RuntimeError as error:
            raise ValueError(
                f"the {name} cannot run under torch.vmap: {str(error).splitlines()[0]}; {ONE_BY_ONE}"
            ) from error
    for i, output in enumerate(own):
        # A thousand roundings: what an attribute in Python would change is far beyond.
        allowed = 1e3 * torch.finfo(output.dtype).eps * float(output.abs().max().clamp(min=1e-30))
        if float((output - found[i]).abs().max()) > allowed:
            raise ValueError(
                f"the {name}s must differ in their parameters and buffers alone, and that of models[{i}] gives other "
                f"numbers by itself than stacked; {ONE_BY_ONE}"
            )
    return stacked


def try_once(game: StackedGame) -> None:
    """Refuse in our words a loss, a penalty or an augmentation that cannot run for all runs at once."""
    try:
        if game.critic is not None:
            value, penalty = game.critic_losses()
            torch.autograd.grad((value + penalty).sum(), game.parameters["critic"], allow_unused=True)
        torch.autograd.grad(game.generator_losses().sum(), game.parameters["generator"], allow_unused=True)
    except (RuntimeError, NotImplementedError) as error:
        parts = f"{game.loss}, {list(game.penalties)} or {list(game.augment)}"
        raise ValueError(
            f"{parts} cannot run under torch.vmap: {str(error).splitlines()[0]}; {ONE_BY_ONE}"
        ) from error
