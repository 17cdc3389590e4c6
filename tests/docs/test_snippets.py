"""Every Python snippet of README and docs runs, a page's one after the other, on small work."""

import re
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import bayessgd
import gan
import metrics
from tests.docs.trainers import NUMBER, trainer_names
from tests.gan.test_strangers_data import MyCritic, MyGenerator

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEPS, EVALUATED = 2, 60


def snippets(page: Path) -> list[str]:
    return SNIPPET.findall(page.read_text())


@pytest.fixture
def small_work(monkeypatch, tmp_path):
    """A folder with what the pages name; trainings of two steps, collected from at a hundredth of the pages' steps."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    (tmp_path / "pictures" / "kind").mkdir(parents=True)
    for k in range(70):
        Image.fromarray(draw.integers(255, size=(32, 32, 3), dtype=np.uint8)).save(
            tmp_path / "pictures" / "kind" / f"{k}.png"
        )
    for k in range(3):
        (tmp_path / "out").mkdir(exist_ok=True)
        torch.save(nn.Linear(2, 1).state_dict(), tmp_path / "out" / f"step={k}.pt")
    fit, fit_many, snapshots = gan.GAN.fit, gan.fit_many, bayessgd.snapshots
    evaluate, nuts = metrics.evaluate, bayessgd.reference.nuts

    @wraps(fit)
    def short_fit(self, data, **kwargs):
        return fit(self, data, **{**kwargs, "steps": STEPS, "progress": False})

    @wraps(fit_many)
    def short_fits(models, data, **kwargs):
        return fit_many(models, data, **{**kwargs, "steps": STEPS, "progress": False})

    @wraps(snapshots)
    def short_snapshots(*args, **kwargs):
        return snapshots(*args, **{**kwargs, "passes": 80})

    @wraps(evaluate)
    def small_evaluate(fake, real, **kwargs):
        return evaluate(fake[:EVALUATED], real[:EVALUATED], **kwargs)

    @wraps(nuts)
    def short_nuts(*args, **kwargs):
        return nuts(*args, **{**kwargs, "num_samples": 20, "num_warmup": 60})

    callback = bayessgd.interop.trainer_callback

    @wraps(callback)
    def early_callback(collector, *, every, start=0):
        return callback(collector, every=every // 100, start=start // 100)

    monkeypatch.setattr(bayessgd.interop, "trainer_callback", early_callback)
    monkeypatch.setattr(gan.GAN, "fit", short_fit)
    monkeypatch.setattr(bayessgd.reference, "nuts", short_nuts)
    monkeypatch.setattr(metrics, "evaluate", small_evaluate)
    monkeypatch.setattr(gan, "fit_many", short_fits)
    monkeypatch.setattr(bayessgd, "snapshots", short_snapshots)


OWN = [page for page in PAGES if snippets(page) and page.name != "trainers.md"]


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.name)
# So few passes and draws are too few, and it says so.
@pytest.mark.filterwarnings("ignore:not at equilibrium", "ignore:NUTS ended")
def test_snippets_run(page, small_work):
    names = {"torch": torch, "metrics": metrics, "bayessgd": bayessgd}
    names |= {"MyGenerator": MyGenerator, "MyCritic": MyCritic}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, code in enumerate(snippets(page)):
            exec(compile(code, f"{page.name}, snippet {number}", "exec"), names)


@pytest.mark.parametrize("number", range(NUMBER))
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_snippets_of_the_trainers_run(number, small_work, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code = snippets(ROOT / "docs" / "trainers.md")[number]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec(compile(code, f"trainers.md, snippet {number}", "exec"), trainer_names(number, tmp_path))


def test_every_snippet_of_the_trainers_is_tried():
    assert len(snippets(ROOT / "docs" / "trainers.md")) == NUMBER


def test_snippets_of_the_readme_are_short():
    found = snippets(ROOT / "README.md")
    assert len(found) == 3
    assert all(len(code.splitlines()) <= 12 for code in found)
