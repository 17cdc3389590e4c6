import torch

from metrics.features.digits import load_digits_split


def test_halves_are_disjoint_stratified_and_scaled():
    train_x, train_y, held_x, held_y = load_digits_split()
    assert len(train_x) + len(held_x) == 1797
    assert len(train_x) == len(train_y) == 898
    for x in (train_x, held_x):
        assert x.shape[1] == 64
        assert x.min() == -1
        assert x.max() == 1
    # Stratified: a class of odd size differs by one between the halves, no more (largest-remainder rounding).
    assert (torch.bincount(train_y, minlength=10) - torch.bincount(held_y, minlength=10)).abs().max() <= 1
    # The digits hold no duplicate image, so a shared row would be a leak.
    both = torch.cat([train_x, held_x])
    assert len(both.unique(dim=0)) == 1797


def test_images_keep_their_labels():
    """A nearest-neighbour rule from one half to the other is right far more often than by chance."""
    train_x, train_y, held_x, held_y = load_digits_split()
    nearest = torch.cdist(held_x, train_x).argmin(1)
    assert (train_y[nearest] == held_y).double().mean() > 0.95


def test_is_the_same_at_every_call_and_in_either_type(dtype):
    one, two = load_digits_split(dtype=dtype), load_digits_split()
    assert one.train_x.dtype == dtype
    assert torch.equal(one.train_x.float(), two.train_x)  # multiples of 1/8 are exact in both types
    assert torch.equal(one.held_y, two.held_y)
