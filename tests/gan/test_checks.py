"""What GAN refuses, and that following each message arrives."""

import functools

import pytest
import torch
from torch import nn

import gan
from gan import GAN, losses, networks, penalties

CLOUD = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))


def pair():
    return networks.mlp_generator(20, bounded=False), networks.mlp_critic(20)


def fit(model, data=CLOUD, **changes):
    return model.fit(data, **{"steps": 2, "batch_size": 16, "device": "cpu", "progress": False} | changes)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            "wgan-gp",
            r"loss=gan.losses.named\('wgan-gp'\).*GAN.from_recipe\(gan.recipe\('wgan-gp', like=data\)",
        ),
        (losses.Wasserstein, r"write loss=Wasserstein\(\)"),
        (gan.recipe("wgan-gp", like=CLOUD), "write GAN.from_recipe"),
        (lambda real, fake: (real.mean() - fake.mean()) ** 2, "give yours learned_cost = False"),
        (None, "take one of gan.losses"),
    ],
)
def test_what_is_no_loss_is_told_what_to_write(loss, message):
    with pytest.raises(TypeError, match=message):
        GAN(*pair(), loss=loss)


def test_the_remedies_for_a_loss_work():
    fit(GAN(*pair(), loss=losses.named("ns")))
    fit(GAN.from_recipe(gan.recipe("wgan-gp", like=CLOUD), *pair()))

    def own(real, fake, *, generator=None):
        return (real.mean(0) - fake.mean(0)).square().sum()

    own.learned_cost = False
    fit(GAN(pair()[0], loss=own))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (penalties.R1(1.0), r"write penalties=\(R1\(gamma=1.0\),\)"),
        ([penalties.R1], r"write R1\(...\)"),
        ("r1", "must be a sequence of gan.penalties"),
        ([lambda *_: 0.0], "derive from Penalty"),
    ],
)
def test_what_is_no_penalty_is_told_what_to_write(given, message):
    with pytest.raises(TypeError, match=message):
        GAN(*pair(), loss=losses.NonSaturating(), penalties=given)


def test_a_wasserstein_critic_without_a_bound_is_told(recwarn):
    with pytest.warns(UserWarning, match=r"GradientPenalty\(\).*gan.recipe\('wgan-gp', like=data\)"):
        GAN(*pair(), loss=losses.Wasserstein())
    GAN(*pair(), loss=losses.Wasserstein(), penalties=(penalties.GradientPenalty(),))
    generator, critic = pair()
    penalties.SpectralNorm().prepare(critic)
    GAN(generator, critic, loss=losses.Wasserstein())


@pytest.mark.parametrize(
    "penalty", [penalties.GradientPenalty(), penalties.DRAGAN(), penalties.R1(1.0), penalties.R2(1.0)]
)
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.SyncBatchNorm])
def test_batch_normalisation_under_a_penalty_per_sample_is_refused(penalty, norm):
    critic = nn.Sequential(nn.Linear(20, 8), norm(8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(ValueError, match=r"BatchNorm.*GroupNorm, LayerNorm"):
        GAN(pair()[0], critic, loss=losses.NonSaturating(), penalties=(penalty,))
    if norm is nn.BatchNorm1d:
        with pytest.raises(ValueError, match="mixes the batch"):
            penalty(critic, CLOUD, CLOUD + 1)
        penalty(critic.eval(), CLOUD, CLOUD + 1)
        fit(GAN(pair()[0], critic.train(), loss=losses.NonSaturating()))
    normed = nn.Sequential(nn.Linear(20, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.Linear(8, 1))
    fit(GAN(pair()[0], normed, loss=losses.NonSaturating(), penalties=(penalty,)))


def test_a_penalty_of_your_own_may_mix_the_batch_unless_it_says_otherwise():
    class OfWeights(penalties.Penalty):
        def __call__(self, critic, real, fake, *, generator=None):
            return 1e-3 * sum(p.square().sum() for p in critic.parameters())

    critic = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    fit(GAN(pair()[0], critic, loss=losses.NonSaturating(), penalties=(OfWeights(),)))


def test_the_batch_is_the_recipes_unless_another_is_asked_for():
    seen = []
    chosen = gan.recipe("sinkhorn", like=CLOUD)

    def look(batch, *, generator):
        seen.append(len(batch))
        return batch

    model = GAN.from_recipe(chosen, pair()[0])
    fit(model, steps=1, batch_size=None, augment=look)
    fit(model, steps=1, batch_size=32, augment=look)
    fit(GAN(pair()[0], loss=chosen.loss), steps=1, batch_size=None, settings=chosen.settings, augment=look)
    assert seen == [512, 512, 32, 32, 512, 512]


def test_optimizers_are_the_users_to_choose():
    factory = functools.partial(torch.optim.SGD, lr=0.5)
    model = GAN(nn_generator(), loss=losses.Energy(), ema=0.0)
    before = [p.detach().clone() for p in model.generator.parameters()]
    x = torch.zeros(4, 2)
    fit(model, x, steps=1, optimizers={"generator": factory}, settings=gan.TrainingSettings(batch_size=4))
    assert all((p - b).abs().max() > 0 for p, b in zip(model.generator.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="keys generator and critic"):
        fit(model, x, optimizers={"player": factory})
    with pytest.raises(TypeError, match="must return a torch optimizer"):
        fit(model, x, optimizers={"generator": list})


def test_the_schedule_multiplies_the_users_rate():
    rates = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    settings = gan.TrainingSettings(learning_rate=1e-3, final_learning_rate=1e-4)
    model = GAN(nn_generator(), loss=losses.Energy(), ema=0.0)
    fit(
        model,
        torch.zeros(4, 2),
        steps=4,
        settings=settings,
        optimizers={"generator": lambda p: Spy(p, lr=0.2)},
    )
    assert rates == pytest.approx([0.2 * settings.rate(k / 4) / 1e-3 for k in range(4)])


def nn_generator():
    return networks.mlp_generator(2, latent_dim=2, hidden=(4,), bounded=False)


def test_another_run_is_named(tmp_path):
    path = tmp_path / "run"
    options = {"checkpoint": path, "steps": 4}
    fit(GAN(nn_generator(), loss=losses.Energy()), CLOUD[:, :2], **options)
    for make, change, name in (
        (lambda: GAN(nn_generator(), loss=losses.Energy()), {"data": CLOUD[:, 2:4]}, "data was"),
        (lambda: GAN(nn_generator(), loss=losses.Energy(), ema=0.5), {}, "ema was 0.999, now 0.5"),
        (
            lambda: GAN(nn_generator(), loss=losses.Energy()),
            {"augment": gan.augment.Noise(0.1)},
            "augment was",
        ),
        (
            lambda: GAN(nn_generator(), loss=losses.Energy()),
            {"optimizers": {"generator": functools.partial(torch.optim.SGD, lr=0.1)}},
            "optimizers was",
        ),
    ):
        with pytest.raises(ValueError, match=name):
            fit(make(), **{"data": CLOUD[:, :2]} | options | change)
    with pytest.raises(ValueError, match=f"got the folder {tmp_path}"):
        fit(GAN(nn_generator(), loss=losses.Energy()), CLOUD[:, :2], checkpoint=tmp_path)
    wider = networks.mlp_generator(2, latent_dim=2, hidden=(6,), bounded=False)
    with pytest.raises(ValueError, match="checkpoint of another generator"):
        fit(GAN(wider, loss=losses.Energy()), CLOUD[:, :2], **options)


def test_a_run_is_made_longer_and_never_shorter(tmp_path, caplog):
    path = tmp_path / "run"
    made = [GAN(nn_generator(), loss=losses.Energy()) for _ in range(3)]
    fit(made[0], CLOUD[:, :2], steps=4, checkpoint=path)
    fit(made[1], CLOUD[:, :2], steps=8, checkpoint=path)
    assert len(made[1].history) == 8
    assert made[1].history.generator_loss[:4] == made[0].history.generator_loss
    assert "was a run of 4 steps and goes on from step 4 as one of 8" in caplog.text
    with pytest.raises(ValueError, match="steps must be at least the 8"):
        fit(made[2], CLOUD[:, :2], steps=6, checkpoint=path)
