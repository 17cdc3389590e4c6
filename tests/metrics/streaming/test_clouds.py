import pytest
import torch

from metrics.streaming.clouds import Cloud


@pytest.mark.parametrize("sizes", [[1] * 100, [64, 1, 1, 1], [1, 64, 1], [3, 100, 2, 50]])
def test_points_keep_their_order_in_few_pieces(gen, sizes):
    cloud, batches = Cloud(), [torch.randn(size, 2, generator=gen) for size in sizes]
    for batch in batches:
        cloud.add(batch)
    # Each piece is more than twice its successor: at most log₂ n + 1 of them.
    assert len(cloud._pieces) <= torch.tensor(float(sum(sizes))).log2().ceil() + 1
    assert torch.equal(cloud.points(), torch.cat(batches))
    assert cloud.columns == 2
