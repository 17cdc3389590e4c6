import copy

import pytest
import torch
from torch import nn

from bayessgd.batchnorm import fresh_statistics, has_statistics, refreshing


def net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))


@pytest.mark.parametrize(
    ("model", "has"),
    [
        (net(), True),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), True),
        (nn.BatchNorm1d(2, track_running_stats=False), False),
        (nn.LayerNorm(2), False),
    ],
)
def test_only_running_statistics_count(model, has):
    assert has_statistics(model) == has


def test_fresh_statistics_are_those_of_a_new_layer():
    model = net()
    model(torch.randn(5, 2))
    fresh = fresh_statistics(model, 4)
    reset = nn.BatchNorm1d(3).state_dict()
    assert list(fresh) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]
    for name, tensor in fresh.items():
        expected = reset[name.removeprefix("1.")]
        assert tensor.shape == (4, *expected.shape)
        assert tensor.dtype == expected.dtype
        assert all(torch.equal(row, expected) for row in tensor)


def test_refreshing_gives_means_over_the_data_and_leaves_the_model_as_it_was():
    model = nn.BatchNorm1d(1, momentum=0.3).double().eval()
    model.reset_running_stats()
    batches = [torch.randn(n, 1, dtype=torch.float64) for n in (7, 2, 5)]
    with refreshing(model) as refresh:
        for batch in batches:
            refresh.next_batch(len(batch))
            model(batch)
    # Each datum has the same weight, also in batches of different sizes.
    torch.testing.assert_close(model.running_mean, torch.cat(batches).mean(0))
    variance = sum(len(b) * b.var(0) for b in batches) / 14
    torch.testing.assert_close(model.running_var, variance)
    assert (model.momentum, model.training) == (0.3, False)


def test_a_layer_called_twice_counts_both_and_a_repeated_pass_only_once():
    model = nn.BatchNorm1d(1, momentum=0.3).double().eval()
    net = nn.Sequential(nn.Identity(), model)
    model.reset_running_stats()
    batches = [torch.randn(n, 1, dtype=torch.float64) for n in (7, 2, 5)]
    with refreshing(net) as refresh:
        for batch in batches:
            refresh.next_batch(len(batch))
            before = copy.deepcopy(model.state_dict())
            for _ in range(2):  # as for two draws one by one
                model.load_state_dict(before)
                net(batch)
                model(batch + 3)
    torch.testing.assert_close(model.running_mean, torch.cat(batches).mean(0) + 1.5)
    assert not net._forward_pre_hooks
    assert not model._forward_pre_hooks


def test_only_batchnorm_trains_meanwhile_and_errors_restore_it():
    model = net().eval()

    def failing():
        with refreshing(model):
            assert [m.training for m in model] == [False, True, False, False]
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert not any(m.training for m in model.modules())
