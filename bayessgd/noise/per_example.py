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

from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from bayessgd._data import check_data
from bayessgd.params import named_parameters, unwrap

__all__ = ["Loss", "example_loss", "per_example_gradients", "trainable"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""From the output and the target of one batch to its loss, as `torch.nn.functional.cross_entropy`."""


def per_example_gradients(
    model: nn.Module,
    loss: Loss,
    x: Shaped[Tensor, "n ..."],
    y: Shaped[Tensor, "n ..."],
    *,
    params: Mapping[str, Tensor] | None = None,
) -> dict[str, Float[Tensor, "n ..."]]:
    """g_i = ∇_θ ℓ(f(x_i; θ), y_i) for every datum, a tensor `[n, ...]` for each trainable parameter.

    Args:
        model: A plain network, in eval mode if it has BatchNorm or Dropout.
        loss: `loss(output, target)` of a batch of one: a 0-dim tensor or `[1]`.
        x: The inputs `[n, ...]`.
        y: The targets `[n, ...]`.
        params: θ, where it is not the model's own; names to tensors.

    Returns:
        Names to gradients, in the order of `model.named_parameters()`. n times the memory of the parameters:
        see `gradient_noise` for large ones.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> import torch
    >>> model = nn.Linear(1, 1, bias=False)
    >>> theta = {"weight": torch.tensor([[2.0]])}
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    >>> per_example_gradients(model, nn.functional.mse_loss, x, y, params=theta)["weight"].flatten()  # 2 θ x²
    tensor([ 4., 36.])
    """
    check_batch(model, x, y)
    theta = trainable(model, params)
    return vmap(grad(example_loss(model, loss)), in_dims=(None, 0, 0))(theta, x, y)


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


def example_loss(model: nn.Module, loss: Loss) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    """Return (θ, x_i, y_i) ↦ ℓ(f(x_i; θ), y_i), a 0-dim tensor, for one datum without its batch dimension."""
    network = unwrap(model)

    def value(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return single(loss(functional_call(network, theta, (x[None],)), y[None]))

    return value


def single(value: Tensor) -> Tensor:
    """Return the loss of a batch of one as a 0-dim tensor."""
    if value.numel() != 1:
        raise ValueError(
            f"loss must return one number for one datum, got shape {list(value.shape)}; sum over its outputs"
        )
    return value.reshape(())


def check_batch(model: object, x: object, y: object) -> None:
    """Refuse a model without per-example gradients, and a batch whose parts do not match."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    check_data(x, y)
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"model must not mix the data of a batch, got {type(module).__name__} with batch statistics "
                f"at {name!r}; call model.eval()"
            )
        if module.training and isinstance(module, _DropoutNd) and module.p > 0:
            raise ValueError(
                f"model must be deterministic, got {type(module).__name__} in training mode at {name!r}; "
                f"call model.eval()"
            )
