"""The potentials of the data against whole solves, and what a run with them must keep."""

import math

import pytest
import torch

from gan import GAN, TrainingSettings, data, fit_many, losses, networks
from gan.losses import SemiDiscrete
from metrics.transport import sinkhorn


@pytest.fixture
def clouds(gen):
    x = torch.randn(40, 2, dtype=torch.float64, generator=gen) + 3
    y = 0.7 * torch.randn(30, 2, dtype=torch.float64, generator=gen) + 3.5
    return x, y


def solved(loss, x, y, calls=400):
    """The run's loss after so many calls with one batch."""
    run = loss.begin(x)
    for _ in range(calls):
        run(x[:1], y)
    return run


def test_it_settles_at_the_entropic_cost_and_its_slope(clouds):
    """With one batch for ever the semi-dual's maximum is OT_ε of the two clouds, and the slope is OT_ε's."""
    x, y = clouds
    run = solved(SemiDiscrete(eps=0.8, first_eps=0.8, balance=0.01), x, y)
    y.requires_grad_()
    mine, whole = run(x[:1], y), sinkhorn(x, y, eps=0.8, tol=1e-10).value
    torch.testing.assert_close(mine, whole, rtol=1e-6, atol=0)
    (slope,) = torch.autograd.grad(mine, y)
    (wanted,) = torch.autograd.grad(whole, y)
    torch.testing.assert_close(slope, wanted, rtol=1e-4, atol=1e-7)


def test_the_semi_dual_never_exceeds_the_cost(clouds):
    """It is a maximum over ψ: potentials that are not those of the plan give less."""
    x, y = clouds
    run = solved(SemiDiscrete(eps=0.8, first_eps=0.8, balance=0.01), x, y)
    best = float(run(x[:1], y))
    run.potentials += torch.linspace(-1, 1, 40, dtype=torch.float64)
    centred = y - x.mean(0)
    assert float(run.semi_dual(centred, 0.8).value) < best - 1e-3


def test_between_points_it_is_the_distance():
    loss = SemiDiscrete(eps=0.5, first_eps=0.5)
    x, y = torch.zeros(3, 2), torch.tensor([[3.0, 4.0]]).repeat(5, 1)
    torch.testing.assert_close(float(loss(x, y)), 25.0, rtol=1e-6, atol=0)
    torch.testing.assert_close(float(loss.begin(x)(x, y)), 25.0, rtol=1e-5, atol=0)


def test_mass_finds_its_way_between_modes_far_apart():
    """Two modes 100 √ε apart, all samples near one of them: half of them are sent to the other."""
    x = torch.cat([torch.zeros(20, 1), torch.ones(20, 1)]).double()
    y = torch.linspace(-0.02, 0.02, 50, dtype=torch.float64)[:, None]
    run = SemiDiscrete(eps=1e-4, first_eps=1e-4, smoothing=0.01, balance=0.01).begin(x)
    run.progress = 0.5
    for _ in range(400):
        run(x, y)
    targets = run.semi_dual(y - x.mean(0), 1e-4).targets + x.mean(0)
    assert float(targets.mean()) == pytest.approx(0.5, abs=0.05)


def test_eps_and_damping_fall():
    run = SemiDiscrete(eps=0.01, first_eps=1.0).begin(torch.randn(5, 2))
    seen = []
    for run.progress in (0.0, 0.05, 0.45, 0.8, 1.0):
        seen.append(run.schedule())
    assert [steps for *_, steps in seen] == [8, 8, 1, 1, 1]
    assert [eps for eps, *_ in seen] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert [damping for _, damping, _ in seen] == pytest.approx([1, 1, math.sqrt(0.05), 0.05, 0.05])


def test_several_steps_on_a_batch_are_single_steps_on_it_over_and_over(gen):
    x, y = torch.randn(2, 30, 2, generator=gen, dtype=torch.float64)
    single, several = (
        SemiDiscrete(eps=0.1, first_eps=1.0, balance=0.01, steps_per_batch=steps).begin(x) for steps in (1, 3)
    )
    single.progress = several.progress = 0.6
    for _ in range(3):
        single(x, y)
    several(x, y)
    torch.testing.assert_close(several.potentials, single.potentials)


def model(seed=0):
    return GAN(
        networks.mlp_generator(2, bounded=False, seed=seed),
        loss=SemiDiscrete(eps=1e-3, first_eps=0.02, steps_per_batch=2),
    )


SETTINGS = TrainingSettings(batch_size=32)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    ring = data.ring(100)
    whole = model().fit(ring, steps=12, settings=SETTINGS, progress=False, checkpoint=tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop(step, *_):
        raise StopError

    path = tmp_path / "part"
    rest = {"steps": 12, "settings": SETTINGS, "progress": False, "checkpoint": path, "checkpoint_every": 4}
    with pytest.raises(StopError):
        model().fit(ring, **rest, on_step=stop, on_step_every=9)
    again = model().fit(ring, **rest)
    assert torch.equal(again.sample(5, seed=0), whole.sample(5, seed=0))
    assert again.history.generator_loss == whole.history.generator_loss


def test_a_loss_that_several_models_share_keeps_nothing_of_a_run():
    ring = data.ring(100)
    shared = model().loss
    first, second = (
        GAN(networks.mlp_generator(2, bounded=False), loss=shared).fit(
            ring, steps=5, settings=SETTINGS, progress=False
        )
        for _ in range(2)
    )
    assert torch.equal(first.sample(5, seed=0), second.sample(5, seed=0))


def test_a_saved_model_comes_back_with_its_loss(tmp_path):
    import gan

    model().save(tmp_path / "model.safetensors")
    assert gan.load(tmp_path / "model.safetensors").loss == model().loss


def test_classes_keep_apart():
    """Two classes at one place: with κ between them each sample's targets are its own class's."""
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 2
    net = networks.mlp_generator(2, bounded=False, num_classes=2)
    made = GAN(net, loss=SemiDiscrete(eps=1e-3, first_eps=0.02))
    made.fit(x, labels=labels, steps=3, settings=SETTINGS, progress=False)
    assert made.sample(4, labels=1, seed=0).isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": 0.0, "first_eps": 1.0}, "eps"),
        ({"eps": 1.0, "first_eps": 0.5}, "exchange them"),
        ({"eps": 1.0, "first_eps": 2.0, "smoothing": -1.0}, "smoothing"),
        ({"eps": 1.0, "first_eps": 2.0, "balance": 0.0}, "balance"),
        ({"eps": 1.0, "first_eps": 2.0, "steps_per_batch": 0}, "steps_per_batch"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SemiDiscrete(**arguments)


def test_refuses_what_a_run_cannot_do():
    ring = data.ring(100)
    with pytest.raises(ValueError, match="one by one"):
        fit_many([model(0), model(1)], ring, steps=1, progress=False)
    batches = torch.utils.data.DataLoader(ring.train, batch_size=32)
    with pytest.raises(TypeError, match="got a loader"):
        model().fit(batches, steps=1, settings=SETTINGS, progress=False)
    from gan.augment import Noise

    with pytest.raises(ValueError, match="takes the data as they are"):
        model().fit(ring, steps=1, settings=SETTINGS, progress=False, augment=Noise(0.1))
    assert losses.Sinkhorn(eps=0.1)(ring.train, ring.train).isfinite()
