"""What cuts the players off from each other, or gives them other numbers than it should, is refused in words."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan import GAN, augment, losses, networks, penalties

pytestmark = pytest.mark.usefixtures("unchecked")

CLOUD = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))


class Critic(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.layer, self.end = nn.Linear(2, 1), end

    def forward(self, x):
        return self.end(self.layer(x))


class Cut(nn.Module):
    """A generator whose samples have left the graph."""

    latent_dim = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, z):
        return torch.as_tensor(self.layer(z).detach().numpy())


def trained(critic=None, *, generator=None, parts=(), **changes):
    generator = generator or networks.mlp_generator(2, latent_dim=4, hidden=(8,), bounded=False)
    critic = critic or networks.mlp_critic(2, hidden=(8,))
    model = GAN(generator, critic, loss=losses.NonSaturating(), penalties=parts)
    return model.fit(CLOUD, steps=2, batch_size=8, seed=0, progress=False, **changes)


def test_a_generator_that_gets_no_gradient_does_not_go_on_untrained():
    """Its gradient was missing and not zero: the optimizer left it as it was, for the whole training."""
    for change in (
        {"augment": lambda batch, generator: batch.detach()},
        {"augment": lambda batch, generator: torch.as_tensor(batch.detach().numpy())},
        {"generator": Cut()},
    ):
        with pytest.raises(ValueError, match="generator must get a gradient of the loss, got none"):
            trained(**change)


def test_a_critic_that_is_not_differentiable_is_refused():
    with pytest.raises(ValueError, match="critic must be differentiable in its input, got scores without"):
        trained(Critic(lambda y: y.detach()), parts=(penalties.R1(1.0),))
    for end, told in ((Tensor.half, "float16"), (lambda y: (y > 0).long(), "int64")):
        with pytest.raises(TypeError, match=f"critic must return float32 or float64, got torch.{told}; let"):
            trained(Critic(end))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda batch: batch, r"called as change\(batch, generator=...\), and <lambda> takes no generator"),
        (nn.Dropout(0.1), r"Dropout\(p=0.1, inplace=False\) takes no generator"),
        (lambda batch, generator: batch.detach().numpy(), "a tensor of torch.float32, .* got ndarray"),
        (lambda batch, generator: None, "a tensor of torch.float32, .* got NoneType"),
        (lambda batch, generator: batch.half(), "a tensor of torch.float32, .* got torch.float16"),
    ],
)
def test_what_is_no_augmentation_is_refused(change, told):
    with pytest.raises(TypeError, match=f"augment must .*{told}"):
        trained(augment=change)


def test_an_augmentation_of_another_library_is_wrapped_as_the_refusal_says():
    noise = augment.Noise(float(np.float32(0.1)))

    def theirs(batch):
        return 0.9 * batch

    wrapped = trained(augment=lambda batch, generator: theirs(batch))
    assert not torch.equal(wrapped.sample(4, seed=0), trained().sample(4, seed=0))
    assert len(trained(augment=[noise, lambda batch, **drawn: batch]).history) == 2


def test_an_optimizer_of_other_parameters_leaves_a_player_untrained_and_is_refused():
    others = nn.Linear(2, 2)
    for player in ("generator", "critic"):
        factory = {player: lambda parameters: torch.optim.SGD(others.parameters(), lr=0.1)}
        with pytest.raises(
            ValueError, match=rf"optimizers\['{player}'\] must return .* leave the {player} untrained"
        ):
            trained(optimizers=factory)
    right = trained(optimizers={"critic": lambda parameters: torch.optim.SGD(parameters, lr=0.1)})
    assert not torch.equal(right.sample(4, seed=0), trained().sample(4, seed=0))
