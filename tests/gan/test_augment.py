"""Augmentations: what they do to a batch, on both sides and in both steps, and that gradients flow through."""

import pytest
import torch

from gan import GAN, augment, data, losses, networks
from gan.augment import Cutout, Noise, Shift

X = torch.arange(2 * 1 * 5 * 5, dtype=torch.float64).reshape(2, 1, 5, 5) + 1


def test_a_shift_is_that_of_flattened_images(gen):
    """The older function of flattened images is the oracle: images move as a whole, by each shift equally often."""
    x = X[:1].expand(4000, 1, 5, 5)
    moved = Shift(1, fill=0.0)(x, generator=gen)
    wanted = {
        tuple(
            data.shift_images(X[:1].flatten(1), (5, 5), generator=torch.Generator().manual_seed(s))
            .add(1)
            .relu()
            .flatten()
            .tolist()
        )
        for s in range(200)
    }
    found, counts = moved.flatten(1).unique(dim=0, return_counts=True)
    assert len(found) == 9
    assert len(wanted) == 9
    assert (counts.double() / 4000 - 1 / 9).abs().max() < 5 * (1 / 9 * 8 / 9 / 4000) ** 0.5


def test_flattened_images_and_channels_move_together(gen):
    x = torch.cat([X, 10 * X], 1)
    moved = Shift(2, fill=0.0)(x, generator=gen)
    torch.testing.assert_close(moved[:, 1], 10 * moved[:, 0])
    flat = Shift(2, (5, 5), fill=0.0)(x.flatten(1), generator=torch.Generator().manual_seed(0))
    again = Shift(2, fill=0.0)(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat, again.flatten(1))


def test_a_cutout_covers_a_square_and_no_more(gen):
    x = torch.ones(3000, 2, 7, 6, dtype=torch.float64)
    gone = Cutout(3, fill=0.0)(x, generator=gen) == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    sides = gone[:, 0].any(2).sum(1), gone[:, 0].any(1).sum(1)
    assert torch.equal(gone[:, 0].sum((1, 2)), sides[0] * sides[1])
    assert {int(s) for s in sides[0].unique()} == {2, 3}
    # A corner pixel is covered where the centre is one of 2 × 2 of 7 × 6 pixels.
    share = gone[:, 0, 0, 0].double().mean()
    assert abs(share - 4 / 42) < 5 * (4 / 42 / 3000) ** 0.5


@pytest.mark.parametrize("make", [Shift, Cutout, lambda **k: Noise(0.5, **k)])
def test_so_many_samples_are_changed(gen, make):
    x = torch.randn(4000, 1, 5, 5, generator=gen)
    changed = (make(probability=0.3)(x, generator=gen) != x).flatten(1).any(1).double().mean()
    unmoved = 1 / 9 if make is Shift else 0
    wanted = 0.3 * (1 - unmoved)
    assert abs(changed - wanted) < 5 * (wanted / 4000) ** 0.5


def test_noise_has_its_deviation(gen):
    noise = Noise(0.5)(torch.zeros(20_000, 3), generator=gen)
    assert abs(noise.std() - 0.5) < 5 * 0.5 / (2 * 60_000) ** 0.5


def test_gradients_flow_to_what_was_kept(gen):
    x = X.clone().requires_grad_()
    Cutout(3)(Shift(1)(x, generator=gen), generator=gen).sum().backward()
    assert set(x.grad.unique().tolist()) <= {0.0, 1.0}
    assert (x.grad == 1).any()


def test_both_sides_are_changed_in_both_steps():
    """A shift far away changes nothing between two clouds that are both shifted."""
    seen = []

    def far(batch, *, generator):
        seen.append(batch.requires_grad)
        return batch + 100.0

    cloud = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    def trained(**changes):
        made = GAN(networks.mlp_generator(2, bounded=False), loss=losses.Energy())
        return made.fit(
            cloud, steps=5, batch_size=16, seed=0, device="cpu", progress=False, **changes
        ).history

    plain, moved = trained(), trained(augment=far)
    assert seen == [False, True] * 5
    torch.testing.assert_close(plain.rows(), moved.rows(), rtol=1e-3, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shift(0), "pixels must be at least 1"),
        (lambda: Cutout(3, probability=1.5), "probability"),
        (lambda: Noise(-1.0), "std must be"),
        (lambda: Shift(1)(torch.zeros(2, 25)), r"pass image_shape=\(height, width\)"),
        (lambda: augment.augmented(X, [lambda x, generator: x[:1]], None), "must keep the batch's shape"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("shift", "augment must be functions, got str; see gan.augment"),
        (Noise, r"got the class Noise; write Noise\("),
    ],
)
def test_what_is_no_augmentation_is_refused(given, message):
    model = GAN(networks.mlp_generator(2), loss=losses.Energy())
    with pytest.raises(TypeError, match=message):
        model.fit(torch.zeros(4, 2), steps=1, progress=False, augment=given)
