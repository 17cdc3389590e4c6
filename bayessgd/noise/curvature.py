r"""The curvature A of a mean loss, as products A v that cost two gradients and no matrix.

With L(θ) = (1/n) Σ_i ℓ(f(x_i; θ), y_i), J_i = ∂f(x_i)/∂θ and Λ_i = ∂²ℓ/∂f²,

    Hessian          A v = d/dt ∇L(θ + t v)          forward over reverse (Pearlmutter 1994, eq. 4)
    Gauss–Newton     A v = (1/n) Σ_i J_iᵀ Λ_i J_i v   (Schraudolph 2002, section 3)

Gauss–Newton is positive semi-definite for a loss that is convex in the output, equals the Fisher information
for the likelihoods of exponential families in their natural parameters (softmax, Bernoulli, a Gaussian
mean), and differs from the Hessian by the curvature of the network times the residuals. A Gaussian prior of
precision λ on N data adds λ/N to both: `damping`.

`matrix` forms A where there are few parameters, `diagonal` its diagonal, and `bayessgd.noise.lanczos` its
spectrum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from bayessgd._evaluating import Attributes
from bayessgd._functional import elementary
from bayessgd._inputs import Output, Targets
from bayessgd._over import quietly, together
from bayessgd.batches import Data
from bayessgd.noise.per_example import Examples, Loss, trainable
from bayessgd.params import flatten, unflatten
from metrics.inputs import check_count, check_number, check_tensor, repeatable
from metrics.precision import full_precision

__all__ = ["Curvature", "gauss_newton", "hessian"]

# 4096² float64 are 128 MiB, and as many products as there are parameters.
LARGEST = 4096

Theta = dict[str, Tensor]


@dataclass(frozen=True)
class Curvature:
    """A symmetric matrix known by its products.

    Args:
        product: v ↦ A v, flat vectors `[p]` in the order of `model.named_parameters()`.
        size: p.
        like: A tensor of the type and on the device of the vectors.

    >>> A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> curvature = Curvature(lambda v: A @ v, size=2, like=A)
    >>> curvature.matrix(), curvature.diagonal()
    (tensor([[2., 1.],
            [1., 3.]]), tensor([2., 3.]))
    """

    product: Callable[[Tensor], Tensor]
    size: int
    like: Tensor

    def matrix(self) -> Float[Tensor, "p p"]:
        """Return A `[p, p]`, by one product for each column.

        Raises:
            ValueError: If p is above 4096.
        """
        if self.size > LARGEST:
            raise ValueError(
                f"matrix must have at most {LARGEST} rows to be formed, got {self.size} parameters; "
                f"use .diagonal(num_probes=...) or bayessgd.noise.lanczos"
            )
        eye = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        columns = torch.stack([self.product(column) for column in eye])
        return (columns + columns.mT) / 2

    def diagonal(
        self, *, num_probes: int | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, " p"]:
        """Return the diagonal of A `[p]`.

        Args:
            num_probes: `None` for the exact diagonal, by p products. A number for Hutchinson's unbiased
                estimate mean(z ⊙ A z) over that many random signs z (Bekas et al. 2007), whose variance at
                entry i is Σ_{j≠i} A_ij² / num_probes.
            generator: What draws the signs; `None` is seeded with 0.
        """
        if num_probes is None:
            total = torch.zeros(self.size, dtype=self.like.dtype, device=self.like.device)
            for i in range(self.size):
                unit = torch.zeros_like(total)
                unit[i] = 1
                total[i] = self.product(unit)[i]
            return total
        count = check_count(num_probes, "num_probes")
        source = repeatable(generator, self.like.device)
        total = torch.zeros(self.size, dtype=self.like.dtype, device=self.like.device)
        for _ in range(count):
            bits = torch.randint(2, (self.size,), device=self.like.device, generator=source)
            z = 2 * bits.to(self.like.dtype) - 1
            total += z * self.product(z)
        return total / count


@full_precision
def hessian(
    model: nn.Module,
    loss: Loss,
    x: Data,
    y: Targets | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    damping: float | int = 0.0,
    chunk_size: int | None = None,
    output: Output | None = None,
) -> Curvature:
    """The Hessian of the mean loss, plus `damping` times the identity.

    Args:
        model: A plain network, in eval mode if it has BatchNorm or Dropout; it is not changed.
        loss: `loss(output, target)` of a batch of one, as `per_example_gradients` takes it.
        x: The inputs `[n, ...]`: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: The targets `[n, ...]`; `None` where x brings them.
        params: θ, where it is not the model's own.
        damping: What the prior adds: λ/N for `GaussianPrior(precision=λ)`.
        chunk_size: How many data pass at once; `None` for all.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.

    Raises:
        TypeError, ValueError: If an argument is not as above.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    >>> hessian(model, nn.functional.mse_loss, x, y).matrix()  # 2 mean x²
    tensor([[10.]])
    """
    examples = Examples(model, loss, x, y, output)
    one = vmap(examples.value, in_dims=(None, 0, 0))

    def chunk_product(theta: Theta, v: Theta, x: Theta, y: Theta) -> Theta:
        return jvp(grad(lambda t: one(t, x, y).sum()), (theta,), (v,))[1]

    return _curvature(chunk_product, model, examples, params, damping, chunk_size)


@full_precision
def gauss_newton(
    model: nn.Module,
    loss: Loss,
    x: Data,
    y: Targets | None = None,
    *,
    params: Mapping[str, Tensor] | None = None,
    damping: float | int = 0.0,
    chunk_size: int | None = None,
    output: Output | None = None,
) -> Curvature:
    """The Gauss–Newton matrix of the mean loss, plus `damping` times the identity.

    Arguments and errors are those of `hessian`; the two agree for a network that is linear in its parameters.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)
    >>> gauss_newton(model, nn.functional.mse_loss, x, y).matrix()
    tensor([[10.]])
    """
    examples = Examples(model, loss, x, y, output)
    one = vmap(examples.of_output)

    def chunk_product(theta: Theta, v: Theta, x: Theta, y: Theta) -> Theta:
        def network(t: Theta) -> Tensor:
            return vmap(lambda row: examples.outputs(t, row))(x)

        pair = jvp(network, (theta,), (v,))
        output, pushed = pair[0], pair[1]
        curved = jvp(grad(lambda out: one(out, y).sum()), (output,), (pushed,))[1]
        pull = vjp(network, theta)[1]
        return pull(curved)[0]

    return _curvature(chunk_product, model, examples, params, damping, chunk_size)


def _curvature(
    chunk_product: Callable[[Theta, Theta, Theta, Theta], Theta],
    model: nn.Module,
    examples: Examples,
    params: Mapping[str, Tensor] | None,
    damping: float | int,
    chunk_size: int | None,
) -> Curvature:
    damping = check_number(damping, "damping")
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be finite and at least 0, got {damping}")
    chunk = len(examples) if chunk_size is None else check_count(chunk_size, "chunk_size")
    theta = {name: value.clone() for name, value in trainable(model, params).items()}
    like = flatten(theta)

    attributes = Attributes(examples.network)

    def checked(run: Callable[[], Theta]) -> Theta:
        try:
            with elementary(), quietly(), together():
                return run()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            examples.gradients(theta, slice(0, 1))  # where the model itself is at fault, it says so better
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                "model must run under vmap and forward-mode differentiation for its curvature, got one that does not: "
                f"{reason}; write recurrent cells in elementary operations, or measure gradient_noise, which loops"
            ) from error
        finally:
            attributes.restore()

    @full_precision
    def product(vector: Tensor) -> Tensor:
        v = check_tensor(vector, "vector", shape=f"[{len(like)}]", ndim=1)
        if len(v) != len(like):
            raise ValueError(f"vector must have shape [{len(like)}], got {list(v.shape)}")
        parts, total = unflatten(v, theta), damping * v
        for start in range(0, len(examples), chunk):
            part = examples.part(slice(start, start + chunk))
            total = total + flatten(checked(lambda part=part: chunk_product(theta, parts, *part))) / len(
                examples
            )
        return total

    return Curvature(product=product, size=len(like), like=like)
