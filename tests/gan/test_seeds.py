import pytest
import torch

from gan.seeds import stream


def draw(name, seed):
    return torch.randn(10_000, dtype=torch.float64, generator=stream(name, seed))


def test_same_name_and_seed_give_the_same_bits():
    assert torch.equal(draw("a", 3), draw("a", 3))


def test_streams_of_one_seed_and_of_neighbouring_seeds_are_uncorrelated():
    rows = torch.stack([draw("a", 0), draw("b", 0), draw("a", 1), draw("b", 1)])
    rows = torch.cat(
        [rows, torch.randn(1, 10_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]
    )
    correlation = torch.corrcoef(rows) - torch.eye(5)
    # A sample correlation of n independent pairs has a standard deviation of 1/√n: five of them.
    assert float(correlation.abs().max()) < 5 / 100


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError)]
)
def test_refuses(seed, error):
    with pytest.raises(error, match="seed must be"):
        stream("a", seed)
