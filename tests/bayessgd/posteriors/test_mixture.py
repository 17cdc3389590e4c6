import math

import pytest
import torch
from torch.distributions import MixtureSameFamily

from bayessgd.params import flatten, unflatten
from bayessgd.posteriors import Ensemble, LowRankGaussian, Mixture

SHAPES = {"w": (2, 2), "b": (2,)}


def gaussian(seed, *, rank=3, shift=0.0):
    random = torch.Generator().manual_seed(seed)

    def draw(*lead):
        return {k: torch.randn((*lead, *s), generator=random, dtype=torch.float64) for k, s in SHAPES.items()}

    mean = {k: t + shift for k, t in draw().items()}
    variance = {k: 0.2 + t.square() for k, t in draw().items()}
    return LowRankGaussian(mean, variance, draw(rank) if rank else None, scale=0.5)


def point(value):
    return Ensemble({k: torch.full((1, *s), value, dtype=torch.float64) for k, s in SHAPES.items()})


def moments(law):
    """Mean and covariance of one Gaussian, dense."""
    made = law.to_distribution()
    return made.mean, made.covariance_matrix if law.rank else made.variance.diag()


def test_draws_have_the_mean_and_the_covariance_of_the_mixture(gen):
    # MultiSWAG: the law of total covariance, Σ wᵢ (Σᵢ + μᵢμᵢᵀ) − μμᵀ.
    parts, weights = [gaussian(1), gaussian(2, shift=2.0), gaussian(3, rank=0)], [0.5, 0.3, 0.2]
    law, n = Mixture(parts, weights), 60_000
    means, covs = zip(*(moments(p) for p in parts), strict=True)
    mu = sum(w * m for w, m in zip(weights, means, strict=True))
    cov = sum(w * (c + torch.outer(m, m)) for w, m, c in zip(weights, means, covs, strict=True))
    cov = cov - torch.outer(mu, mu)
    draws = flatten(law.sample(n, generator=gen), law.mean)
    centred = draws - mu
    products = centred[:, :, None] * centred[:, None]
    # The standard error of each entry from the draws themselves; stratified draws have less.
    assert bool(((products.mean(0) - cov).abs() < 5 * products.std(0) / n**0.5).all())
    assert bool((centred.mean(0).abs() < 5 * draws.std(0) / n**0.5).all())
    assert torch.allclose(flatten(law.mean), mu)


def test_a_deep_ensemble_gives_each_member_once():
    law = Mixture([point(float(i)) for i in range(5)])
    for _ in range(5):
        assert law.sample(5)["b"][:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_multi_swag_gives_each_component_as_many():
    law = Mixture([gaussian(i, shift=100.0 * i) for i in range(3)])
    draws = law.sample(60)["b"][:, 0]
    assert torch.bincount((draws / 100).round().long()).tolist() == [20, 20, 20]


@pytest.mark.parametrize("ranks", [(3, 3), (2, 5), (0, 3), (0, 0)])
def test_log_prob_is_that_of_the_torch_mixture(ranks, gen):
    law = Mixture([gaussian(1, rank=ranks[0]), gaussian(2, rank=ranks[1], shift=1.0)], [1.0, 3.0])
    made = law.to_distribution()
    assert isinstance(made, MixtureSameFamily)
    x = torch.randn(4, 6, generator=gen, dtype=torch.float64)
    ours = law.log_prob(unflatten(x, law.mean))
    assert torch.allclose(ours, made.log_prob(x), rtol=1e-10)
    parts = torch.stack([c.to_distribution().log_prob(x) for c in law.components])
    by_hand = (torch.tensor([[0.25], [0.75]]) * parts.exp()).sum(0).log()
    assert torch.allclose(ours, by_hand, rtol=1e-10)
    assert torch.allclose(made.mean, flatten(law.mean))


def test_points_become_one_empirical_law():
    law = Mixture(
        [point(0.0), Ensemble({k: torch.cat([point(2.0).draws[k], point(4.0).draws[k]]) for k in SHAPES})]
    )
    made = law.to_distribution()
    # ½ at 0 and ¼ at each of 2 and 4.
    assert torch.allclose(made.mean, torch.full((6,), 1.5, dtype=torch.float64))
    assert torch.allclose(made.mean, flatten(law.mean))


def test_points_without_variance_are_drawn_once_each():
    """Two Gaussians that are points have a draw each; of two that are none it is 30 in all."""
    mean = {"w": torch.zeros(3)}
    point, wide = LowRankGaussian(mean, {"w": torch.zeros(3)}), LowRankGaussian(mean, {"w": torch.ones(3)})
    assert Mixture([point, point]).usual_samples == 2
    assert Mixture([wide, wide]).usual_samples == 30


def test_a_component_of_weight_zero_is_not_asked():
    law = Mixture([gaussian(1), point(9.0)], [1.0, 0.0])
    assert math.isfinite(float(law.log_prob(law.components[0].mean)))
    assert float(law.sample(50)["b"].max()) < 9.0


def test_mixtures_nest_and_move():
    law = Mixture([Mixture([point(0.0), point(2.0)]), point(3.0)]).to(dtype=torch.float32)
    assert law.sample(4)["b"][:, 0].tolist() == [0.0, 2.0, 3.0, 3.0]
    assert law.mean["w"].dtype == torch.float32


OTHER = Ensemble({"v": torch.zeros(1, 2)})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Mixture([]), ValueError, "components must not be empty"),
        (lambda: Mixture([point(1.0), torch.ones(2)]), TypeError, r"components\[1\] must be a Posterior"),
        (lambda: Mixture([point(1.0), OTHER]), ValueError, r"components\[1\]\.mean must have the names"),
        (lambda: Mixture([point(1.0)], [1.0, 2.0]), ValueError, "one entry per component, 1, got 2"),
        (lambda: Mixture([point(1.0)] * 2, [1.0, -1.0]), ValueError, "weights must not be negative"),
        (lambda: Mixture([point(1.0)] * 2, [0.0, 0.0]), ValueError, "finite positive sum"),
        (lambda: Mixture([point(1.0)] * 2, [math.nan, 1.0]), ValueError, "finite positive sum"),
        (lambda: Mixture([point(1.0)]).sample(-1), ValueError, "n must be at least 1"),
        (lambda: Mixture([point(1.0)]).log_prob(point(1.0).mean), NotImplementedError, "no density"),
        (
            lambda: Mixture([point(1.0), gaussian(1)]).to_distribution(),
            NotImplementedError,
            r"one family, got \['Ensemble', 'LowRankGaussian'\]; use sample",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_posterior_in_the_place_of_a_list_is_refused():
    with pytest.raises(
        TypeError, match=r"components must be a list of posteriors, got Ensemble; pass \[posterior"
    ):
        Mixture(Ensemble({"w": torch.zeros(2, 1)}))
