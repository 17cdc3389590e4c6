"""The benchmark of stacked digits: its variants, and a table that goes on."""

import json
import sys
from dataclasses import replace

import pytest
import stacked_digits
import torch

from gan import Data
from gan.data import stacked_digits as stack
from gan.penalties import R1, R2
from metrics.features import digits_classifier


def test_titles_name_the_parts():
    assert stacked_digits.title("rpgan") == "relativistic pairs, R1 + R2"
    assert stacked_digits.title("ns-none") == "non-saturating, no penalty"
    assert [penalties for _, _, penalties in stacked_digits.VARIANTS.values()][:4:2] == [(R1, R2), (R1,)]


def test_a_table_that_was_stopped_goes_on(tmp_path, monkeypatch, capsys):
    made = []

    def one(name, seed, setting, data_dir):
        assert data_dir is None
        made.append((name, seed, setting.gamma, setting.steps))
        return {"modes": 990.0 + 2 * seed, "kl": 0.25, "seconds": 1.0}

    monkeypatch.setattr(stacked_digits, "one", one)
    words = [
        "--variants",
        "ns-r1",
        "--seeds",
        "2",
        "--gamma",
        "0.5",
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "page.md"),
    ]
    monkeypatch.setattr(sys, "argv", ["stacked_digits", *words])
    stacked_digits.main()
    assert made == [("ns-r1", 0, 0.5, 4000), ("ns-r1", 1, 0.5, 4000)]
    kept = tmp_path / "ns-r1-1-plain-0.5-4000.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"kl": 0.75}))
    stacked_digits.main()
    assert len(made) == 2
    row = "| non-saturating, R1 alone | 2 | 991 ± 1 | 0.5 ± 0.25 | 1 ± 0 |"
    assert row.replace(" alone", "") in (tmp_path / "page.md").read_text()


def test_other_digits_are_trained_on_and_read_by_their_own_classifier(monkeypatch):
    random = torch.Generator().manual_seed(0)
    images, labels = torch.rand(10, 144, generator=random) * 2 - 1, torch.arange(10)
    patches = Data("patches", images, images, labels, labels, image_shape=(12, 12))
    monkeypatch.setattr(stacked_digits, "SAMPLES", 64)
    setting = replace(stacked_digits.SETTINGS["mnist"], steps=1)
    given = stack(100, of=patches), digits_classifier(images, labels)
    monkeypatch.setattr(stacked_digits, "pictures", lambda folder: given)
    found = stacked_digits.one("rpgan", 0, setting, None)
    assert 1 <= found["modes"] <= 64
    assert found["kl"] > 0


@pytest.mark.parametrize("words", [["--setting", "mnist"], ["--data-dir", "."]])
def test_mnist_and_its_folder_need_each_other(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["stacked_digits", *words])
    with pytest.raises(SystemExit):
        stacked_digits.main()
    assert "--setting mnist and --data-dir need each other" in capsys.readouterr().err
