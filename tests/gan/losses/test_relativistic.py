import torch
from torch.nn.functional import softplus

from gan.losses import RelativisticPairing


def test_table_of_objectives(gen):
    r, s = torch.randn(2, 6, 1, dtype=torch.float64, generator=gen)
    torch.testing.assert_close(RelativisticPairing().critic_loss(r, s), softplus(-(r - s)).mean())
    torch.testing.assert_close(RelativisticPairing().generator_loss(r, s), softplus(-(s - r)).mean())


def test_only_differences_within_a_pair_count(gen):
    r, s, shift = torch.randn(3, 6, 1, dtype=torch.float64, generator=gen)
    for objective in (RelativisticPairing().critic_loss, RelativisticPairing().generator_loss):
        torch.testing.assert_close(objective(r + shift, s + shift), objective(r, s))
        assert not torch.isclose(objective(r, s.flip(0)), objective(r, s))
