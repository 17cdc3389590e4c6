r"""Posteriors for other libraries' tools: ArviZ's plots and model comparison, Pyro's `Predictive`, Lightning's trainer.

    to_arviz(posterior, model, x, y, likelihood=…)     draws as [chain, draw, ...], predictions, log likelihoods
    to_pyro(posterior)                                 a guide: one `pyro.sample` site per parameter
    posterior.to_distribution()                        a `torch.distributions.Distribution` of the flat vector
    lightning_callback(collector)                      collects after the optimizer's steps, and resumes
    trainer_callback(collector)                        the same for Hugging Face's Trainer

ArviZ, Lightning and transformers are asked for only when they are used. Collectors need no adapter in a plain loop or
under Accelerate: attach them to the optimizer, as torch or as Accelerate has it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from bayessgd._data import check_likelihood, gathered
from bayessgd._inputs import Output, Targets, wide
from bayessgd._trainer import trainer_callback
from bayessgd.batches import Data, is_inputs
from bayessgd.collectors._collector import Collector
from bayessgd.likelihoods import Likelihood
from bayessgd.params import unflatten
from bayessgd.posteriors import Ensemble, Posterior
from bayessgd.predict import predict
from metrics.inputs import check_count

if TYPE_CHECKING:
    from arviz import InferenceData
    from xarray import DataTree

__all__ = ["lightning_callback", "to_arviz", "to_pyro", "trainer_callback"]


def to_arviz(
    posterior: Posterior,
    model: nn.Module | None = None,
    x: Data | None = None,
    y: Targets | None = None,
    *,
    likelihood: Likelihood | None = None,
    num_samples: int = 1000,
    refresh_batchnorm: Data | None = None,
    output: Output | None = None,
    generator: torch.Generator | None = None,
) -> "InferenceData | DataTree":
    """Return the draws, and with a model and data their predictions, as ArviZ has them.

    That is xarray's `DataTree` from ArviZ 1 on (or where only its part `arviz_base` is installed) and `InferenceData`
    before; groups and variables are the same.

    Args:
        posterior: An `Ensemble` gives its own draws, [chains, draws, ...]; of any other, `num_samples` are taken as
            one chain.
        model: The network.
        x: Inputs, [n, ...]: a tensor, a tuple or a dict of them, or batches (`bayessgd.batches`).
        y: Targets, [n, ...]; without them there is no log likelihood.
        likelihood: From the network's output to the law of the target.
        num_samples: Draws of a posterior that is no ensemble.
        refresh_batchnorm: As in `predict`.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        generator: The randomness of those; the targets' noise is drawn by `torch.distributions`, from torch's
            default generator.

    Returns:
        Groups `posterior` (a variable per parameter), `posterior_predictive` (`y`, new targets), `log_likelihood` (`y`,
        per datum, as `arviz.loo` takes it) and `observed_data`.

    Raises:
        ImportError: ArviZ is not there; `pip install 'bayessgd[notebook]'`.
        TypeError: Not a posterior, data that are no tensors, or no likelihood.
        ValueError: A model without inputs or likelihood, or these without a model; data of different lengths.

    >>> law = Ensemble({"w": torch.zeros(6, 2)}, chains=2)
    >>> dict(to_arviz(law)["posterior"].sizes)
    {'chain': 2, 'draw': 3, 'w_dim_0': 2}
    """
    _check_posterior(posterior)
    if model is None and not (x is None and y is None and likelihood is None):
        raise ValueError("model must be given with x, y or likelihood, got None; without it they say nothing")
    if model is not None and x is not None and (y is not None or not is_inputs(x)):
        x, y = gathered(model, x, y)
    if likelihood is not None:
        check_likelihood(likelihood)
    as_groups = _from_groups()
    if isinstance(posterior, Ensemble):
        bank = posterior
    else:
        bank = Ensemble(posterior.sample(check_count(num_samples, "num_samples"), generator=generator))
    groups: dict[str, Any] = {"posterior": {name: _array(t) for name, t in bank.by_chain().items()}}
    if model is not None:
        if x is None or likelihood is None:
            raise ValueError(
                "x and likelihood must be given with a model, got None; its outputs are not targets yet"
            )
        outputs = wide(predict(model, bank, x, refresh_batchnorm=refresh_batchnorm, output=output))
        drawn = torch.stack([likelihood(output).sample() for output in outputs])
        groups["posterior_predictive"] = {"y": _array(drawn.unflatten(0, (bank.chains, -1)))}
        if y is not None:
            terms = vmap(likelihood.log_prob, (0, None))(outputs, y)
            groups["log_likelihood"] = {"y": _array(terms.unflatten(0, (bank.chains, -1)))}
            groups["observed_data"] = {"y": _array(y[0] if isinstance(y, tuple) else y)}
    return as_groups(groups)


def _from_groups() -> Callable[[dict[str, Any]], Any]:
    """Return ArviZ's own constructor: of keywords before version 1, of one dict of groups from then on."""
    import importlib.util

    base = importlib.util.find_spec("arviz") is None and importlib.util.find_spec("arviz_base") is not None
    arviz = _needed("arviz_base" if base else "arviz", "notebook")
    if hasattr(arviz, "InferenceData"):
        return lambda groups: arviz.from_dict(**groups)
    return arviz.from_dict


def to_pyro(posterior: Posterior, *, prefix: str = "") -> Callable[..., dict[str, Tensor]]:
    """Return a guide for Pyro: each call draws one network, as one sample site per parameter.

    It is a guide for a model whose sites have the parameters' names, such as `pyro.nn.PyroModule` with
    `PyroSample` weights. As in Pyro's own autoguides the joint law is an auxiliary site of the flat vector and the
    parameters are `Delta`s of it, so that they are correlated as the posterior says.

    Args:
        posterior: Any posterior; one without a density (an `Ensemble`) gives draws but no ELBO.
        prefix: What the sites' names begin with, such as "net." for a module that holds the network as `net`.

    Returns:
        A function of anything; for `pyro.infer.Predictive(model, guide=…, num_samples=…)`.

    Raises:
        TypeError: Not a posterior.

    >>> import pyro, pyro.distributions as dist
    >>> from pyro.infer import Predictive
    >>> guide = to_pyro(Ensemble({"w": torch.tensor([[1.0], [1.0]])}))
    >>> model = lambda: pyro.sample("w", dist.Normal(torch.zeros(1), 1.0).to_event(1))
    >>> Predictive(model, guide=guide, num_samples=3)()["w"].flatten()
    tensor([1., 1., 1.])
    """
    _check_posterior(posterior)
    import pyro
    from pyro.distributions import Delta

    law, mean = posterior.to_distribution(), posterior.mean

    def guide(*args: object, **kwargs: object) -> dict[str, Tensor]:
        flat = pyro.sample(f"{prefix}_flat", _as_pyro(law), infer={"is_auxiliary": True})
        return {
            name: pyro.sample(f"{prefix}{name}", Delta(value, event_dim=value.ndim))
            for name, value in unflatten(flat, mean).items()
        }

    return guide


def lightning_callback(collector: Collector, *, every: int = 1, start: int = 0) -> Any:
    """Return a `lightning.pytorch.Callback` that collects after the optimizer's steps.

    Its state goes into Lightning's checkpoints with the collector's, so that a resumed run goes on collecting to the
    same result. Of several optimizers that train the collector's parameters it counts the steps of the last.

    Args:
        collector: `SWAG`, `IterateAverage` or `Trajectory` of the same network.
        every: As `Collector.attach`.
        start: As `Collector.attach`.

    Raises:
        ImportError: Lightning is not there; `pip install 'bayessgd[trainers]'`.
        TypeError, ValueError: Not a collector; counts that are not as `Collector.attach` has them.
    """
    if not isinstance(collector, Collector):
        raise TypeError(
            f"collector must be SWAG, IterateAverage or Trajectory, got {type(collector).__name__}; make it "
            "from the network that is trained"
        )
    every = check_count(every, "every")
    start = check_count(start, "start", least=0)
    lightning = _needed("lightning.pytorch", "trainers")

    class Collecting(lightning.Callback):
        """Holds the collector's hook while the trainer fits."""

        def __init__(self) -> None:
            self.collector, self.handle = collector, None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            ours = {id(p) for p in collector._parameters}
            optimizers = [
                one
                for one in trainer.optimizers
                if any(id(p) in ours for group in one.param_groups for p in group["params"])
            ]
            if not optimizers:
                raise ValueError(
                    "the trainer must train the collector's parameters, but none of its optimizers does"
                )
            self._stop()  # what a training that failed left behind
            self.handle = collector.attach(optimizers, every=every, start=start)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._stop()

        def _stop(self) -> None:
            if self.handle is not None:
                self.handle.remove()
                self.handle = None

        def state_dict(self) -> dict[str, Any]:
            return collector.state_dict()

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            collector.load_state_dict(state_dict)

    return Collecting()


def _check_posterior(posterior: object) -> None:
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"posterior must be a bayessgd.Posterior, got {type(posterior).__name__}; collect one, or wrap draws "
            "in Ensemble"
        )


def _as_pyro(law: torch.distributions.Distribution) -> Any:
    """Pyro's sample wants its own mixin, which its copies of torch's classes have."""
    from pyro.distributions.torch_distribution import TorchDistributionMixin

    if isinstance(law, TorchDistributionMixin):
        return law
    own = type(law.__class__.__name__, (type(law), TorchDistributionMixin), {})
    mixed = object.__new__(own)
    mixed.__dict__.update(law.__dict__)
    return mixed


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()


def _needed(module: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed for this; pip install 'bayessgd[{extra}]'") from error
