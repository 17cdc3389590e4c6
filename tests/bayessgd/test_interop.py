import builtins
import importlib.util
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

from bayessgd import SWAG, Ensemble, LowRankGaussian, Mixture
from bayessgd.interop import lightning_callback, to_arviz, to_pyro
from bayessgd.likelihoods import Gaussian
from bayessgd.params import flatten


def gaussian(seed=0):
    random = torch.Generator().manual_seed(seed)
    shapes = {"weight": (1, 2), "bias": (1,)}
    mean, variance = ({k: torch.rand(s, generator=random) + 0.1 for k, s in shapes.items()} for _ in range(2))
    return LowRankGaussian(
        mean, variance, {k: torch.randn(4, *s, generator=random) for k, s in shapes.items()}
    )


@pytest.fixture
def arviz():
    # Before version 1 it is one package; from then on `arviz_base` has what is used here.
    if importlib.util.find_spec("arviz") is None:
        return pytest.importorskip("arviz_base")
    return pytest.importorskip("arviz")


def test_arviz_gets_chains_predictions_and_log_likelihoods(arviz):
    net = nn.Linear(2, 1)
    random = torch.Generator().manual_seed(0)
    law = Ensemble(
        {"weight": torch.randn(10, 1, 2, generator=random), "bias": torch.randn(10, 1, generator=random)},
        chains=2,
    )
    x, y = torch.randn(7, 2, generator=random), torch.randn(7, 1, generator=random)
    found = to_arviz(law, net, x, y, likelihood=Gaussian(0.5))
    assert found["posterior"]["weight"].shape == (2, 5, 1, 2)
    assert found["posterior_predictive"]["y"].shape == (2, 5, 7, 1)
    # The draw of chain 1 at place 3 is the ninth.
    mean = x @ law.draws["weight"][8].T + law.draws["bias"][8]
    terms = -(y - mean).square()[:, 0] / (2 * 0.25) - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(torch.as_tensor(found["log_likelihood"]["y"].values[1, 3]), terms)
    assert torch.equal(torch.as_tensor(found["observed_data"]["y"].values), y)


def test_it_is_a_data_tree_from_arviz_1_on_and_inference_data_before(arviz):
    found = to_arviz(gaussian(), num_samples=4, generator=torch.Generator().manual_seed(0))
    assert type(found).__name__ == ("InferenceData" if hasattr(arviz, "InferenceData") else "DataTree")
    assert found["posterior"]["bias"].dims[:2] == ("chain", "draw")


def test_arviz_1_is_given_one_dict_of_groups(monkeypatch):
    """Its calling convention, where it cannot be installed beside this Python: groups by name in one dict."""
    import types

    real = importlib.import_module
    one = types.SimpleNamespace(from_dict=lambda data: data)
    monkeypatch.setattr(
        importlib,
        "import_module",
        lambda name, *a: one if name in ("arviz", "arviz_base") else real(name, *a),
    )
    groups = to_arviz(gaussian(), num_samples=4, generator=torch.Generator().manual_seed(0))
    assert list(groups) == ["posterior"]
    assert groups["posterior"]["weight"].shape == (1, 4, 1, 2)


def test_arviz_takes_draws_of_a_gaussian(arviz):
    found = to_arviz(gaussian(), num_samples=50, generator=torch.Generator().manual_seed(0))
    assert found["posterior"]["weight"].shape == (1, 50, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3,), TypeError, r"posterior must be a bayessgd\.Posterior, got int"),
        (({"weight": torch.zeros(3, 1)},), TypeError, "got dict; collect one, or wrap draws in Ensemble"),
        ((gaussian(), nn.Linear(2, 1)), ValueError, "x and likelihood must be given"),
        ((gaussian(), None, torch.ones(2, 2)), ValueError, "model must be given with x, y or likelihood"),
        (
            (gaussian(), nn.Linear(2, 1), torch.ones(2, 2), torch.ones(3, 1)),
            ValueError,
            "same length, got 2 and 3",
        ),
        ((gaussian(), nn.Linear(2, 1), [1.0], [1.0]), TypeError, r"x must be a torch\.Tensor, got list"),
    ],
)
def test_refusals_of_arviz(arguments, error, message):
    with pytest.raises(error, match=message):
        to_arviz(*arguments)


def test_refusal_of_a_likelihood_that_is_none():
    with pytest.raises(TypeError, match=r"likelihood must be one of bayessgd\.likelihoods, got float"):
        to_arviz(gaussian(), nn.Linear(2, 1), torch.ones(2, 2), likelihood=0.5)


def test_refusals_of_pyro_and_lightning():
    net = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"posterior must be a bayessgd\.Posterior, got Linear"):
        to_pyro(net)
    with pytest.raises(TypeError, match="collector must be SWAG, IterateAverage or Trajectory, got Linear"):
        lightning_callback(net)
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        lightning_callback(SWAG(net), every=0)
    with pytest.raises(TypeError, match="start must be an int, got float"):
        lightning_callback(SWAG(net), start=0.5)


def test_the_package_asks_for_no_optional_library():
    # A process of its own: this one may have imported them already.
    program = (
        "import sys, bayessgd; bayessgd.interop.to_arviz; print({'arviz', 'lightning'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", ["gaussian", "ensemble", "mixture"])
def test_pyro_draws_from_the_posterior(kind):
    import pyro
    from pyro.distributions import Normal
    from pyro.infer import Predictive

    def model():
        weight = pyro.sample("net.weight", Normal(torch.zeros(1, 2), 1.0).to_event(2))
        bias = pyro.sample("net.bias", Normal(torch.zeros(1), 1.0).to_event(1))
        return pyro.deterministic("y", weight @ torch.ones(2) + bias)

    law = gaussian()
    posterior = {
        "gaussian": law,
        "ensemble": Ensemble(law.sample(500, generator=torch.Generator().manual_seed(1))),
        "mixture": Mixture([law, law]),
    }[kind]
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        drawn = Predictive(
            model,
            guide=to_pyro(posterior, prefix="net."),
            num_samples=2000,
            return_sites=["net.weight", "net.bias", "y"],
        )()
    assert drawn["net.weight"].shape == (2000, 1, 2)
    torch.testing.assert_close(drawn["y"], drawn["net.weight"].sum(2) + drawn["net.bias"])
    flat = torch.cat([drawn["net.weight"].flatten(1), drawn["net.bias"].flatten(1)], 1).double()
    cov = law.to_distribution().covariance_matrix.double()
    mean = flatten(law.mean).double()
    # Five standard errors; an ensemble of 500 has its own beside that of 2000 picks.
    n = 400 if kind == "ensemble" else 2000
    assert ((flat.mean(0) - mean).abs() < 5 * (cov.diagonal() / n).sqrt()).all()
    spread = (cov.diagonal().outer(cov.diagonal()) + cov.square()).sqrt()
    assert ((flat.T.cov() - cov).abs() < 5 * spread / math.sqrt(n)).all()


def test_a_pyro_guide_scores_its_own_draw():
    from pyro import poutine

    law = gaussian()
    trace = poutine.trace(to_pyro(law)).get_trace()
    drawn = {name: trace.nodes[name]["value"] for name in law.mean}
    torch.testing.assert_close(trace.log_prob_sum(), law.log_prob(drawn))


def test_what_is_missing_is_named(monkeypatch):
    real = importlib.import_module

    def without(name, *args):
        if name.startswith("arviz"):
            raise builtins.ImportError("no arviz")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"pip install 'bayessgd\[notebook\]'"):
        to_arviz(gaussian())


def test_lightning_s_extra_is_one_that_there_is(monkeypatch):
    real = importlib.import_module

    def without(name, *args):
        if name.startswith("lightning"):
            raise builtins.ImportError("no lightning")
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match="pip install") as refused:
        lightning_callback(SWAG(torch.nn.Linear(1, 1)))
    extra = re.search(r"bayessgd\[(.*)\]", str(refused.value))[1]
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(need.startswith("lightning") for need in project["optional-dependencies"][extra])


def fitted(tmp_path, *, epochs, resume=None):
    lightning = pytest.importorskip("lightning.pytorch")

    class Line(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)

        def training_step(self, batch, _):
            return (self.net(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    random = torch.Generator().manual_seed(0)
    x = torch.randn(24, 2, generator=random)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 8)
    line = Line()
    swag = SWAG(line, rank=3)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[lightning_callback(swag, every=2)],
        default_root_dir=tmp_path,
    )
    trainer.fit(line, loader, ckpt_path=resume)
    return trainer, swag


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_lightning_collects_and_resumes(tmp_path):
    _, whole = fitted(tmp_path, epochs=4)
    trainer, _ = fitted(tmp_path, epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fitted(tmp_path, epochs=4, resume=tmp_path / "half.ckpt")
    assert whole.num_updates == resumed.num_updates == 6
    for name, value in whole.posterior().mean.items():
        assert torch.equal(value, resumed.posterior().mean[name])
    for name, value in whole.posterior().deviations.items():
        assert torch.equal(value, resumed.posterior().deviations[name])
