"""An accumulator inside torchmetrics and Lightning: the same numbers as in one shot, batch values, moves, states."""

import copy
import warnings

import pytest
import torch
from torch import nn

import metrics
from metrics import streaming

torchmetrics = pytest.importorskip("torchmetrics")


@pytest.fixture
def predictions(gen):
    logits = torch.randn(30, 3, generator=gen)
    return logits.softmax(1), torch.randint(3, (30,), generator=gen)


def test_batches_give_the_measure_of_the_whole_and_a_call_that_of_its_batch(predictions):
    probs, labels = predictions
    metric = streaming.BrierScore().as_torchmetric()
    for part in (slice(0, 10), slice(10, 30)):
        alone = metric(probs[part], labels[part])
        torch.testing.assert_close(alone, metrics.brier_score(probs[part], labels[part]))
    torch.testing.assert_close(metric.compute(), metrics.brier_score(probs, labels))
    assert metric.higher_is_better is False
    metric.reset()
    metric.update(probs[:5], labels[:5])
    torch.testing.assert_close(metric.compute(), metrics.brier_score(probs[:5], labels[:5]))


def test_several_numbers_are_a_dict(gen):
    real, fake = torch.randn(20, 2, generator=gen), torch.randn(25, 2, generator=gen)
    metric = streaming.PrecisionRecallDensityCoverage(k=3).as_torchmetric(higher_is_better=True)
    metric.update(real=real)
    metric.update(fake=fake)
    wanted = metrics.precision_recall_density_coverage(real=real, fake=fake, k=3)
    assert metric.compute() == {name: getattr(wanted, name) for name in metric.compute()}
    assert set(metric.compute()) == {"precision", "recall", "density", "coverage"}
    assert metric.higher_is_better is True


def test_in_a_collection_and_after_a_copy(predictions):
    probs, labels = predictions
    both = torchmetrics.MetricCollection(
        {
            "brier": streaming.BrierScore().as_torchmetric(),
            "ece": streaming.CalibrationError().as_torchmetric(),
        }
    )
    both.update(probs, labels)
    found = copy.deepcopy(both).compute()
    torch.testing.assert_close(found["brier"], metrics.brier_score(probs, labels))
    torch.testing.assert_close(found["ece"], metrics.calibration_error(probs, labels))


def test_a_module_saves_and_restores_it_and_keeps_its_type(predictions):
    probs, labels = predictions
    held = nn.ModuleDict({"score": streaming.BrierScore().as_torchmetric()})
    held["score"].update(probs.double(), labels)
    held.float()  # a network's change of type is not the points'
    held.to("cpu")
    assert held["score"].compute().dtype == torch.float64
    fresh = nn.ModuleDict({"score": streaming.BrierScore().as_torchmetric()})
    fresh.load_state_dict(held.state_dict())
    assert torch.equal(fresh["score"].accumulator.compute(), held["score"].compute())


def test_lightning_logs_it(predictions, tmp_path):
    lightning = pytest.importorskip("lightning")
    probs, labels = predictions

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.score = streaming.BrierScore().as_torchmetric()

        def test_step(self, batch):
            self.score.update(*batch)
            self.log("brier", self.score, on_epoch=True)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(probs, labels), batch_size=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about workers and loggers
        trainer = lightning.Trainer(
            accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
        )
        (found,) = trainer.test(Module(), data, verbose=False)
    assert found["brier"] == pytest.approx(float(metrics.brier_score(probs, labels)), rel=1e-6)
