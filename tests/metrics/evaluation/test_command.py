"""The command as people call it: two folders in, a table and files out; one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import metrics
from metrics.evaluation.command import main
from metrics.features.inception import InceptionFeatures
from metrics.features.sources import features_of

ROOT = Path(__file__).parents[3]


def folder(path, gen, count, shift):
    path.mkdir()
    for i in range(count):
        noise = 200 * torch.rand(4, 4, 3, generator=gen) + shift * torch.rand(1, generator=gen)
        Image.fromarray(noise.to(torch.uint8).numpy()).save(path / f"{i:03d}.png")
    return path


@pytest.fixture
def rows(tmp_path, gen):
    """Files of features: 90 true ones, 50 of a good model and 60 of a bad one."""
    paths = []
    for name, count, shift in (("real", 90, 0.0), ("good", 50, 0.0), ("bad", 60, 2.0)):
        paths.append(tmp_path / f"{name}.npy")
        np.save(paths[-1], (torch.randn(count, 3, generator=gen) + shift).numpy())
    return paths


def test_two_folders_in_a_table_and_files_out(tmp_path, gen):
    real, fake = folder(tmp_path / "real", gen, 60, 0), folder(tmp_path / "fake", gen, 40, 50)
    out = tmp_path / "out"
    asked = [str(real), str(fake), "--measures", "mmd2", "frechet_distance", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "metrics", *asked], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    head = done.stdout.splitlines()[0].split()
    assert head == ["measure", "fake", "floor", "better"]
    results = json.loads((out / "results.json").read_text())
    mmd = results["models"]["fake"]["metrics"]["mmd2"]
    assert mmd["sizes"] == [30, 30]  # REAL is halved
    assert mmd["value"] > mmd["floor"] == results["floor"]["metrics"]["mmd2"]["value"]
    assert mmd["p_value"] < 0.05
    assert results["models"]["fake"]["features"] == "pixels"
    assert "| mmd2 |" in (out / "report.md").read_text()
    with Image.open(out / "measures.png") as figure:
        assert figure.size[0] > 100


def test_help_reads_like_a_tool_and_mistakes_are_one_line():
    told = subprocess.run(
        [sys.executable, "-m", "metrics", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert told.returncode == 0
    for words in (
        "usage: python -m metrics",
        "REAL FAKE [FAKE ...]",
        "--train DIR",
        "inception=FILE",
        "examples:",
    ):
        assert words in told.stdout


def test_models_are_judged_by_as_many_samples_beside_one_floor(rows, tmp_path, capsys):
    measures = ["--measures", "energy_distance", "coverage"]
    assert main([*map(str, rows), *measures, "--out", str(tmp_path / "a")]) == 0
    assert "good" in capsys.readouterr().out
    models = json.loads((tmp_path / "a" / "results.json").read_text())["models"]
    assert {m["metrics"]["energy_distance"]["sizes"][0] for m in models.values()} == {45}
    assert len({m["metrics"]["energy_distance"]["floor"] for m in models.values()}) == 1
    values = [models[f"{name}.npy"]["metrics"]["energy_distance"]["value"] for name in ("good", "bad")]
    assert values[0] < values[1]
    assert list(models["good.npy"]["metrics"]) == [
        "energy_distance",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    # All of REAL is the reference where there is a training set; the same seed gives the same numbers.
    with_train = [*map(str, rows), *measures, "--train", str(rows[0]), "--n", "40", "--out"]
    assert main([*with_train, str(tmp_path / "b")]) == main([*with_train, str(tmp_path / "c")]) == 0
    b, c = (json.loads((tmp_path / name / "results.json").read_text())["models"] for name in "bc")
    assert b == c
    assert b["good.npy"]["metrics"]["energy_distance"]["sizes"] == [40, 40]


def test_published_measures_and_copies_by_their_names(rows, tmp_path, capsys):
    asked = [
        "--train",
        str(rows[0]),
        "--measures",
        "kid",
        "authenticity",
        "data_copying",
        "--out",
        str(tmp_path),
    ]
    assert main([*map(str, rows[:2]), *asked]) == 0
    assert "data_copying" in capsys.readouterr().out
    told = json.loads((tmp_path / "results.json").read_text())
    found = told["models"]["good.npy"]["metrics"]
    assert list(found) == ["kid", "authenticity", "data_copying"]
    assert "floor" in found["kid"]
    assert "floor" not in found["authenticity"]
    assert main([*map(str, rows[:2]), "--train", str(rows[0]), "--measures", "authenticity"]) == 0


class StandIn(torch.nn.Module):
    """torch-fidelity's interface: 5 features of a picture, and the scores of 4 classes from them."""

    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        self.mix, self.fc, self.layer = torch.nn.Linear(3, 5), torch.nn.Linear(5, 4), features_list[0]
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x):
        features = self.mix(x.float().mean((2, 3)) / 30)
        return (features if self.layer == "2048" else features @ self.fc.weight.T,)


@pytest.fixture
def inception(monkeypatch, tmp_path, gen):
    """A file of weights for it."""
    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    shapes = {"mix.weight": (5, 3), "mix.bias": (5,), "fc.weight": (4, 5), "fc.bias": (4,)}
    torch.save({k: torch.randn(v, generator=gen) for k, v in shapes.items()}, tmp_path / "inception.pth")
    return tmp_path / "inception.pth"


def test_the_inception_score_is_that_of_the_networks_own_scores(inception, tmp_path, gen, capsys):
    """From the features, one product; the network's own layer of scores is the oracle."""
    real, fake = folder(tmp_path / "real", gen, 60, 0), folder(tmp_path / "fake", gen, 40, 50)
    asked = ["--features", f"inception={inception}", "--measures", "inception_score", "frechet_distance"]
    assert main([str(real), str(fake), *asked, "--out", str(tmp_path / "out")]) == 0
    assert "inception_score" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    found = told["models"]["fake"]["metrics"]
    assert list(found) == ["frechet_distance", "inception_score"]
    scores = features_of(real.parent / "fake", InceptionFeatures(inception, layer="logits_unbiased"))
    want = metrics.inception_score(scores[torch.randperm(40)[:30]].double().softmax(1), splits=1)
    whole = metrics.inception_score(scores.double().softmax(1), splits=1).value
    # 30 of the 40 pictures were judged, as many as the floor has.
    assert abs(found["inception_score"]["value"] - whole) < 4 * want.stderr + 0.05
    every = [str(real), str(fake), "--train", str(fake), *asked, "--out", str(tmp_path / "all")]
    assert main(every) == 0
    found = json.loads((tmp_path / "all" / "results.json").read_text())["models"]["fake"]["metrics"]
    assert found["inception_score"]["value"] == pytest.approx(float(whole), rel=1e-5)
    assert found["inception_score"]["floor"] == pytest.approx(float(whole), rel=1e-5)


def test_refusal_of_features_that_are_no_inceptions(inception, rows, capsys):
    asked = ["--features", f"inception={inception}", "--measures", "inception_score"]
    assert main([*map(str, rows), *asked]) == 2
    assert "features must have 5 columns, those of layer '2048', got 3" in capsys.readouterr().err


def test_numbers_are_those_of_evaluate(rows, tmp_path):
    main(
        [
            *map(str, rows[:2]),
            "--train",
            str(rows[0]),
            "--measures",
            "frechet_distance",
            "--out",
            str(tmp_path),
        ]
    )
    found = json.loads((tmp_path / "results.json").read_text())["models"]["good.npy"]["metrics"][
        "frechet_distance"
    ]
    real, good = (torch.from_numpy(np.load(path)) for path in rows[:2])
    assert found["value"] == pytest.approx(float(metrics.frechet_distance(good, real)), rel=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--n", "80"], "--n must be at most 45, what the floor has, got 80; lower it"),
        (
            ["--features", "dinov9"],
            "--features must be pixels, inception=FILE, dinov2=FILE, clip=FILE, got 'dinov9'",
        ),
        (["--features", "inception=none.pth"], "no file of Inception weights at none.pth"),
        (["--train", "none"], "no folder or file at none"),
        (
            ["--measures", "inception_score"],
            "must have class probabilities, got none; add --features inception",
        ),
        (
            ["--measures", "authenticity"],
            "--measures authenticity must know the training data, got no --train",
        ),
        (["--out", __file__], "results go to a folder, or one that can be made, got "),
        (["--out", f"{__file__}/below"], "test_command.py is a file"),
        (["--budget", "0"], "budget must be finite and above 0"),
        (["--budget", "1e-12"], "budget must be enough for one measure"),
    ],
)
def test_refusals(rows, more, message, capsys):
    assert main([*map(str, rows), *more]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("metrics: error: ")
    assert message in told.err
    assert told.err.count("\n") == 1


def test_refusals_of_sources(rows, tmp_path, capsys):
    np.save(tmp_path / "few.npy", np.zeros((5, 3), dtype=np.float32))
    assert main([str(rows[0]), str(tmp_path / "few.npy")]) == 2
    assert (
        "leave at least 20 samples on each side, got 5 against 45 (few.npy has the fewest"
        in capsys.readouterr().err
    )
    assert main([str(rows[0]), str(rows[1]), str(rows[1])]) == 2
    assert "FAKE must be different sources" in capsys.readouterr().err


def test_files_of_two_types_are_compared_in_the_wider(rows, tmp_path):
    asked = ["--measures", "energy_distance", "--out"]
    doubled = tmp_path / "doubled.npy"
    np.save(doubled, np.load(rows[1]).astype(np.float64))
    values = {}
    for fake in (rows[1], doubled):
        assert main([str(rows[0]), str(fake), *asked, str(tmp_path / fake.stem)]) == 0
        told = json.loads((tmp_path / fake.stem / "results.json").read_text())
        values[fake.stem] = told["models"][fake.name]["metrics"]["energy_distance"]["value"]
    assert values["doubled"] == pytest.approx(values["good"], rel=1e-5)


def test_refuses_grey_values_beside_numbers_in_units_and_the_remedy_works(tmp_path, gen, capsys):
    real = folder(tmp_path / "real", gen, 60, 0)
    x = 2 * torch.rand(40, 48, generator=gen) - 1
    np.save(tmp_path / "made.npy", x.numpy())
    asked = ["--measures", "energy_distance"]
    assert main([str(real), str(tmp_path / "made.npy"), *asked]) == 2
    assert "must have one scale, got grey values 0 to 255 in" in capsys.readouterr().err
    np.save(tmp_path / "made.npy", ((x.numpy() + 1) * 127.5).round().astype("uint8"))
    assert main([str(real), str(tmp_path / "made.npy"), *asked]) == 0


def test_counts_beside_a_model_that_stays_small_are_compared(tmp_path, gen):
    np.save(tmp_path / "counts.npy", torch.randint(200, (60, 3), generator=gen).float().numpy())
    np.save(tmp_path / "made.npy", torch.rand(40, 3, generator=gen).numpy())
    assert (
        main([str(tmp_path / "counts.npy"), str(tmp_path / "made.npy"), "--measures", "energy_distance"]) == 0
    )
