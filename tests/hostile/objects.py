"""Valid calls of public objects of tensors: accumulators, recalibrations, kernels, likelihoods and losses.

What runs in every step of a training (likelihoods, losses) looks at no number, since that would wait for the device:
`CHECKED` leaves it out of what must be refused. A training that diverges is stopped by its loop.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bayessgd import likelihoods
from gan import losses
from metrics import kernels, predictions, streaming
from metrics.transport import SinkhornDivergence
from tests.hostile.cases import Case

N, CLASSES = 12, 4


def clouds(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    x, y = (torch.randn(N, 3, generator=draw, dtype=torch.float64).to(dtype) for _ in range(2))
    return {"x": x, "y": y}


def real_and_fake(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    both = clouds(draw, dtype)
    return {"real": both["x"], "fake": both["y"]}


def scores(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    real, fake = (torch.randn(N, 1, generator=draw, dtype=torch.float64).to(dtype) for _ in range(2))
    return {"real": real, "fake": fake}


def probabilities(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    labels = torch.randint(CLASSES, (N,), generator=draw)
    told = 2 * torch.nn.functional.one_hot(labels, CLASSES) * (torch.arange(N) > 2)[:, None]
    logits = torch.randn(N, CLASSES, generator=draw, dtype=torch.float64) + told
    logits[0, (labels[0] + 1) % CLASSES] += 9  # one is surely wrong: no temperature of 0
    return {"probs": logits.softmax(-1).to(dtype), "labels": labels}


def ensemble(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
    samples = torch.randn(6, N, generator=draw, dtype=torch.float64).to(dtype)
    return {"samples": samples, "y": torch.randn(N, generator=draw, dtype=torch.float64).to(dtype)}


def outputs(y: Callable[[torch.Generator], Tensor], columns: int = 1):
    def make(draw: torch.Generator, dtype: torch.dtype) -> dict[str, object]:
        output = torch.randn(N, columns, generator=draw, dtype=torch.float64).to(dtype)
        target = y(draw)
        return {"output": output, "target": target.to(dtype) if target.is_floating_point() else target}

    return make


def accumulated(make: Callable[[], streaming.Accumulator]) -> Callable[..., object]:
    def call(**arguments: object) -> object:
        measure = make()
        measure.update(**arguments)
        return measure.compute()

    return call


def mapped(make: Callable[[], object]) -> Callable[..., object]:
    def call(probs: object, labels: object) -> object:
        return make().fit(probs, labels)(probs)

    return call


def _normal(*shape: int) -> Callable[[torch.Generator], Tensor]:
    return lambda draw: torch.randn(*shape, generator=draw, dtype=torch.float64)


CHECKED = [
    Case("streaming.FrechetDistance", accumulated(lambda: streaming.FrechetDistance()), real_and_fake),
    Case("streaming.MMD", accumulated(lambda: streaming.MMD(kernel=kernels.Gaussian(1.0))), real_and_fake),
    Case(
        "streaming.PrecisionRecallDensityCoverage",
        accumulated(lambda: streaming.PrecisionRecallDensityCoverage()),
        real_and_fake,
    ),
    Case("streaming.BrierScore", accumulated(lambda: streaming.BrierScore()), probabilities),
    Case("streaming.CalibrationError", accumulated(lambda: streaming.CalibrationError()), probabilities),
    Case("streaming.CRPS", accumulated(lambda: streaming.CRPS()), ensemble),
    Case("predictions.TemperatureScaling", mapped(predictions.TemperatureScaling), probabilities),
    Case("predictions.VectorScaling", mapped(predictions.VectorScaling), probabilities),
    Case("predictions.IsotonicCalibration", mapped(predictions.IsotonicCalibration), probabilities),
    Case("kernels.Gaussian", kernels.Gaussian(1.0), clouds),
    Case("kernels.Laplace", kernels.Laplace(1.0), clouds),
    Case("kernels.RationalQuadratic", kernels.RationalQuadratic(1.0), clouds),
    Case("kernels.Polynomial", kernels.Polynomial(), clouds),
    Case("transport.SinkhornDivergence", lambda x, y: SinkhornDivergence(eps=0.5)(x, y), clouds),
]

SCORE_LOSSES = [
    losses.named(n) for n in ("js", "ns", "kl", "reverse-kl", "pearson", "neyman", "hellinger", "tv")
]
SCORE_LOSSES += [losses.named(n) for n in ("dv", "lsgan", "hinge", "rpgan", "wgan")]
SAMPLE_LOSSES = [losses.named(n) for n in ("mmd", "energy", "sliced")] + [losses.Sinkhorn(eps=0.5)]

STEPS = [
    Case(f"losses.{type(loss).__name__}.{name}", getattr(loss, name), scores)
    for loss in SCORE_LOSSES
    for name in ("critic_loss", "generator_loss")
]
STEPS += [Case(f"losses.{type(loss).__name__}", loss, real_and_fake) for loss in SAMPLE_LOSSES]
STEPS += [
    Case("likelihoods.Gaussian", likelihoods.Gaussian(0.7).log_prob, outputs(_normal(N, 1))),
    Case(
        "likelihoods.Categorical",
        likelihoods.Categorical().log_prob,
        outputs(lambda draw: torch.randint(CLASSES, (N,), generator=draw), CLASSES),
    ),
    Case(
        "likelihoods.Bernoulli",
        likelihoods.Bernoulli().log_prob,
        outputs(lambda draw: torch.randint(2, (N, 1), generator=draw).double()),
    ),
    Case(
        "likelihoods.Poisson",
        likelihoods.Poisson().log_prob,
        outputs(lambda draw: torch.randint(6, (N, 1), generator=draw).double()),
    ),
]
