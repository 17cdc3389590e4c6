"""Networks of somebody new: what they draw by themselves is the run's; what does not fit is refused with a remedy."""

import pickle
from threading import Thread

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from gan import GAN, losses, networks
from gan.penalties import GradientPenalty

X = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """Adds noise of its own in a layer, as StyleGAN's generator does."""

    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.layer, self.strength = nn.Linear(3, 2), nn.Parameter(torch.ones(()))

    def forward(self, z):
        return self.layer(z) + self.strength * torch.randn(len(z), 2)


def critic(*layers):
    return nn.Sequential(nn.Linear(2, 16), *layers, nn.LeakyReLU(0.2), nn.Linear(16, 1))


def fit(model, seed=0, **changes):
    options = {"steps": 6, "batch_size": 8, "device": "cpu", "progress": False, "seed": seed} | changes
    return model.fit(X, **options)


def noisy():
    torch.manual_seed(0)
    return GAN(Noisy(), critic(nn.Dropout()), loss=losses.NonSaturating(), penalties=(GradientPenalty(),))


def test_noise_within_the_networks_follows_the_seed_and_leaves_torchs_own():
    first, second, other = noisy(), noisy(), noisy()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    fit(first)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    fit(second)
    fit(other, seed=1)
    assert torch.equal(first.sample(5, seed=0), second.sample(5, seed=0))
    assert not torch.equal(first.sample(5, seed=0), other.sample(5, seed=0))


def test_a_run_of_noisy_networks_goes_on_to_the_same_bits(tmp_path):
    whole, path = fit(noisy(), checkpoint=tmp_path / "whole.safetensors"), tmp_path / "run.safetensors"

    def stop(step, model, history):
        return step == 3

    fit(noisy(), checkpoint=path, on_step=stop, on_step_every=3)
    torch.manual_seed(5)
    assert len((again := fit(noisy(), checkpoint=path)).history) == 6
    assert torch.equal(whole.sample(5, seed=0), again.sample(5, seed=0))


def test_a_seed_means_the_same_samples_of_a_noisy_generator():
    model = fit(noisy())
    before = torch.get_rng_state()
    first = model.sample(5, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.sample(5, seed=0), first)
    assert not torch.equal(model.sample(5, seed=1), first)
    # The noise is there, of the size that it has in training, and not the latents over again.
    with torch.no_grad():
        for p in model.averaged.module.layer.parameters():
            p.zero_()
    # σ of 8000 normals: an error of 1/√16000.
    assert (
        abs(float(model.sample(4000, seed=0).std() / model.averaged.module.strength.detach().abs()) - 1)
        < 4 / 16000**0.5
    )


@pytest.mark.parametrize("context", [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_samples_are_those_of_outside(context):
    model = fit(noisy())
    outside = model.sample(5, seed=0)
    with context():
        inside = model.sample(5, seed=0)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize("where", ["generator", "critic"])
def test_a_batch_of_one_under_batch_normalisation_is_refused_and_the_remedies_work(where):
    def model():
        norm = [nn.BatchNorm1d(16)]
        made = nn.Sequential(nn.Linear(3, 16), *(norm if where == "generator" else []), nn.Linear(16, 2))
        judge = critic(*(norm if where == "critic" else []))
        return GAN(networks.Generator(made, latent_dim=3), judge, loss=losses.NonSaturating())

    options = {"steps": 9, "device": "cpu", "progress": False}
    message = r"at least 2 samples for batch normalisation, got 1; .*drop_last=True"
    with pytest.raises(ValueError, match=message):
        model().fit(DataLoader(X[:33], batch_size=8), **options)
    with pytest.raises(ValueError, match=message):
        model().fit(X, batch_size=1, **options)
    model().fit(DataLoader(X[:33], batch_size=8, drop_last=True), **options)


def test_a_picture_alone_has_a_variance_over_its_pixels():
    made = nn.Sequential(
        nn.Unflatten(1, (3, 1, 1)), nn.ConvTranspose2d(3, 4, 4), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)
    )
    model = GAN(networks.Generator(made, latent_dim=3), loss=losses.Energy())
    model.fit(torch.rand(9, 1, 4, 4), steps=2, batch_size=1, device="cpu", progress=False)
    assert model.sample(2, seed=0).isfinite().all()


class Deconvolved(nn.Module):
    """As DCGAN's: latents [n, 5, 1, 1]."""

    def __init__(self):
        super().__init__()
        self.layer = nn.ConvTranspose2d(5, 1, 4)

    def forward(self, z):
        return self.layer(z)


def test_latents_of_a_pictures_shape_are_told_and_the_remedy_works():
    pictures = torch.rand(9, 1, 4, 4)
    options = {"steps": 2, "batch_size": 4, "device": "cpu", "progress": False}
    module = Deconvolved()
    with pytest.raises(ValueError, match=r"nn.Unflatten\(1, \(5, 1, 1\)\), module\), latent_dim=5\)"):
        GAN(networks.Generator(module, latent_dim=5), loss=losses.Energy()).fit(pictures, **options)
    module.latent_dim = (5, 1, 1)
    with pytest.raises(TypeError, match=r"nn.Unflatten\(1, \(5, 1, 1\)\), module\), latent_dim=5\)"):
        GAN(module, loss=losses.Energy())
    made = networks.Generator(nn.Sequential(nn.Unflatten(1, (5, 1, 1)), module), latent_dim=5)
    assert GAN(made, loss=losses.Energy()).fit(pictures, **options).sample(3).shape == (3, 1, 4, 4)


def test_players_that_share_weights_are_refused_unless_those_rest():
    layer = nn.Linear(2, 2)
    made = networks.Generator(nn.Sequential(nn.Linear(3, 2), layer), latent_dim=3)
    judge = nn.Sequential(layer, nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"share 0.weight of the critic, .*copy.deepcopy"):
        GAN(made, judge, loss=losses.NonSaturating())
    layer.requires_grad_(False)
    fit(GAN(made, judge, loss=losses.NonSaturating()))


@pytest.mark.parametrize("one", [np.int64(1), np.array(1), torch.tensor(1)])
def test_a_class_for_all_may_be_a_number_of_numpy_or_torch(one):
    model = GAN(networks.mlp_generator(2, num_classes=3, bounded=False), loss=losses.Energy())
    assert torch.equal(model.sample(4, labels=one, seed=0), model.sample(4, labels=1, seed=0))


def normalised():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    return GAN(networks.Generator(made, latent_dim=3), critic(nn.Dropout()), loss=losses.NonSaturating())


def test_a_look_that_leaves_the_networks_in_evaluation_mode_changes_no_training():
    plain, looked = normalised(), normalised()

    def look(step, model, history):
        model.generator.eval()
        model.critic.eval()

    fit(plain)
    fit(looked, on_step=look, on_step_every=1)
    assert looked.generator.training
    assert torch.equal(plain.sample(5, seed=0), looked.sample(5, seed=0))


@pytest.mark.parametrize("name", ["generator", "critic"])
def test_a_look_that_replaces_a_player_is_refused(name):
    def look(step, model, history):
        setattr(model, name, Noisy() if name == "generator" else critic())

    with pytest.raises(ValueError, match=rf"{name} must stay the one .*model.{name}.load_state_dict"):
        fit(noisy(), on_step=look, on_step_every=2)


def test_a_look_that_freezes_a_player_is_refused():
    def look(step, model, history):
        model.critic.requires_grad_(False)

    model = GAN(Noisy(), critic(), loss=losses.NonSaturating())
    with pytest.raises(
        ValueError, match=r"critic must have parameters that are trained, and all of them were frozen"
    ):
        fit(model, on_step=look, on_step_every=2)


def test_a_trained_model_can_be_pickled():
    model = fit(GAN(networks.mlp_generator(2, bounded=False), loss=losses.Energy()))
    copied = pickle.loads(pickle.dumps(model))
    assert torch.equal(copied.sample(3, seed=0), model.sample(3, seed=0))
    fit(copied)


def test_an_optimizer_in_the_place_of_its_factory_is_refused():
    model = noisy()
    with pytest.raises(TypeError, match=r"must be a factory, got Adam; write functools.partial"):
        fit(model, optimizers={"critic": torch.optim.Adam(model.critic.parameters())})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: GAN(Noisy(), loss=losses.Energy(), ema="0.9"), "ema must be a number, got str"),
        (lambda: fit(noisy(), device=None), "device must be a name or a torch.device, got NoneType"),
    ],
)
def test_other_types_are_refused(made, message):
    with pytest.raises(TypeError, match=message):
        made()


def test_noisy_runs_in_two_threads_are_those_of_one():
    alone, models = fit(noisy()), [noisy(), noisy()]
    before = torch.get_rng_state()
    threads = [Thread(target=fit, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    for model in models:
        assert torch.equal(model.sample(4, seed=0), alone.sample(4, seed=0))
