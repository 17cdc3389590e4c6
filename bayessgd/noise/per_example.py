r"""Per-example gradients: one gradient for every datum of a batch, by `vmap` over `grad`.

For a loss ℓ and a network f the gradient of datum i is g_i = ∇_θ ℓ(f(x_i; θ), y_i). The loss is called with
a batch of one, so that any loss of `torch.nn.functional` will do, whatever its reduction: the mean and the
sum over one datum are the same. It may return a 0-dim tensor or one entry `[1]`.

The model is a plain `nn.Module`, called through `torch.func.functional_call` and never changed. Its frozen
parameters and its buffers are constants. A layer that mixes the data of a batch (BatchNorm in training mode)
has no per-example gradient, and one that draws (Dropout in training mode) has a random one: both are
refused, and `model.eval()` settles both.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from bayessgd._data import gathered
from bayessgd._evaluating import Attributes
from bayessgd._functional import elementary
from bayessgd._inputs import Inputs, Output, Targets, call, mapped, parted, rows, size
from bayessgd._over import over, telling
from bayessgd.batches import Data
from bayessgd.params import clean_name, named_parameters, unwrap
from metrics.precision import full_precision

__all__ = ["Examples", "Loss", "check_deterministic", "per_example_gradients", "single", "trainable"]

Loss = Callable[..., Tensor]
"""From the output and the target of one batch to its loss, as `torch.nn.functional.cross_entropy`."""


@full_precision
def per_example_gradients(
    model: nn.Module,
    loss: Loss,
    x: Data,
    y: Targets | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    output: Output | None = None,
) -> dict[str, Float[Tensor, "n ..."]]:
    """g_i = ∇_θ ℓ(f(x_i; θ), y_i) for every datum, a tensor `[n, ...]` for each trainable parameter.

    Args:
        model: A plain network, in eval mode if it has BatchNorm or Dropout.
        loss: `loss(output, target)` of a batch of one: a 0-dim tensor or `[1]`.
        x: The inputs `[n, ...]`: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: The targets `[n, ...]`; `None` where x brings them.
        params: θ, where it is not the model's own.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.

    Returns:
        Names to gradients, in the order of `model.named_parameters()`. n times the memory of the parameters:
        see `gradient_noise` for large ones.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    Warns:
        UserWarning: The data run one by one, for the network cannot run under `vmap`.

    >>> import torch
    >>> model = nn.Linear(1, 1, bias=False)
    >>> theta = {"weight": torch.tensor([[2.0]])}
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    >>> per_example_gradients(model, nn.functional.mse_loss, x, y, params=theta)["weight"].flatten()  # 2 θ x²
    tensor([ 4., 36.])
    """
    examples = Examples(model, loss, x, y, output)
    with telling():
        theta = {name: value.clone() for name, value in trainable(model, params).items()}
        return examples.gradients(theta, slice(None))


class Examples:
    """The loss of single data of a network, as a function of its parameters.

    Args:
        model: The network.
        loss: Of a batch of one.
        x: As `per_example_gradients`.
        y: As `per_example_gradients`.
        output: As `per_example_gradients`.
    """

    def __init__(
        self, model: nn.Module, loss: Loss, x: Data, y: Targets | None, output: Output | None
    ) -> None:
        check_deterministic(model)
        self.inputs, self.targets = gathered(model, x, y)
        self.network, self.loss, self.output = unwrap(model), loss, output
        self._own = {clean_name(name): name for name, _ in self.network.named_parameters()}
        self._input, self._target = parted(self.inputs)[1], parted(self.targets)[1]

    def __len__(self) -> int:
        return size(self.targets)

    def part(self, which: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return some inputs and targets as dicts of tensors, as `value` takes them one by one."""
        return parted(rows(self.inputs, which))[0], parted(rows(self.targets, which))[0]

    def outputs(self, theta: Mapping[str, Tensor], x: Mapping[str, Tensor]) -> Tensor:
        """Return f(x_i; θ) of one datum, as a batch of one."""
        state = {self._own[name]: value for name, value in theta.items()}
        buffers = {name: b.clone() for name, b in self.network.named_buffers()}
        # Copies: a forward pass that writes into its input must not write into the user's.
        given: Inputs = self._input(mapped(x, lambda t: t[None].clone()))
        return call(self.network, buffers | state, given, self.output)

    def of_output(self, output: Tensor, y: Mapping[str, Tensor]) -> Tensor:
        """Return ℓ of the output of one datum, [1, ...], a 0-dim tensor."""
        return single(self.loss(output, self._target(mapped(y, lambda t: t[None]))))

    def value(self, theta: Mapping[str, Tensor], x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> Tensor:
        """Return ℓ(f(x_i; θ), y_i) of one datum without its batch dimension, a 0-dim tensor."""
        return self.of_output(self.outputs(theta, x), y)

    def _gradient(self, theta: dict[str, Tensor], x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> Any:
        """Return g_i by autograd's tape, which also follows a network that writes into its own parameters."""
        with torch.enable_grad():
            leaves = {name: value.detach().clone().requires_grad_() for name, value in theta.items()}
            value = self.value(leaves, x, y)
            if not value.requires_grad:
                return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        pairs = zip(leaves.items(), found, strict=True)
        return {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}

    def gradients(self, theta: dict[str, Tensor], which: slice) -> dict[str, Tensor]:
        """Return g_i of some data, [n, *shape] by name."""
        x, y = self.part(which)
        attributes = Attributes(self.network)
        try:
            with elementary():
                return over(
                    grad(self.value),
                    (theta, x, y),
                    (None, 0, 0),
                    what="data",
                    before=attributes.restore,
                    alone=self._gradient,
                )
        finally:
            attributes.restore()


def trainable(model: nn.Module, params: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return the trainable parameters by name, detached, with the values of `params` where it names them.

    >>> list(trainable(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    theta = {name: value.detach() for name, value in named_parameters(model).items()}
    if params is None:
        return theta
    if not isinstance(params, Mapping):
        raise TypeError(f"params must map names to tensors, got {type(params).__name__}")
    for name, value in params.items():
        if name not in theta:
            raise ValueError(f"params must name trainable parameters, got {name!r}; there are {list(theta)}")
        if value.shape != theta[name].shape:
            raise ValueError(
                f"params[{name!r}] must have shape {list(theta[name].shape)}, got {list(value.shape)}"
            )
        theta[name] = value.detach()
    return theta


def single(value: Tensor) -> Tensor:
    """Return the loss of a batch of one as a 0-dim tensor."""
    if value.numel() != 1:
        raise ValueError(
            f"loss must return one number for one datum, got shape {list(value.shape)}; sum over its outputs"
        )
    return value.reshape(())


def check_deterministic(model: object) -> None:
    """Refuse a model without per-example gradients."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"model must not mix the data of a batch, got {type(module).__name__} with batch statistics "
                f"at {name!r}; call model.eval()"
            )
        if module.training and _draws(module):
            raise ValueError(
                f"model must be deterministic, got {type(module).__name__} in training mode at {name!r}; "
                f"call model.eval()"
            )


def _draws(module: nn.Module) -> bool:
    """Return whether a layer is random in training mode."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU)
