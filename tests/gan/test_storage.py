"""A model in a file: the same samples after loading, networks rebuilt or given, and nothing else is read."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import gan
from gan import GAN, losses, networks, penalties
from gan.networks.initial import rebuildable
from metrics import files, kernels

CLOUD = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


def fit(model, data=CLOUD, **changes):
    return model.fit(data, **{"steps": 5, "batch_size": 16, "device": "cpu", "progress": False} | changes)


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_built_in_networks_are_rebuilt(tmp_path, ema):
    model = GAN(
        networks.mlp_generator(2, latent_dim=3, hidden=(8,), bounded=False),
        networks.mlp_critic(2, hidden=(8,)),
        loss=losses.KL(max_log_ratio=5.0),
        penalties=(penalties.R1(0.5), penalties.SpectralNorm()),
        ema=ema,
    )
    fit(model).save(tmp_path / "model")
    again = gan.load(tmp_path / "model")
    assert torch.equal(again.sample(7, seed=3), model.sample(7, seed=3))
    assert (again.loss, again.penalties, again.ema) == (model.loss, model.penalties, model.ema)
    torch.testing.assert_close(again.history.rows(), model.history.rows(), rtol=0, atol=0, equal_nan=True)
    for key, value in model.critic.state_dict().items():
        assert torch.equal(again.critic.state_dict()[key], value)
    fit(again)


def test_every_builder_is_rebuilt(tmp_path):
    for make in (
        lambda: networks.mlp_generator(4, num_classes=3),
        lambda: networks.conv_generator(shape=(2, 8, 8), channels=4),
        lambda: networks.residual_generator(shape=(1, 8, 8), channels=4, num_classes=2),
    ):
        model = GAN(make(), loss=losses.MMD(kernel=kernels.Gaussian(2.0)))
        model.save(tmp_path / "model")
        again = gan.load(tmp_path / "model")
        assert torch.equal(again.sample(2, seed=0), model.sample(2, seed=0))
        assert again.loss == model.loss


def again_from_file(model, path):
    model.save(path / "model")
    return gan.load(path / "model")


def test_a_whole_number_for_the_average_is_read_back(tmp_path):
    model = GAN(networks.mlp_generator(2), loss=losses.Energy(), ema=0)
    assert again_from_file(model, tmp_path).ema == 0


def test_data_of_fewer_classes_than_the_generator_has(tmp_path):
    model = GAN(networks.mlp_generator(2, num_classes=5), loss=losses.Energy())
    again = again_from_file(fit(model, labels=torch.arange(64) % 3), tmp_path)
    assert torch.equal(again.sample(9, seed=0), model.sample(9, seed=0))


def test_double_precision_is_kept(tmp_path):
    model = fit(GAN(networks.mlp_generator(2).double(), loss=losses.Energy()), CLOUD.double())
    again = again_from_file(model, tmp_path)
    assert torch.equal(again.sample(4, seed=0), model.sample(4, seed=0))  # float32 would differ in type


@pytest.mark.parametrize("kernel", [kernels.RationalQuadratic(), kernels.Laplace((0.5, 2.0))])
def test_a_kernel_of_several_scales_is_made_again(tmp_path, kernel):
    model = GAN(networks.mlp_generator(2), loss=losses.MMD(kernel=kernel))
    assert again_from_file(model, tmp_path).loss == model.loss


def test_a_network_built_by_numbers_of_other_libraries_can_be_written():
    make = rebuildable(lambda d, unit: nn.Linear(d, 2))  # GAN.save writes the call as JSON
    told = make(np.int64(3), unit=(np.ones(2), torch.tensor(2.0))).built_by
    assert json.loads(json.dumps(told))["arguments"] == {"d": 3, "unit": [[1.0, 1.0], 2.0]}


class Mine(nn.Module):
    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, z):
        return self.net(z)


class Own(losses.Energy):
    """A loss of one's own."""


def test_networks_and_losses_of_ones_own_are_asked_for_and_given(tmp_path):
    path = tmp_path / "model"
    model = fit(GAN(Mine(), nn.Linear(2, 1), loss=losses.NonSaturating(), penalties=(penalties.R1(1.0),)))
    model.save(path)
    with pytest.raises(ValueError, match="pass generator="):
        gan.load(path)
    again = gan.load(path, generator=Mine())
    assert torch.equal(again.sample(4, seed=0), model.sample(4, seed=0))
    with pytest.raises(ValueError, match=r"critic=.*to train on"):
        fit(again)
    fit(gan.load(path, generator=Mine(), critic=nn.Linear(2, 1)))
    with pytest.raises(ValueError, match="another generator"):
        gan.load(path, generator=networks.mlp_generator(2))
    fit(GAN(Mine(), loss=Own())).save(path)
    with pytest.raises(ValueError, match="pass loss="):
        gan.load(path, generator=Mine())
    assert gan.load(path, generator=Mine(), loss=Own()).loss == Own()


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file at"):
        gan.load(tmp_path / "none")
    fit(GAN(Mine(), loss=losses.Energy()), checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"GAN\.fit\(checkpoint="):
        gan.load(tmp_path / "run")


def test_a_name_in_a_file_reaches_only_what_is_known(tmp_path):
    """A file that names something else than a builder or a loss of ours builds nothing."""
    tensors = {"history": torch.zeros(0, 3)}
    evil = {"builder": "load", "arguments": {"path": "x"}}
    described = {"room": "losses", "name": "catalogue", "fields": {}}
    told = {"format": "gan 1", "built": {"generator": evil, "critic": None}, "loss": described}
    files.write(tmp_path / "model", tensors, told | {"penalties": [], "ema": 0.5})
    with pytest.raises(ValueError, match="pass generator="):
        gan.load(tmp_path / "model")


def test_sampling_takes_the_memory_of_a_chunk(monkeypatch):
    sizes = []
    model = GAN(networks.mlp_generator(2), loss=losses.Energy(), ema=0.0)
    model.generator.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    assert model.sample(2500, seed=0).shape == (2500, 2)
    assert sizes == [1000, 1000, 500]
