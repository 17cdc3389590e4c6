"""Every name trains: the recipe's loss, penalties and critic fit together."""

import pytest
import torch

from gan import GAN, losses
from gan.recipes import recipe

CLOUD = torch.randn(128, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", losses.NAMES)
def test_every_recipe_trains(name):
    chosen = recipe(name, like=CLOUD)
    model = GAN.from_recipe(chosen, *chosen.players(seed=0))
    model.fit(CLOUD, steps=4, batch_size=32, seed=0, device="cpu", progress=False)
    assert model.sample(5, seed=0).isfinite().all()
    assert torch.tensor(model.history.generator_loss).isfinite().all()


def test_the_blur_follows_the_scale_of_the_data():
    """The mean of ‖x − x'‖² over all pairs is twice the total variance: ε = 0.2 of it."""
    vectors = torch.randn(128, 5, generator=torch.Generator().manual_seed(0))
    cost = torch.cdist(vectors.double(), vectors.double()).square().mean()
    assert recipe("sinkhorn", vectors).loss.eps == pytest.approx(0.2 * float(cost), rel=1e-4)
    assert recipe("sinkhorn", 10 * vectors).loss.eps == pytest.approx(20 * float(cost), rel=1e-4)
    cost = torch.cdist(CLOUD.double(), CLOUD.double()).square().mean()
    points = recipe("sinkhorn", CLOUD).loss
    assert points.first_eps == pytest.approx(0.01 * float(cost), rel=1e-4)
    assert points.eps == pytest.approx(1e-5 * float(cost), rel=1e-4)
    assert points.balance == pytest.approx(1e-3 * float(cost), rel=1e-4)


def test_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="sinkhorn"):
        recipe("wasserstien", CLOUD)
