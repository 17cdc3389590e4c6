"""Games of classes: each class is learned, asked for and counted; what does not fit is refused."""

import pytest
import torch

import gan
from gan import GAN, Data, losses, networks, penalties
from gan.networks import Concatenation, ConditionalGenerator, Projection

CENTRES = torch.tensor([[-2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])


@pytest.fixture
def labelled(gen):
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 50)
    return CENTRES[labels] + 0.1 * torch.randn(200, 2, generator=gen), labels


def generator():
    return networks.mlp_generator(2, latent_dim=2, hidden=(32, 32), bounded=False, num_classes=3)


def critics():
    return {
        "projection": networks.mlp_critic(2, hidden=(32, 32), num_classes=3),
        "concatenation": Concatenation(networks.mlp_critic(5, hidden=(32, 32)), num_classes=3),
    }


@pytest.mark.parametrize("name", ["projection", "concatenation", "sample loss"])
def test_each_class_is_where_it_belongs(labelled, name):
    if name == "sample loss":
        model = GAN(generator(), loss=losses.Energy(), ema=0.9)
    else:
        punished = (penalties.R1(0.1), penalties.R2(0.1))
        model = GAN(generator(), critics()[name], loss=losses.NonSaturating(), penalties=punished, ema=0.9)
    x, y = labelled
    model.fit(x, labels=y, steps=500, batch_size=64, device="cpu", progress=False)
    for label, centre in enumerate(CENTRES):
        drawn = model.sample(200, seed=0, labels=label)
        # 1.4 from the border to the next class; the game's own noise is a few tenths.
        assert (drawn.mean(0) - centre).norm() < 0.7


def test_classes_are_drawn_with_the_frequencies_of_the_data(labelled):
    x, y = labelled
    model = GAN(generator(), loss=losses.Energy()).fit(
        x, labels=y, steps=1, batch_size=8, device="cpu", progress=False
    )
    assert model.class_counts.tolist() == [100, 50, 50]
    classes = model._classes(8000, None, torch.Generator().manual_seed(0))
    share = classes.bincount(minlength=3).double() / 8000
    assert (share - torch.tensor([0.5, 0.25, 0.25])).abs().max() < 5 * (0.25 / 8000) ** 0.5


def test_a_data_set_brings_its_labels_and_a_file_keeps_the_counts(labelled, tmp_path):
    x, y = labelled
    data = Data("three", x, x, y, y)
    model = GAN(generator(), loss=losses.Energy()).fit(
        data, steps=2, batch_size=8, device="cpu", progress=False
    )
    model.save(tmp_path / "model")
    again = gan.load(tmp_path / "model")
    assert torch.equal(again.sample(20, seed=0), model.sample(20, seed=0))


def test_a_projection_is_its_formula(gen):
    body = torch.nn.Linear(2, 4)
    critic = Projection(body, width=4, num_classes=3)
    torch.nn.init.normal_(critic.classes.weight, generator=gen)
    x, y = torch.randn(5, 2, generator=gen), torch.tensor([0, 1, 2, 1, 0])
    phi = body(x)
    wanted = critic.output(phi)[:, 0] + (critic.classes.weight[y] * phi).sum(1)
    torch.testing.assert_close(critic(x, y)[:, 0], wanted)


def test_images_see_their_class_as_channels():
    seen = []
    critic = Concatenation(lambda_module(seen), num_classes=3)
    critic(torch.zeros(2, 1, 4, 4), torch.tensor([2, 0]))
    assert seen[0].shape == (2, 4, 4, 4)
    assert seen[0][0, 3].eq(1).all()
    assert seen[0][0, :3].eq(0).all()


def lambda_module(seen):
    class Looks(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)[:, :1]

    return Looks()


def test_the_sample_loss_sees_pairs(labelled):
    """Two clouds of the same points under permuted classes are far apart by √2·κ."""
    from gan.game import Game
    from gan.settings import TrainingSettings
    from gan.sources import as_source

    x, y = labelled
    source = as_source(x, y, device=torch.device("cpu"), dtype=torch.float32, seed=0, workers=0)
    random = torch.Generator().manual_seed(0)
    game = Game(
        generator(),
        None,
        None,
        loss=losses.Energy(),
        penalties=(),
        source=source,
        settings=TrainingSettings(),
        random=random,
        dtype=torch.float32,
        classes=3,
    )
    variance = x.double().var(0, unbiased=False).sum()
    assert game.kappa == pytest.approx(float((2 * variance).sqrt()), rel=1e-6)
    pair = game._with_class(x[:1].expand(2, 2), torch.tensor([0, 1]))
    assert float((pair[0] - pair[1]).square().sum()) == pytest.approx(float(4 * variance), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: GAN(generator(), networks.mlp_critic(2), loss=losses.Hinge()), "same num_classes"),
        (lambda x, y: GAN(generator(), loss=losses.Energy()).fit(x, steps=1, progress=False), "pass labels="),
        (
            lambda x, y: GAN(generator(), loss=losses.Energy()).fit(x, labels=y + 1, steps=1, progress=False),
            "below num_classes",
        ),
        (
            lambda x, y: GAN(generator(), loss=losses.Energy()).sample(3, labels=[0, 1, 5]),
            "labels must be classes from 0 to 2, got 5",
        ),
        (
            lambda x, y: GAN(generator(), loss=losses.Energy()).sample(
                3, labels=torch.tensor([0.7, 1.2, 2.0])
            ),
            "labels must be whole numbers",
        ),
        (
            lambda x, y: GAN(generator(), loss=losses.Energy()).sample(3, labels=torch.tensor([0, 1, 5])),
            "classes from 0 to 2, got 5",
        ),
        (
            lambda x, y: GAN(networks.mlp_generator(2), loss=losses.Energy()).sample(3, labels=1),
            "leave them out",
        ),
        (
            lambda x, y: ConditionalGenerator(torch.nn.Identity(), latent_dim=2, num_classes=0),
            "num_classes must be",
        ),
    ],
)
def test_refusals(labelled, make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make(*labelled)
