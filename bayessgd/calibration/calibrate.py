r"""The shape and width of a posterior that the iterates' own wandering does not know.

How far SGD's iterates wander depends on the learning rate, the batch and the loss, not on the posterior. They do show
*where* a network can move, and there data and prior say how far. `calibrate` has two ways of asking them.

*In the span* (the default). The posterior within the span of the iterates' deviations, from the curvature there
(`bayessgd.calibration.curvature`); what lies outside keeps the iterates' own diagonal and is never widened. Whether the
quadratic holds as far as the flattest direction reaches is checked by draws, and directions are dropped where not
(`bayessgd.calibration.quadratic`).

*All directions*: one factor s* for the whole covariance, so that the excess loss is D/2
(`bayessgd.calibration.equipartition`). Right where D is small and every direction counts, as in generalised linear
models; far too wide on networks.

A posterior is not made to score well: on digits NUTS itself has an NLL of .124 where the iterates' average has .104.
Whoever wants predictions passes `held_out`, which chooses a factor of the width by their log score, or none
(`bayessgd.calibration.held_out`).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from bayessgd._bank import warn_of_statistics
from bayessgd._data import check_laws, check_of_model, check_targets, check_wide, gathered
from bayessgd._inputs import Inputs, Output, Targets, size
from bayessgd._over import telling, warn
from bayessgd._probabilities import told_of_probabilities
from bayessgd.batches import Data
from bayessgd.calibration.curvature import curvature_in_span, gaussian_in_span
from bayessgd.calibration.equipartition import equipartition, moving_directions
from bayessgd.calibration.held_out import best_factor, log_score
from bayessgd.calibration.problem import Problem
from bayessgd.calibration.quadratic import believed
from bayessgd.calibration.result import Calibration, warn_of_misfit
from bayessgd.calibration.span import span_of, variance_along
from bayessgd.likelihoods import Likelihood
from bayessgd.params import unwrap
from bayessgd.posteriors import LowRankGaussian
from bayessgd.priors import Prior
from metrics.inputs import check_count, check_generator
from metrics.precision import full_precision

__all__ = ["calibrate"]

Wider = Callable[[float], LowRankGaussian]
"""From a factor of the width to the posterior that has it."""


@full_precision
def calibrate(
    model: nn.Module,
    posterior: LowRankGaussian,
    x: Data,
    y: Targets | None = None,
    *,
    likelihood: Likelihood,
    prior: Prior,
    directions: str = "span",
    held_out: tuple[Inputs, Targets] | None = None,
    num_data: int | None = None,
    curvature_data: int = 2000,
    num_samples: int = 30,
    refresh_batchnorm: Data | None = None,
    output: Output | None = None,
    generator: torch.Generator | None = None,
    max_iterations: int = 30,
) -> Calibration:
    """Give a Gaussian of the iterates the width, and within their span the shape, of the posterior.

    Args:
        model: The network.
        posterior: Such as `SWAG(model, rank=40).posterior()`, its mean near a minimum of U: a slope that
            is left there cancels in pairs of draws and changes no width; `Calibration.shift` tells it.
        x: Training inputs [N, ...], or a random part of them: a tensor, a tuple or a dict of them, or batches
            (`bayessgd.batches`).
        y: Their targets; `None` where x brings them.
        likelihood: From the output to the distribution of the target.
        prior: The distribution of θ.
        directions: "span": the posterior within the span of the deviations, from the curvature there. "all": the
            covariance times one number, by equipartition over all directions that move, for those who know that their
            D directions all count; warns where few do.
        held_out: Inputs and targets that were not trained on. They choose a factor of the width among 0, .1, .3, 1,
            3, 10, 30 by the log score, 0 (the mean alone) unless the gain is beyond its standard error.
        num_data: N, where x is a part of the data, at least its length; `None` is the length of x.
        curvature_data: In the span: how many random data the curvature and its check are computed from, K
            Jacobian-vector products each; their sum counts for all N.
        num_samples: Pairs of draws for the check or for s*, and draws for the held-out score.
        refresh_batchnorm: As in `predict`, for networks with BatchNorm.
        output: Picks the tensor from what the network returns, such as `lambda o: o.logits`.
        generator: The randomness of draws and data; `None` is torch's default generator.
        max_iterations: "all": passes of the search for s*, after which it ends with a warning.

    Returns:
        The posterior and what was found on the way. For a quadratic U the posterior within the span is exact, and s*
        is unbiased up to O(1/num_samples). Inside `torch.autocast` it is what it is outside: half precision is coarse
        beside a curvature. Memory: the K directions once or twice more.

    Raises:
        TypeError: Not a Gaussian posterior, or arguments that are not as above.
        ValueError: Data that are empty, not finite or of different lengths; a posterior of another network, without
            variance, or with U not finite at its mean; a Gaussian without deviations of more than 256 moving weights,
            which spans no few directions; draws at which U is no larger than at the mean: that is no minimum.

    Warns:
        UserWarning: The quadratic holds in no direction, or the mean is no minimum along those kept, or more than three
            posterior deviations from it; held-out data accept no width; over all directions, few carry the excess.

    Reference: the Gauss–Newton form is Martens & Grosse's (2015, section 3); the subspace that of Izmailov et al.
    (2019). Equipartition: `bayessgd.theory.optimal_scale`.

    >>> from bayessgd.likelihoods import Gaussian
    >>> from bayessgd.priors import FlatPrior
    >>> line = nn.Linear(1, 1, bias=False)
    >>> x, y = torch.ones(100, 1), torch.zeros(100, 1)      # the posterior is N(0, 1/100)
    >>> law = LowRankGaussian({"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)})
    >>> found = calibrate(line, law, x, y, likelihood=Gaussian(1.0), prior=FlatPrior())
    >>> found.posterior.marginal_variance, round(found.scale, 6)
    ({'weight': tensor([[0.0100]])}, 0.01)
    """
    posterior = _check(model, posterior, directions)
    inputs, targets = gathered(model, x, y, finite=True)
    check_laws(likelihood, prior)
    check_targets(likelihood, targets)
    told_of_probabilities(model, likelihood, inputs, output)
    check_count(num_samples, "num_samples", least=2)
    check_count(max_iterations, "max_iterations")
    check_count(curvature_data, "curvature_data")
    check_generator(generator)
    held = None if held_out is None else _check_held_out(model, held_out)
    if held is not None:
        check_targets(likelihood, held[1])
    n = size(targets) if num_data is None else check_count(num_data, "num_data", least=size(targets))
    problem = Problem(model, inputs, targets, likelihood, prior, n, refresh_batchnorm, output)
    seen, draws = problem, {"pairs": num_samples, "generator": generator}
    with telling():
        if refresh_batchnorm is None:
            warn_of_statistics(unwrap(model), [])
        if directions == "all":
            found, wider = _over_all(problem, posterior, max_iterations, **draws)
        else:
            seen = problem.part(curvature_data, generator)
            found, wider = _in_span(seen, posterior, **draws)
        if held is None:
            warn_of_misfit(found, seen.size / n)
            return found
        return _chosen(problem, found, wider, held, **draws)


def _over_all(
    problem: Problem,
    posterior: LowRankGaussian,
    max_iterations: int,
    *,
    pairs: int,
    generator: torch.Generator | None,
) -> tuple[Calibration, Wider]:
    count = moving_directions(posterior)
    excess = problem.excess_of(posterior, pairs, generator)
    found = equipartition(excess, count, max_iterations=max_iterations)
    scale = posterior.scale * found.scale
    result = Calibration(
        posterior.rescaled(scale),
        found.scale,
        found.stderr,
        float(found.first.mean()),
        count,
        ratio_stderr=found.stderr / found.scale,
        effective=found.effective,
    )
    return result, lambda factor: posterior.rescaled(scale * factor)


def _in_span(
    problem: Problem, posterior: LowRankGaussian, *, pairs: int, generator: torch.Generator | None
) -> tuple[Calibration, Wider]:
    span = span_of(posterior)
    if span is None:
        raise ValueError(
            "posterior must have deviations whose span is a few directions, got a diagonal Gaussian of "
            f"{moving_directions(posterior)} moving weights; collect with SWAG(model, rank=40), or pass "
            "directions='all' where all of them count"
        )
    curvature = curvature_in_span(problem, posterior.mean, span)
    check = believed(problem, posterior, curvature, pairs=pairs, generator=generator)
    kept = check.kept
    before = variance_along(posterior, curvature.span.first(kept)).log()
    scale = float((-before - curvature.values[:kept].log()).mean().exp()) if kept else 0.0
    result = Calibration(
        gaussian_in_span(posterior, curvature, kept),
        scale,
        scale * curvature.log_error,
        float(check.excess.mean()),
        kept,
        dropped=len(span) - kept,
        ratio=check.ratio,
        ratio_stderr=check.stderr,
        effective=check.effective,
        shift=check.shift,
    )
    return result, lambda factor: gaussian_in_span(posterior, curvature, kept, factor=factor)


def _chosen(
    problem: Problem,
    found: Calibration,
    wider: Wider,
    held_out: tuple[Inputs, Targets],
    *,
    pairs: int,
    generator: torch.Generator | None,
) -> Calibration:
    """Return the calibration with the factor of its width that held-out data accept."""
    x, y = held_out
    device = None if generator is None else generator.device
    seed = int(torch.randint(2**31, (), generator=generator, device=device))

    def score(posterior: LowRankGaussian) -> Tensor:
        return log_score(
            problem.model,
            posterior,
            x,
            y,
            likelihood=problem.likelihood,
            num_samples=pairs,
            seed=seed,
            refresh_batchnorm=problem.refresh,
            output=problem.output,
        )

    mean = found.posterior.mean
    point = LowRankGaussian(mean, {name: torch.zeros_like(t) for name, t in mean.items()})
    choice = best_factor(score, point, wider)
    if not choice.accepted:
        warn(
            "held out",
            f"held-out data accept no width: the best factor gains {choice.gain:.2g} ± {choice.stderr:.2g} nats a "
            "point over the mean alone, which is returned; for the posterior itself call without held_out",
        )
        return replace(found, posterior=point, scale=0.0, stderr=0.0, held_out=choice)
    return replace(
        found,
        posterior=wider(choice.factor),
        scale=choice.factor * found.scale,
        stderr=choice.factor * found.stderr,
        held_out=choice,
    )


def _check(model: nn.Module, posterior: object, directions: object) -> LowRankGaussian:
    if not isinstance(posterior, LowRankGaussian):
        raise TypeError(
            f"posterior must be a LowRankGaussian, got {type(posterior).__name__}; fit one by SWAG (of a Mixture, "
            "calibrate each component)"
        )
    if directions not in ("span", "all"):
        raise ValueError(f"directions must be 'span' or 'all', got {directions!r}")
    check_of_model(posterior.mean, model, "posterior")
    check_wide(model, "calibrate")
    if not any(bool(v.any()) for v in posterior.marginal_variance.values()):
        raise ValueError(
            "posterior must have a variance above 0 somewhere, got 0 everywhere, which no scale widens; collect "
            "iterates that move"
        )
    return posterior


def _check_held_out(model: nn.Module, held_out: object) -> tuple[Inputs, Targets]:
    if not isinstance(held_out, tuple) or len(held_out) != 2:
        raise TypeError(f"held_out must be a pair of inputs and targets, got {type(held_out).__name__}")
    inputs, targets = gathered(model, *held_out, finite=True)
    if size(targets) < 2:
        raise ValueError("held_out must have at least 2 data, for a standard error over them; pass more")
    return inputs, targets
