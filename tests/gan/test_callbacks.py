"""Looks while a GAN trains: when they are called, what they keep, how they end it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gan
import metrics
from gan import GAN, callbacks, losses, networks

CLOUD = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))


def fit(*calls, steps=10, every=4, **changes):
    model = GAN(networks.mlp_generator(2, latent_dim=2, hidden=(8,), bounded=False), loss=losses.Energy())
    options = {"batch_size": 16, "device": "cpu", "progress": False} | changes
    return model.fit(CLOUD, steps=steps, on_step=list(calls), on_step_every=every, **options)


def test_called_every_so_many_steps_and_after_the_last():
    seen = []
    fit(lambda step, model, history: seen.append((step, len(history), model.sample(2, seed=0).shape)))
    assert seen == [(4, 4, (2, 2)), (8, 8, (2, 2)), (10, 10, (2, 2))]


def test_looking_changes_nothing():
    looked = fit(callbacks.Judge(CLOUD[:40], measures=("energy_distance",)))
    assert torch.equal(looked.sample(5, seed=0), fit().sample(5, seed=0))


def test_pictures_in_bytes_are_judged_as_the_model_sees_them():
    gen = torch.Generator().manual_seed(1)
    pictures = torch.randint(256, (60, 1, 8, 8), dtype=torch.uint8, generator=gen)
    model = GAN(networks.conv_generator(shape=(1, 8, 8), latent_dim=2), loss=losses.Energy())
    judges = [
        callbacks.Judge(each, measures=("energy_distance",)) for each in (pictures, pictures / 127.5 - 1)
    ]
    model.fit(pictures, steps=1, batch_size=8, device="cpu", progress=False, on_step=judges)
    assert judges[0].values("energy_distance") == judges[1].values("energy_distance")


def test_a_judge_that_cannot_judge_says_so_before_the_training():
    with pytest.raises(ValueError, match="reference must hold at least 20 samples, got 12; pass more"):
        callbacks.Judge(CLOUD[:12])
    with pytest.raises(ValueError, match=r"measures must be of .*, got fid"):
        callbacks.Judge(CLOUD, measures=("fid",))


def test_true_ends_it_and_the_checkpoint_is_written(tmp_path):
    path = tmp_path / "run"
    stopped = fit(lambda step, *_: step >= 8, checkpoint=path)
    assert len(stopped.history) == 8
    assert len(fit(checkpoint=path).history) == 10


@pytest.mark.parametrize("says", [np.bool_, torch.tensor], ids=["numpy", "torch"])
def test_truth_values_of_other_libraries_end_it_too(says):
    assert len(fit(lambda step, *_: says(step >= 8)).history) == 8


@pytest.mark.parametrize("answer", [1, "yes", torch.ones(2) > 0, np.ones(2), None], ids=str)
def test_other_answers_end_nothing(answer):
    assert len(fit(lambda *_: answer).history) == 10


def test_the_best_is_kept_and_the_rest_stopped(tmp_path):
    judge = callbacks.Judge(CLOUD[:50], measures=("energy_distance",))
    keep = callbacks.KeepBest(judge, "energy_distance", tmp_path / "best")
    stop = callbacks.EarlyStop(judge, "energy_distance", patience=2)
    fit(judge, keep, stop, steps=400, every=10)
    values = judge.values("energy_distance")
    assert keep.step == judge.reports[values.index(min(values))][0]
    again = callbacks.Judge(CLOUD[:50], measures=("energy_distance",))
    again(0, gan.load(tmp_path / "best"), gan.History())
    assert again.values("energy_distance")[0] == pytest.approx(min(values), rel=1e-6)
    assert values.index(min(values)) >= len(values) - 3


class Writer:
    def __init__(self):
        self.scalars, self.images = {}, []

    def add_scalar(self, name, value, step):
        self.scalars.setdefault(name, []).append((step, value))

    def add_images(self, name, images, step):
        self.images.append((step, images))


def test_tensorboard_gets_losses_measures_and_pictures():
    writer, judge = Writer(), callbacks.Judge(CLOUD[:30], measures=("mmd2",))
    fit(judge, callbacks.TensorBoard(writer, judge))
    assert [step for step, _ in writer.scalars["loss/generator_loss"]] == [4, 8, 10]
    assert len(writer.scalars["measure/mmd2"]) == 3
    assert "loss/critic_loss" not in writer.scalars
    assert writer.images == []
    model = GAN(networks.conv_generator(shape=(1, 8, 8), channels=2), loss=losses.Energy())
    images = torch.zeros(8, 1, 8, 8)
    model.fit(
        images, steps=2, batch_size=4, device="cpu", progress=False, on_step=callbacks.TensorBoard(writer)
    )
    assert writer.images[0][1].shape == (16, 1, 8, 8)
    assert 0 <= float(writer.images[0][1].min()) <= float(writer.images[0][1].max()) <= 1


def test_refusals():
    judge = callbacks.Judge(CLOUD[:30], measures=("mmd2",))
    with pytest.raises(ValueError, match="put it before this one"):
        fit(callbacks.KeepBest(judge, "mmd2", "x"))
    with pytest.raises(ValueError, match="measures must be of wasserstein"):
        fit(callbacks.Judge(CLOUD[:30], measures=("fid",)))
    with pytest.raises(ValueError, match="one of the judge's, mmd2"):
        fit(judge, callbacks.EarlyStop(judge, "energy_distance"))
    with pytest.raises(ValueError, match="patience"):
        callbacks.EarlyStop(judge, "mmd2", patience=0)


def test_a_real_event_file_is_read_back(tmp_path):
    """What TensorBoard itself reads from the file: the numbers of the history and of the judge."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    writer, judge = SummaryWriter(str(tmp_path)), callbacks.Judge(CLOUD[:30], measures=("mmd2",))
    model = fit(judge, callbacks.TensorBoard(writer, judge))
    images = GAN(networks.conv_generator(shape=(1, 8, 8), channels=2), loss=losses.Energy())
    images.fit(
        torch.zeros(8, 1, 8, 8),
        steps=2,
        batch_size=4,
        device="cpu",
        progress=False,
        on_step=callbacks.TensorBoard(writer),
    )
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    losses_read = [(event.step, event.value) for event in events.Scalars("loss/generator_loss")][:3]
    assert losses_read == [(k, pytest.approx(model.history.generator_loss[k - 1])) for k in (4, 8, 10)]
    read = [event.value for event in events.Scalars("measure/mmd2")]
    assert read == [pytest.approx(value) for value in judge.values("mmd2")]
    assert "loss/critic_loss" not in events.Tags()["scalars"]
    assert events.Images("samples")[0].encoded_image_string[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (3, r"on_step must be functions, got int; write def look\(step, model, history\)"),
        (callbacks.EarlyStop, r"got the class EarlyStop; write EarlyStop\(...\)"),
    ],
)
def test_looks_that_cannot_be_called_are_refused_before_the_training(look, message):
    with pytest.raises(TypeError, match=message):
        fit(look)


@pytest.mark.parametrize("path", ["pictures", Path("pictures")], ids=["text", "path"])
def test_a_path_is_read_first(path):
    with pytest.raises(
        TypeError, match=r"data must be read first, .* gan.data.folder\('pictures', size=32\)"
    ):
        GAN(networks.mlp_generator(2), loss=losses.Energy()).fit(path, steps=1)
    with pytest.raises(TypeError, match=r"like must be data, .* gan.data.file\('pictures'\)"):
        gan.recipe("js", like=path)


@pytest.mark.usefixtures("unchecked")
def test_references_of_other_types_are_judged_as_the_models():
    """An array and doubles had been taken at first, and refused at the first look, after the steps before it."""
    rounded = CLOUD[:40].double()
    given = [CLOUD[:40], CLOUD[:40].numpy(), rounded, rounded.numpy()]
    judges = [callbacks.Judge(each, measures=("energy_distance",)) for each in given]  # pyright: ignore[reportArgumentType]
    fit(*judges, steps=4)
    assert len({judge.values("energy_distance")[0] for judge in judges}) == 1


@pytest.mark.usefixtures("unchecked")
def test_measures_are_a_list_of_names():
    with pytest.raises(TypeError, match=r"a list of names, got 'mmd2'; write measures=\['mmd2'\]"):
        callbacks.Judge(CLOUD, measures="mmd2")
    with pytest.raises(ValueError, match=r"measures must be of wasserstein, .* got \[Measure"):
        callbacks.Judge(CLOUD, measures=metrics.standard_measures()[:1])  # pyright: ignore[reportArgumentType]


def test_data_out_of_range_are_told_to_be_scaled():
    chosen = gan.recipe("js", like=1e20 * CLOUD)
    with pytest.raises(gan.TrainingDivergedError, match=r"at step 0.*bring the data to a scale of about 1"):
        GAN.from_recipe(chosen, *chosen.players()).fit(1e20 * CLOUD, steps=1, device="cpu", progress=False)
    with pytest.raises(
        ValueError, match=r"like must have a variance that a float can hold.*scale the data down"
    ):
        gan.recipe("js", like=1e200 * CLOUD.double())
