"""What makes a run this run: parts of one's own are known by their settings, never by where they lie."""

import numpy as np
import pytest
import torch
from torch import nn

import gan
from gan import GAN, TrainingSettings, fit_many, losses, networks
from metrics import files

pytestmark = pytest.mark.usefixtures("unchecked")

CLOUD = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


class Gap:
    """A sample loss of one's own."""

    learned_cost = False

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, real, fake, *, generator):
        return self.weight * (real.mean(0) - fake.mean(0)).square().sum()


class Scale:
    """An augmentation of one's own."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, batch, *, generator):
        return self.factor * batch


class Near:
    """A kernel of one's own."""

    def __call__(self, x, y):
        return torch.exp(-torch.cdist(x, y))


def generator(**changes):
    settings = {"latent_dim": 4, "hidden": (8,), "bounded": False} | changes
    return networks.mlp_generator(2, **settings)


def trained(path, steps, *, loss=None, network=None, until=None, **changes):
    model = GAN(network or generator(), loss=loss or losses.Energy())
    stop = None if until is None else lambda step, *_: step == until
    options = {"batch_size": 8, "progress": False, "seed": 0, "checkpoint": path} | changes
    return model.fit(CLOUD, steps=steps, on_step=stop, on_step_every=until or 500, **options)


@pytest.mark.parametrize(
    "make", [lambda: Gap(2.0), lambda: losses.MMD(kernel=Near())], ids=["loss", "kernel"]
)
def test_a_run_with_a_loss_of_ones_own_goes_on_to_the_same_bits(make, tmp_path):
    path = tmp_path / "run.safetensors"
    whole = trained(None, 8, loss=make()).sample(5, seed=0)
    trained(path, 8, loss=make(), until=4)
    assert torch.equal(trained(path, 8, loss=make()).sample(5, seed=0), whole)


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"loss": Gap(1.0)}, {"loss": Gap(5.0)}, r"loss was Gap\(weight=1.0\), now Gap\(weight=5.0\)"),
        ({"augment": Scale(1.0)}, {"augment": Scale(5.0)}, r"augment was .*factor=1.0.*now .*factor=5.0"),
        ({"network": generator()}, {"network": generator(bounded=True)}, r"another generator .*now .*Tanh"),
        ({"network": generator()}, {"network": generator(slope=0.0)}, r"another generator .*LeakyReLU.*now .* ReLU"),
    ],
    ids=["loss", "augmentation", "end", "rectifier"],
)  # fmt: skip
def test_other_settings_are_another_run(before, now, told, tmp_path):
    path = tmp_path / "run.safetensors"
    trained(path, 2, **before)
    with pytest.raises(ValueError, match=f"a checkpoint of .*{told}"):
        trained(path, 4, **now)


def test_seeds_and_rates_of_numpy_can_be_written(tmp_path):
    settings = TrainingSettings(betas=(np.float32(0), np.float64(0.99)))  # pyright: ignore[reportArgumentType]
    path = tmp_path / "run.safetensors"
    trained(path, 4, until=2, seed=np.int64(3), settings=settings)
    want = trained(None, 4, seed=3).sample(2, seed=0)
    assert torch.equal(trained(path, 4, seed=3).sample(2, seed=0), want)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"learning_rate": 1e-3}, r"got dict; write TrainingSettings\(\*\*settings\)"),
        (TrainingSettings, "got the class TrainingSettings; write"),
        (1e-3, "got float; write"),
    ],
)
def test_settings_are_an_object(settings, told):
    with pytest.raises(TypeError, match=f"settings must be gan.TrainingSettings, {told}"):
        trained(None, 2, settings=settings)
    with pytest.raises(TypeError, match=f"settings must be gan.TrainingSettings, {told}"):
        fit_many([GAN(generator(), loss=losses.Energy())], CLOUD, steps=1, settings=settings, progress=False)


@pytest.mark.parametrize(("betas", "kind"), [((0.0, 1.5), ValueError), (0.9, TypeError), ((0.9,), TypeError)])
def test_betas_are_two_numbers_below_one(betas, kind):
    with pytest.raises(kind, match=r"betas must be .*write betas=\(0.0, 0.99\)"):
        TrainingSettings(betas=betas)


def test_a_network_is_known_by_its_layers_and_not_by_their_place(tmp_path):
    class Held(nn.Module):
        latent_dim = 4

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def extra_repr(self):
            return repr(object())

        def forward(self, z):
            return self.layer(z)

    path = tmp_path / "run.safetensors"
    trained(path, 2, network=Held())
    assert len(trained(path, 4, network=Held()).history) == 4


def test_a_checkpoint_from_before_the_networks_were_known_goes_on(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = trained(None, 4).sample(5, seed=0)
    trained(path, 4, until=2)
    tensors, told = files.read(path)
    for name in ("generator", "critic"):
        del told["identity"][name]
    files.write(path, tensors, told)
    assert torch.equal(trained(path, 4).sample(5, seed=0), whole)


def test_a_model_of_another_version_is_told_as_one(tmp_path):
    path = tmp_path / "model.safetensors"
    trained(None, 2).save(path)
    tensors, told = files.read(path)
    files.write(path, tensors, told | {"format": "gan 2"})
    with pytest.raises(ValueError, match=r"a model of another version, 'gan 2', and this one reads 'gan 1'"):
        gan.load(path)
    files.write(path, tensors, told | {"format": "other"})
    with pytest.raises(ValueError, match=r"is no model of GAN.save; a checkpoint goes to"):
        gan.load(path)
