"""Runs that are trained together are the runs by themselves; what cannot be stacked is refused."""

import functools

import pytest
import torch
from torch import nn

import gan
from gan import GAN, augment, losses, networks, penalties
from gan.data import Data
from gan.losses import NAMES
from gan.stacked import Stacked
from gan.streams import Streams

CLOUD = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)).double() * 0.5 + 1
SEEDS = [3, 0, 5]
SETTINGS = gan.TrainingSettings(batch_size=16, critic_steps=2, penalty_decay=0.1)


def critic_of(seed, outputs=1):
    return networks.mlp_critic(
        2, output_dim=outputs, hidden=(16, 16), fourier=(4, 0.25, 1.0), seed=seed
    ).double()


def generator_of(seed):
    return networks.mlp_generator(2, latent_dim=3, hidden=(16, 16), bounded=False, seed=seed).double()


def models_of(count=3, **changes):
    """GANs with weights of their own; `critic=None` for none."""
    changes = {"loss": losses.NonSaturating(), "penalties": (penalties.R1(1.0),)} | changes
    make_critic = changes.pop("critic", critic_of)
    return [
        GAN(generator_of(seed), None if make_critic is None else make_critic(seed), **changes)
        for seed in range(count)
    ]


def both_ways(make, *, steps=3, settings=SETTINGS, data=CLOUD, **changes):
    """The models trained together, and the same models one by one."""
    together, alone = make(), make()
    gan.fit_many(
        together, data, steps=steps, seeds=SEEDS, settings=settings, device="cpu", progress=False, **changes
    )
    for model, seed in zip(alone, SEEDS, strict=True):
        model.fit(data, steps=steps, seed=seed, settings=settings, device="cpu", progress=False, **changes)
    return together, alone


def assert_alike(together, alone, *, tol=1e-9):
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(
            one.history.rows(), other.history.rows(), rtol=tol, atol=tol, equal_nan=True
        )
        torch.testing.assert_close(one.sample(8, seed=1), other.sample(8, seed=1), rtol=tol, atol=tol)
        for mine, its in zip(one.generator.parameters(), other.generator.parameters(), strict=True):
            torch.testing.assert_close(mine, its, rtol=tol, atol=tol)
        if one.critic is not None:
            for mine, its in zip(one.critic.parameters(), other.critic.parameters(), strict=True):
                torch.testing.assert_close(mine, its, rtol=tol, atol=tol)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith("sinkhorn") and name != "hinge"]
)
def test_every_loss_of_the_catalogue_by_its_recipe(name):
    chosen = gan.recipe(name, like=CLOUD)

    def make():
        players = [chosen.players(seed=seed) for seed in range(3)]
        return [
            GAN.from_recipe(chosen, p.generator.double(), None if p.critic is None else p.critic.double())
            for p in players
        ]

    # Rounding of 2e-16 grows by the slopes of the critic and by Adam's first step, which is a sign.
    assert_alike(*both_ways(make, settings=None, batch_size=16), tol=1e-7)


@pytest.mark.parametrize("learned", [False, True])
def test_sinkhorn_losses_to_their_solvers_tolerance(learned):
    critic = functools.partial(critic_of, outputs=4) if learned else None
    changes = {"loss": losses.Sinkhorn(eps=0.1, learned_cost=learned), "penalties": (), "critic": critic}
    together, alone = both_ways(lambda: models_of(**changes), steps=1)
    for one, other in zip(together, alone, strict=True):
        # The value's relative error is about the square of the gradient's, 3e-4; a step moves each weight by 1e-3.
        torch.testing.assert_close(
            one.history.rows(), other.history.rows(), rtol=1e-4, atol=1e-6, equal_nan=True
        )


@pytest.mark.parametrize(
    "penalty",
    [
        penalties.R2(2.0),
        penalties.GradientPenalty(3.0),
        penalties.GradientPenalty(3.0, one_sided=True),
        penalties.DRAGAN(2.0),
        penalties.WeightClipping(0.1),
    ],
    ids=str,
)
def test_every_penalty_that_can_be_stacked(penalty):
    assert_alike(*both_ways(lambda: models_of(penalties=(penalty, penalties.R1(0.5)))))


def test_augmentations_draw_for_each_run_what_it_would_draw():
    changes = (augment.Shift(1, (2, 4), 0.5), augment.Cutout(1, (2, 4), 0.5), augment.Noise(0.1, 0.5))
    images = torch.rand(32, 8, generator=torch.Generator().manual_seed(1)).double()
    recipe = gan.Recipe(losses.JensenShannon(), (penalties.R1(1.0),), SETTINGS, augment=changes)

    def make():
        pairs = [
            (networks.mlp_generator(8, hidden=(8,), seed=s), networks.mlp_critic(8, hidden=(8,), seed=s))
            for s in range(3)
        ]
        return [GAN.from_recipe(recipe, g.double(), c.double()) for g, c in pairs]

    assert_alike(*both_ways(make, settings=None, data=images))


def test_packs_and_the_spread_of_a_batch():
    def packed(seed):
        return networks.Packed(networks.mlp_critic(4, hidden=(8,), seed=seed), pack=2).double()

    def spread(seed):
        return nn.Sequential(
            networks.MinibatchStd(4), networks.mlp_critic(3, hidden=(8,), seed=seed)
        ).double()

    for make in (packed, spread):
        assert_alike(*both_ways(lambda make=make: models_of(critic=make)))


def test_convolutions_and_pictures_in_bytes():
    images = torch.randint(
        0, 256, (32, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )

    def make():
        pairs = [
            (
                networks.conv_generator(shape=(1, 8, 8), seed=s),
                networks.conv_critic(shape=(1, 8, 8), seed=s),
            )
            for s in range(3)
        ]
        return [
            GAN(g.double(), c.double(), loss=losses.Hinge(), penalties=(penalties.R1(1.0),)) for g, c in pairs
        ]

    assert_alike(*both_ways(make, data=images), tol=1e-7)


def test_frozen_and_tied_weights_the_rhythm_and_another_optimizer():
    def tied(seed):
        critic = nn.Sequential(
            *[nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)]
        ).double()
        for i, p in enumerate(critic.parameters()):
            p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * seed + i)).double()
        critic[2].weight = critic[0].weight
        critic[0].bias.requires_grad_(False)
        return critic

    settings = gan.TrainingSettings(batch_size=8, critic_every=2)
    recipe = gan.Recipe(
        losses.KL(),
        settings=settings,
        ema=0.0,
        optimizers={"critic": functools.partial(torch.optim.RMSprop, lr=1e-3)},
    )

    def make():
        return [GAN.from_recipe(recipe, generator_of(seed), tied(seed)) for seed in range(3)]

    together, alone = both_ways(make, settings=None)
    assert_alike(together, alone)
    assert together[0].critic[2].weight is together[0].critic[0].weight


def test_a_model_goes_on_by_itself_and_is_saved(tmp_path):
    models = gan.fit_many(models_of(), CLOUD, steps=2, batch_size=16, device="cpu", progress=False)
    models[1].save(tmp_path / "model.safetensors")
    loaded = gan.load(tmp_path / "model.safetensors", generator=generator_of(9), critic=critic_of(9))
    assert torch.equal(loaded.sample(4, seed=0), models[1].sample(4, seed=0))
    models[1].fit(CLOUD, steps=1, batch_size=16, device="cpu", progress=False)


def test_neither_the_global_seed_nor_the_order_of_runs_matters():
    torch.manual_seed(7)
    expected = torch.rand(())
    torch.manual_seed(7)
    data = Data("cloud", CLOUD, CLOUD)
    first = gan.fit_many(models_of(), data, steps=3, seeds=SEEDS, batch_size=16, device="cpu", progress=False)
    assert torch.rand(()) == expected
    turned = models_of()[::-1]
    gan.fit_many(turned, data, steps=3, seeds=SEEDS[::-1], batch_size=16, device="cpu", progress=False)
    assert_alike(first, turned[::-1])


def fitted(models, data=CLOUD, **changes):
    return gan.fit_many(models, data, **({"steps": 1, "device": "cpu", "progress": False} | changes))


def remedy(make, data=CLOUD):
    """What the messages say to do."""
    for seed, model in enumerate(make()):
        model.fit(data, steps=1, batch_size=8, seed=seed, device="cpu", progress=False)


def with_layer(layer):
    """A critic with a layer in the middle."""
    return lambda seed: nn.Sequential(nn.Linear(2, 4), layer(), nn.Linear(4, 1)).double()


class Counts(nn.Module):
    """Asks for a number, which vmap cannot give."""

    def forward(self, x):
        return x if x.sum().item() > 0 else 2 * x


class Ruled(penalties.Penalty):
    """A projection of one's own."""

    def project(self, critic):
        with torch.no_grad():
            for p in critic.parameters():
                p.div_(p.norm())


class Attached(penalties.Penalty):
    """Autograd inside."""

    def __call__(self, critic, real, fake, *, generator=None):
        x = real.detach().requires_grad_()
        return torch.autograd.grad(critic(x).sum(), x, create_graph=True)[0].square().mean()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models_of(penalties=(penalties.SpectralNorm(),)), "penalties that change the critic"),
        (lambda: models_of(penalties=(Ruled(),)), "penalties that change the critic"),
        (lambda: models_of(penalties=(Attached(),)), "cannot run under torch.vmap"),
        (lambda: models_of(penalties=(), critic=with_layer(lambda: nn.BatchNorm1d(4))), "change its buffers"),
        (lambda: models_of(critic=with_layer(lambda: nn.Dropout(0.5))), "cannot run under torch.vmap"),
        (lambda: models_of(critic=with_layer(Counts)), "cannot run under torch.vmap"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_a_remedy_that_works(make, words):
    with pytest.raises(ValueError, match=f"{words}.*train the models one by one"):
        fitted(make())
    remedy(make)


def test_a_refusal_leaves_the_networks_as_they_were():
    models = models_of(penalties=(), critic=with_layer(lambda: nn.BatchNorm1d(4)))
    before = [{k: v.clone() for k, v in m.critic.state_dict().items()} for m in models]
    with pytest.raises(ValueError, match="buffers"):
        fitted(models)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in model.critic.state_dict().items())


def test_attributes_that_differ_are_found():
    def leaky(seed):
        return nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(0.1 * seed), nn.Linear(4, 1)).double()

    with pytest.raises(ValueError, match=r"models\[1\] gives other numbers"):
        fitted(models_of(critic=leaky))


def test_models_that_do_not_belong_together():
    first, second, third = models_of()
    with pytest.raises(ValueError, match=r"models\[1\] has the loss"):
        fitted([first, models_of(loss=losses.KL())[1]])
    with pytest.raises(ValueError, match=r"models\[1\] has the penalties"):
        fitted([first, models_of(penalties=(penalties.R1(2.0),))[1]])
    with pytest.raises(ValueError, match=r"models\[1\] has the critic"):
        fitted([first, models_of(critic=lambda seed: networks.mlp_critic(2, hidden=(4,)).double())[1]])
    with pytest.raises(ValueError, match="networks of their own"):
        fitted([first, first])
    with pytest.raises(ValueError, match="seeds must be as many as models, 3, got 2"):
        fitted([first, second, third], seeds=[0, 1])
    with pytest.raises(TypeError, match="models must be a list of GANs, got a list of nothing"):
        fitted([])
    with pytest.raises(TypeError, match="one by one"):
        fitted(models_of(), torch.utils.data.TensorDataset(CLOUD))


def test_networks_of_classes_are_refused():
    def make():
        return [
            GAN(
                networks.mlp_generator(2, num_classes=2, seed=s),
                networks.mlp_critic(2, num_classes=2, seed=s),
                loss=losses.KL(),
            )
            for s in range(2)
        ]

    with pytest.raises(ValueError, match="classes cannot be stacked"):
        fitted(make())


def test_optimizers_that_look_at_a_tensor_are_refused():
    class Whole(torch.optim.SGD):
        pass

    recipe = gan.Recipe(losses.KL(), optimizers={"generator": functools.partial(Whole, lr=1e-3)})
    models = [GAN.from_recipe(recipe, generator_of(s), critic_of(s)) for s in range(2)]
    with pytest.raises(ValueError, match="every number by itself"):
        fitted(models)


def test_divergence_names_the_seed():
    models = models_of(penalties=())
    with torch.no_grad():
        next(models[1].critic.parameters()).fill_(torch.inf)
        next(models[1].critic.parameters()).mul_(0)
    with pytest.raises(gan.TrainingDivergedError, match=r"seed 8 .* leave this seed out"):
        fitted(models, seeds=[7, 8, 9])
    fitted(models[::2], seeds=[7, 9])


def test_streams_draw_nothing_outside():
    streams = Streams("training", [0, 1])
    with pytest.raises(RuntimeError, match="vmap"):
        streams.draw_like(torch.rand, (2,), torch.zeros(2))


def test_stacked_is_each_network():
    nets = [networks.mlp_critic(3, hidden=(5,), seed=s) for s in range(4)]
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Stacked(nets)(x), torch.stack([n(z) for n, z in zip(nets, x, strict=True)]))
