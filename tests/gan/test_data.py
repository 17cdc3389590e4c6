import gzip
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan import data
from gan.data.mnist import read_idx
from metrics.features import digits_classifier

IMAGES = "train-images-idx3-ubyte"


def real_mnist():
    root = Path(os.environ.get("BAYESSGD_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / "mnist").is_dir():
        pytest.skip(f"MNIST is not in {root / 'mnist'}; name its parent folder in BAYESSGD_DATA")
    return root / "mnist"


def write_idx(path, array, *, magic=None, zipped=False):
    """The format by its definition, written by numpy."""
    magic = magic or 2048 + array.ndim
    raw = np.array([magic, *array.shape], dtype=">i4").tobytes() + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.fixture
def small_mnist(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 3)):
        zipped = part == "train"
        end = ".gz" if zipped else ""
        images = rng.integers(0, 256, (n, 28, 28))
        images[0, 0, :2] = 0, 255
        write_idx(tmp_path / f"{part}-images-idx3-ubyte{end}", images, zipped=zipped)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", np.arange(n), zipped=zipped)
    return tmp_path


def test_digits_are_the_split_that_metrics_judges_by():
    digits = data.digits()
    assert digits.train.shape == (898, 64)
    assert digits.held_out.shape == (899, 64)
    assert digits.image_shape == (8, 8)
    for labels, n in ((digits.train_labels, 898), (digits.held_out_labels, 899)):
        assert labels is not None
        # Stratified: each class's share is right to one image.
        assert (labels.bincount(minlength=10) - n / 10).abs().max() < n / 100
    assert digits.centres is None is digits.std


@pytest.mark.parametrize(
    ("make", "modes", "std", "first"), [(data.ring, 8, 0.01, [1, 0]), (data.grid, 25, 0.05, [-4, -4])]
)
def test_mixtures_are_pacgans(make, modes, std, first):
    n = 20_000
    mixture = make(n, seed=0)
    assert mixture.centres.shape == (modes, 2)
    assert mixture.std == std
    assert mixture.centres[0].tolist() == first
    assert mixture.train.shape == mixture.held_out.shape == (n, 2)
    for x, labels in ((mixture.train, mixture.train_labels), (mixture.held_out, mixture.held_out_labels)):
        noise = x - mixture.centres[labels]
        # 40 000 Gaussians: the mean to σ/200, the standard deviation to σ/√80000, five standard errors each.
        assert abs(float(noise.mean())) < 5 * std / 200
        assert abs(float(noise.std()) - std) < 5 * std / 80_000**0.5
        counts = labels.bincount(minlength=modes).double()
        expected = n / modes
        # χ² with k − 1 degrees of freedom: mean k − 1, variance 2(k − 1), five standard deviations.
        statistic = float(((counts - expected) ** 2 / expected).sum())
        assert statistic < modes - 1 + 5 * (2 * (modes - 1)) ** 0.5


def test_ring_lies_on_the_unit_circle_and_grid_on_even_numbers():
    centres = data.ring(1).centres
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(8))
    # Neighbours, the last and the first too, are a chord of 45° apart.
    chords = (centres - centres.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(chords, torch.full((8,), 2 * math.sin(math.pi / 8)))
    grid = {tuple(centre) for centre in data.grid(1).centres.tolist()}
    assert grid == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


@pytest.mark.parametrize("make", [data.ring, data.grid])
def test_mixture_depends_on_its_seed_alone(make):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(10, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first.train, make(10, seed=3).train)
    assert not torch.equal(first.train, make(10, seed=4).train)
    assert not torch.equal(first.train, first.held_out)


def test_mnist_from_idx_files_zipped_or_not(small_mnist):
    mnist = data.mnist(small_mnist)
    assert mnist.train.shape == (5, 784)
    assert mnist.held_out.shape == (3, 784)
    assert mnist.train_labels.tolist() == [0, 1, 2, 3, 4]
    assert mnist.held_out_labels.tolist() == [0, 1, 2]
    assert mnist.train[0, :2].tolist() == [-1, 1]
    assert mnist.image_shape == (28, 28)


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw"])
def test_mnist_in_a_folder_within(small_mnist, folder, tmp_path):
    target = tmp_path / "parent" / folder
    target.mkdir(parents=True)
    for path in small_mnist.glob("*ubyte*"):
        path.rename(target / path.name.replace("-idx", ".idx"))
    assert len(data.mnist(tmp_path / "parent").train) == 5


def test_images_are_row_by_row(tmp_path):
    write_idx(tmp_path / "x", np.arange(24).reshape(2, 3, 4))
    assert torch.equal(read_idx(tmp_path / "x", magic=2051), torch.arange(24).reshape(2, 3, 4))


def test_real_mnist():
    mnist = data.mnist(real_mnist())
    assert mnist.train.shape == (60_000, 784)
    assert mnist.held_out.shape == (10_000, 784)
    # LeCun, Cortes & Burges: the ten digits' counts; pixels of mean .1307, deviation .3081 in [0, 1].
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train_labels.bincount().tolist() == counts
    assert float((mnist.train.double().mean() + 1) / 2) == pytest.approx(0.1307, abs=5e-5)
    assert float(mnist.train.double().std() / 2) == pytest.approx(0.3081, abs=5e-5)


def test_openml_is_asked_for_mnist_784(monkeypatch):
    """The same data through scikit-learn's fetcher, which is replaced here: tests reach no network."""
    asked = {}

    def fetch(name, **options):
        asked.update(name=name, **options)
        return np.full((60_002, 784), 255, dtype=np.uint8), np.array(["7"] * 60_002, dtype=object)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    mnist = data.mnist(openml=True)
    assert asked["name"] == "mnist_784"
    assert mnist.train.shape == (60_000, 784)
    assert mnist.held_out.shape == (2, 784)
    assert float(mnist.held_out[0, 0]) == 1
    assert mnist.held_out_labels.tolist() == [7, 7]


def test_shift_moves_each_image_by_its_own_step(gen):
    """Against a loop over the images: every result is one of the nine shifts, and each shift comes up."""
    n = 900
    x = torch.rand(n, 12, generator=gen)
    shifted = data.shift_images(x, (3, 4), generator=gen).reshape(n, 3, 4)
    counts = torch.zeros(3, 3)
    padded = torch.nn.functional.pad(x.reshape(n, 3, 4), (1, 1, 1, 1), value=-1.0)
    for i in range(n):
        matches = [
            (a, b)
            for a in range(3)
            for b in range(3)
            if torch.equal(shifted[i], padded[i, a : a + 3, b : b + 4])
        ]
        assert len(matches) == 1
        counts[matches[0]] += 1
    # Binomial with n·(1/9) = 100 and standard deviation √(100·8/9) = 9.4: five of them.
    assert float((counts - 100).abs().max()) < 5 * 9.43


def test_shift_by_nothing_and_by_more(gen):
    x = torch.rand(4, 9, generator=gen)
    assert torch.equal(data.shift_images(x, (3, 3), pixels=0), x)
    far = data.shift_images(x, (3, 3), pixels=2, generator=gen)
    assert far.shape == (4, 9)


def test_shift_draws_from_the_generator_alone():
    x = torch.arange(90.0).reshape(10, 9)
    before = torch.get_rng_state()
    first, second, other = (
        data.shift_images(x, (3, 3), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda d: data.mnist(d / "nowhere"), FileNotFoundError, IMAGES),
        (lambda d: data.mnist(), ValueError, "data_dir must name the folder"),
        (lambda d: data.ring(0), ValueError, "n must be at least 1"),
        (lambda d: data.grid(2.5), TypeError, "n must be an int"),
        (lambda d: data.shift_images(torch.zeros(2, 9), (3, 4)), ValueError, r"shape \[n, 12\]"),
        (
            lambda d: data.shift_images(torch.zeros(2, 9), (3, 3), pixels=-1),
            ValueError,
            "pixels must be at least 0",
        ),
    ],
)
def test_refuses(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        make(tmp_path)


def test_refuses_a_file_that_is_not_what_its_name_says(small_mnist):
    write_idx(small_mnist / f"{IMAGES}.gz", np.zeros(5), zipped=True)
    with pytest.raises(ValueError, match="magic number 2051, got 2049"):
        data.mnist(small_mnist)


def test_refuses_a_file_cut_short(small_mnist):
    path = small_mnist / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="must hold 2352 bytes"):
        data.mnist(small_mnist)


def test_refuses_labels_of_another_count(small_mnist):
    write_idx(small_mnist / "t10k-labels-idx1-ubyte", np.zeros(4))
    with pytest.raises(ValueError, match="one label for each of the 3 images, got 4"):
        data.mnist(small_mnist)


def test_refusal_of_a_missing_file_says_what_to_do(small_mnist):
    (small_mnist / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte or .*\.gz is not in .*openml=True"):
        data.mnist(small_mnist)


def test_stacked_digits_are_digits_of_their_half_and_their_number():
    stacked, digits = data.stacked_digits(4000, seed=1), data.digits()
    halves = (
        (stacked.train, stacked.train_labels, digits.train, digits.train_labels),
        (stacked.held_out, stacked.held_out_labels, digits.held_out, digits.held_out_labels),
    )
    for pictures, numbers, images, labels in halves:
        assert numbers is not None
        assert labels is not None
        assert pictures.shape == (4000, 3, 8, 8)
        for channel, place in enumerate((100, 10, 1)):
            found = torch.cdist(pictures[:50, channel].flatten(1), images)
            assert found.min(1).values.max() < 1e-3
            assert torch.equal(labels[found.argmin(1)], numbers[:50] // place % 10)
        # Each class has p near 1/1000 and 4000 draws: 1 − e^−4 of the classes are there, 982 ± 4.
        assert 962 < len(numbers.unique()) <= 1000
    assert not torch.equal(stacked.train, data.stacked_digits(4000, seed=2).train)
    assert torch.equal(stacked.train, data.stacked_digits(4000, seed=1).train)


def test_stacked_labels_read_each_channel():
    stacked = data.stacked_digits(1000)
    assert stacked.train_labels is not None
    right = (data.stacked_labels(stacked.train) == stacked.train_labels).double().mean()
    assert right > 0.95  # one digit of the training half is read rightly in more than 99 of 100
    turned = data.stacked_labels(stacked.train.flip(1))
    backwards = torch.tensor([int(f"{number:03d}"[::-1]) for number in stacked.train_labels.tolist()])
    assert (turned == backwards).double().mean() == right
    with pytest.raises(ValueError, match="unflatten"):
        data.stacked_labels(stacked.train[:, :2])


@pytest.fixture
def patches():
    """Ten patterns of 6 × 7 pixels, in grey levels that are bytes, each with its number."""
    images = torch.randint(256, (10, 42), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
    labels = torch.arange(10)
    return data.Data("patches", images, images.flip(0), labels, labels.flip(0), image_shape=(6, 7))


@pytest.mark.parametrize("flat", [True, False])
def test_stacks_other_images_and_reads_them_by_their_classifier(patches, flat):
    known = digits_classifier(patches.train.repeat(20, 1), patches.train_labels.repeat(20))
    if not flat:
        train, held_out = (part.unflatten(1, (1, 6, 7)) for part in (patches.train, patches.held_out))
        patches = replace(patches, train=train, held_out=held_out, image_shape=None)
    stacked = data.stacked_digits(200, of=patches, seed=3)
    assert stacked.name == "stacked patches"
    for pictures, numbers in (
        (stacked.train, stacked.train_labels),
        (stacked.held_out, stacked.held_out_labels),
    ):
        assert pictures.shape == (200, 3, 6, 7)
        assert torch.equal(data.stacked_labels(pictures, classifier=known), numbers)
        as_bytes = ((pictures + 1) * 127.5).round().to(torch.uint8)
        assert torch.equal(data.stacked_labels(as_bytes, classifier=known), numbers)
    with pytest.raises(ValueError, match=r"knows digits of 64 pixels, got pictures of 6 × 7; train one"):
        data.stacked_labels(stacked.train)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": None}, "labels 0 … 9 in both parts, got none"),
        ({"held_out_labels": torch.arange(1, 11)}, "labels 0 … 9, got classes to 10"),
        ({"train_labels": torch.arange(9)}, r"whole numbers \[10\], one a sample, got torch.int64 \[9\]"),
        ({"image_shape": None}, r"grey images, got samples of shape \[42\] with image_shape=None"),
        ({"image_shape": (7, 7)}, r"grey images, got samples of shape \[42\] with image_shape=\(7, 7\)"),
        (
            {"held_out": torch.zeros(0, 42), "held_out_labels": torch.zeros(0).long()},
            "images in both parts, got none in one of them",
        ),
    ],
)
def test_stacks_no_other_things(patches, change, message):
    with pytest.raises(ValueError, match=message):
        data.stacked_digits(5, of=replace(patches, **change))


@pytest.mark.usefixtures("unchecked")
def test_stacks_a_data_set_and_nothing_else():
    with pytest.raises(TypeError, match=r"of must be a gan.Data, got str; write of=gan.data.mnist\(folder\)"):
        data.stacked_digits(5, of="mnist")  # pyright: ignore[reportArgumentType]


def test_stacked_labels_of_pixels_to_255_are_those_of_the_remedies():
    stacked = data.stacked_digits(50)
    numbers = data.stacked_labels(stacked.train)
    levels = ((stacked.train + 1) * 127.5).round()
    for pixels, words in ((levels, "values from 0 to 255"), (levels.long(), "whole numbers")):
        with pytest.raises(ValueError, match=f"{words}; pass pictures as uint8, or pictures / 127.5 - 1"):
            data.stacked_labels(pixels)
    for mended in (levels.to(torch.uint8), levels / 127.5 - 1, levels.long() / 127.5 - 1):
        assert torch.equal(data.stacked_labels(mended), numbers)
    assert torch.equal(data.stacked_labels(stacked.train.double()), numbers)
    with pytest.raises(ValueError, match="pictures must not be empty"):
        data.stacked_labels(stacked.train[:0])
    with pytest.raises(ValueError, match="pictures must be finite, got 192 NaN"):
        data.stacked_labels(stacked.train[:1] * math.nan)


def test_spiral_is_even_along_its_curve():
    turns = 1.5
    points = data.spiral(20_000, turns=turns).train.double()
    radius = points.norm(dim=1)
    angle = torch.atan2(points[:, 1], points[:, 0])
    wrapped = (2 * math.pi * turns * radius - angle + math.pi) % (2 * math.pi) - math.pi
    assert wrapped.abs().max() < 1e-5

    def length(t):
        w = 2 * math.pi * turns * t  # ∫√(1 + w²) dw = (w√(1 + w²) + asinh w)/2
        return w * (1 + w * w).sqrt() + w.asinh()

    ends = length(torch.tensor([0.15, 1.0], dtype=torch.float64))
    uniform = ((length(radius) - ends[0]) / (ends[1] - ends[0])).sort().values
    distance = (uniform - (torch.arange(20_000) + 0.5) / 20_000).abs().max()
    assert distance < 1.95 / 20_000**0.5  # Kolmogorov's distance, one in a thousand
    noisy = data.spiral(20_000, turns=turns, std=0.1).train.double()
    assert abs((noisy - points).std() / 0.1 - 1) < 4 / (2 * 40_000) ** 0.5
