import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gan.networks import (
    Generator,
    Packed,
    conv_critic,
    conv_generator,
    latent_dim,
    mlp_critic,
    mlp_generator,
)

GENERATORS = {"mlp": lambda **k: mlp_generator(784, **k), "conv": conv_generator}
CRITICS = {"mlp": lambda **k: mlp_critic(784, **k), "conv": conv_critic}
ALL = {f"{kind}-{name}": f for kind, t in (("G", GENERATORS), ("D", CRITICS)) for name, f in t.items()}


def test_pair_for_digits():
    """G 16→128→128→64 with tanh, D 64→128→128→1."""
    linear = [layer for layer in mlp_generator(64).modules() if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linear] == [(128, 16), (128, 128), (64, 128)]
    linear = [layer for layer in mlp_critic(64) if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linear] == [(128, 64), (128, 128), (1, 128)]
    slopes = [layer.negative_slope for layer in mlp_critic(64) if isinstance(layer, nn.LeakyReLU)]
    assert slopes == [0.2, 0.2]


def test_layers_of_all_pixels_stand_between_the_convolutions_and_the_score():
    """28 → 14 → 7 of 64 channels: 3136 numbers, which 256 and 8 neurons see whole; G the other way round."""
    linear = [layer for layer in conv_critic(hidden=(256, 8)) if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linear] == [(256, 3136), (8, 256), (1, 8)]
    linear = [layer for layer in conv_generator(hidden=(8, 256)).modules() if isinstance(layer, nn.Linear)]
    assert [layer.weight.shape for layer in linear] == [(8, 64), (256, 8), (3136, 256)]
    of_classes = conv_critic(shape=(1, 8, 8), num_classes=3, hidden=(5,))
    assert of_classes(torch.zeros(2, 1, 8, 8), torch.tensor([0, 2])).shape == (2, 1)
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        conv_critic(hidden=(0,))


@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_generator_maps_latents_to_samples(make, gen):
    network = make()
    z = torch.randn(3, network.latent_dim, generator=gen)
    samples = network(z)
    assert samples.shape == (3, 784)
    assert samples.detach().abs().max() <= 1
    assert latent_dim(make(latent_dim=5)) == 5
    # Linear to the end, the output is not held in [−1, 1]: with z a hundred times as long it leaves.
    assert make(bounded=False)(100 * z).detach().abs().max() > 1


@pytest.mark.parametrize("make", CRITICS.values(), ids=CRITICS)
def test_critic_scores_or_embeds(make, gen):
    x = torch.randn(3, 784, generator=gen)
    assert make()(x).shape == (3, 1)
    assert make(output_dim=7)(x).shape == (3, 7)


@pytest.mark.parametrize("make", CRITICS.values(), ids=CRITICS)
def test_a_score_depends_on_its_own_sample_alone(make, gen):
    x = torch.randn(4, 784, generator=gen)
    # Sums in another order differ in the last digits of float32.
    torch.testing.assert_close(make()(x)[:1], make()(x[:1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_weights_depend_on_the_seed_alone(make):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second, other = make(seed=3), make(seed=4)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert key.endswith("bias") or not torch.equal(value, other.state_dict()[key])


def test_weights_are_not_the_data_over_again():
    """With one seed for everything, weights drawn by a plain generator would repeat the latents."""
    weights = mlp_critic(784, seed=0)[0].weight.detach()
    latents = torch.randn(128, 784, generator=torch.Generator().manual_seed(0))
    correlation = torch.corrcoef(torch.stack([weights.flatten(), latents.flatten()]))[0, 1]
    assert abs(float(correlation)) < 5 / (128 * 784) ** 0.5


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_initial_activations_keep_their_size(make, gen):
    """He's rule: outputs are sums of fan-in terms of variance 2/((1 + a²)·fan-in), so where the input has a
    mean square of 1, as latents and whitened pixels have, every layer's has one of 2/(1 + a²) = 1.92."""
    network = make()
    if isinstance(network, Generator):
        x, layers = torch.randn(256, network.latent_dim, generator=gen), network.net
    else:
        x, layers = torch.randn(256, 784, generator=gen), network
    assert isinstance(layers, nn.Sequential)
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
            weighted = isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
            if weighted and x.shape[1:].numel() > 1:
                # Borders of images see zeros, and nets of finite width scatter: a factor of 2 at the most.
                assert 1.92 / 2 < float(x.square().mean()) < 1.92 * 2


def test_packs_are_consecutive_rows():
    packed = Packed(nn.Flatten(), pack=2)
    x = torch.arange(12.0).reshape(4, 3)
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(packed.critic, "forward", lambda y: seen.append(y) or y[:, :1])
        assert packed(x).shape == (2, 1)
    assert torch.equal(seen[0], x.reshape(2, 6))


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_state_goes_through_safetensors(make, tmp_path):
    network = make(seed=1)
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    other = make(seed=2)
    other.load_state_dict(load_file(tmp_path / "network.safetensors"))
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mlp_generator(0), ValueError, "width must be at least 1"),
        (lambda: mlp_generator(64, latent_dim=0), ValueError, "must be at least 1"),
        (lambda: mlp_generator(64, hidden=(128.0,)), TypeError, "must be an int"),
        (lambda: mlp_critic(64, output_dim=0), ValueError, "must be at least 1"),
        (lambda: conv_generator(latent_dim=0), ValueError, "latent_dim must be at least 1"),
        (lambda: conv_generator(channels=0), ValueError, "channels must be at least 1"),
        (lambda: conv_critic(output_dim=0), ValueError, "output_dim must be at least 1"),
        (lambda: Packed(mlp_critic(4), pack=0), ValueError, "pack must be at least 1"),
        (lambda: Packed(mlp_critic(4), pack=2)(torch.zeros(3, 2)), ValueError, "multiple of 2 samples"),
        (lambda: latent_dim(nn.Linear(2, 2)), TypeError, "attribute latent_dim, and Linear has none"),
        (lambda: Generator(nn.Linear(2, 2), latent_dim=0), ValueError, "latent_dim must be at least 1"),
    ],
)
def test_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()
