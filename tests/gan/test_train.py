"""The loop: seeds, checkpoints, divergence, the moving average and the refusals."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import gan
from gan import GAN, Data, TrainingDivergedError, TrainingSettings, losses, networks, penalties
from gan.average import MovingAverage
from gan.game import Game
from gan.settings import TrainingSettings as Settings

CLOUD = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)) * 0.5 + 1


def score_gan(**changes):
    settings = {"loss": losses.NonSaturating(), "penalties": (penalties.R1(1.0), penalties.R2(1.0))} | changes
    return GAN(small_generator(), networks.mlp_critic(2, hidden=(32, 32)), **settings)


def small_generator():
    return networks.mlp_generator(2, latent_dim=3, hidden=(32, 32), bounded=False)


def fit(model, data=CLOUD, **changes):
    settings = {"steps": 30, "batch_size": 16, "seed": 0, "device": "cpu", "progress": False} | changes
    return model.fit(data, **settings)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (fit(score_gan(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.sample(8, seed=5), again.sample(8, seed=5))
    assert first.history == again.history
    assert not torch.equal(first.sample(8, seed=5), other.sample(8, seed=5))


def test_training_leaves_the_global_seed_alone():
    torch.manual_seed(7)
    expected = torch.rand(())
    torch.manual_seed(7)
    fit(score_gan())
    assert torch.rand(()) == expected


@pytest.mark.parametrize("kind", ["score", "sample", "learned"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch, kind):
    def make():
        if kind == "score":
            return score_gan(loss=losses.Wasserstein(), penalties=(penalties.GradientPenalty(),))
        if kind == "sample":
            return GAN(small_generator(), loss=losses.SlicedWasserstein(8))
        critic = networks.mlp_critic(2, output_dim=4, hidden=(32, 32))
        return GAN(small_generator(), critic, loss=losses.Sinkhorn(learned_cost=True))

    settings = TrainingSettings(critic_every=2 if kind == "learned" else 1, penalty_decay=0.1)
    whole = fit(make(), settings=settings)
    path, step = tmp_path / "run.safetensors", Game.step

    def stops_at_25(self, number, progress):
        if number == 25:
            raise KeyboardInterrupt
        return step(self, number, progress)

    monkeypatch.setattr(Game, "step", stops_at_25)
    with pytest.raises(KeyboardInterrupt):
        fit(make(), settings=settings, checkpoint=path, checkpoint_every=10)
    monkeypatch.setattr(Game, "step", step)
    resumed = fit(make(), settings=settings, checkpoint=path, checkpoint_every=10)
    assert torch.equal(whole.sample(8, seed=1), resumed.sample(8, seed=1))
    for key, value in whole.generator.state_dict().items():
        assert torch.equal(value, resumed.generator.state_dict()[key])
    torch.testing.assert_close(whole.history.rows(), resumed.history.rows(), rtol=0, atol=0, equal_nan=True)
    # A finished run is not trained again.
    monkeypatch.setattr(Game, "step", lambda *_: pytest.fail("a finished run took a step"))
    assert torch.equal(
        fit(make(), settings=settings, checkpoint=path).sample(8, seed=1), whole.sample(8, seed=1)
    )


def test_refuses_a_checkpoint_of_another_run_and_a_broken_one(tmp_path):
    path = tmp_path / "run"
    fit(score_gan(), checkpoint=path)
    with pytest.raises(ValueError, match=r"another run .*seed was 0, now 1"):
        fit(score_gan(), checkpoint=path, seed=1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a safetensors file"):
        fit(score_gan(), checkpoint=path)


@dataclass(frozen=True)
class Breaks(losses.Energy):
    """A loss that is NaN from its 12th call on."""

    calls: tuple = ()

    def __call__(self, real, fake, *, generator=None):
        counted.append(0)
        return super().__call__(real, fake) * (float("nan") if len(counted) > 12 else 1.0)


counted: list[int] = []


def test_training_that_diverges_says_when_and_where_the_last_good_state_is(tmp_path):
    counted.clear()
    path = tmp_path / "run"
    with pytest.raises(TrainingDivergedError, match=f"step 12; the last good checkpoint is {path}"):
        fit(GAN(small_generator(), loss=Breaks()), checkpoint=path, checkpoint_every=10)
    from metrics import files

    assert len(files.read(path)[0]["history"]) == 10


def test_a_weight_that_diverged_is_not_written(tmp_path):
    model = GAN(small_generator(), loss=losses.Energy(), ema=0.0)
    with torch.no_grad():
        next(model.generator.parameters())[0, 0] = torch.nan
    with pytest.raises(TrainingDivergedError, match="not written yet"):
        fit(model, checkpoint=tmp_path / "run", checkpoint_every=1)
    assert not (tmp_path / "run").exists()


class _NoSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, *grads):
        return grads[0] * torch.nan


class Slopeless(losses.Energy):
    """A finite loss whose gradient is NaN."""

    def __call__(self, real, fake, *, generator=None):
        return super().__call__(real, _NoSlope.apply(fake))


@pytest.mark.parametrize("look", [None, lambda step, model, history: True])
def test_the_last_step_leaves_no_weight_that_is_not_finite(look):
    with pytest.raises(TrainingDivergedError, match="weight of the generator"):
        fit(GAN(small_generator(), loss=Slopeless(), ema=0.0), steps=1, on_step=look, on_step_every=1)


def test_the_moving_average_begins_fast_and_then_has_a_half_life_in_images():
    """Step t counts 4 / (t + 3) until that is less than 1 − ema^(batch/128), here .5, from step 5 on."""
    weights = []
    step = Game.step

    def spy(self, number, progress):
        row = step(self, number, progress)
        weights.append([p.detach().clone() for p in self.generator.parameters()])
        return row

    Game.step = spy
    try:
        model = fit(GAN(small_generator(), loss=losses.Energy(), ema=0.25), steps=7, batch_size=64)
    finally:
        Game.step = step
    counts = [1, 4 / 5, 4 / 6, 4 / 7, 0.5, 0.5, 0.5]
    shares = [w * math.prod(1 - later for later in counts[k + 1 :]) for k, w in enumerate(counts)]
    for k, got in enumerate(model.averaged.module.parameters()):
        torch.testing.assert_close(got, sum(s * each[k] for s, each in zip(shares, weights, strict=True)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_half_of_a_short_run_is_a_sixteenth_of_its_average(dtype):
    """θ_s counts as s³ in polynomial-decay averaging with η = 3: Σ_{s ≤ T/2} s³ / Σ s³ → 2⁻⁴."""
    player = torch.nn.Linear(1, 1, dtype=dtype)
    average = AveragedModel(player, multi_avg_fn=MovingAverage(0.9999))
    for step in range(400):
        torch.nn.init.constant_(player.weight, 16.0 if step < 200 else 0.0)
        average.update_parameters(player)
    # The weight of θ_s is that of s (s + 1) (s + 2), whose sums are T (T + 1) (T + 2) (T + 3) / 4.
    expected = 16 * 200 * 201 * 202 * 203 / (400 * 401 * 402 * 403)
    got = average.module.weight.detach().squeeze()
    torch.testing.assert_close(got, torch.tensor(expected, dtype=dtype), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: score_gan(penalties=(penalties.R1(0.1), penalties.R2(0.1))),
        lambda: score_gan(loss=losses.Wasserstein(), penalties=(penalties.GradientPenalty(1.0),)),
        lambda: GAN(small_generator(), loss=losses.Sinkhorn(eps=0.05)),
        lambda: GAN(small_generator(), loss=losses.Energy()),
        lambda: GAN(small_generator(), loss=losses.SlicedWasserstein(16)),
    ],
    ids=["ns", "wgan-gp", "sinkhorn", "energy", "sliced"],
)
def test_learns_the_mean_and_the_spread_of_a_gaussian(make):
    """N((1, 1), ¼ I), learned from 64 points: their own mean is known to 0.06, and the game adds its noise."""
    model = make()
    fit(model, steps=400, batch_size=64, settings=TrainingSettings(critic_steps=2))
    drawn = model.sample(2000, seed=0)
    torch.testing.assert_close(drawn.mean(0), CLOUD.mean(0), rtol=0, atol=0.2)
    torch.testing.assert_close(drawn.std(0), CLOUD.std(0), rtol=0.4, atol=0)


def test_sampling_is_repeatable_and_keeps_the_mode():
    model = fit(score_gan(), steps=2)
    model.generator.train()
    assert torch.equal(model.sample(4, seed=0), model.sample(4, seed=0))
    assert not torch.equal(model.sample(4, seed=0), model.sample(4, seed=1))
    assert model.generator.training


def test_a_learned_cost_moves_its_critic_only_every_so_often():
    critic = networks.mlp_critic(2, output_dim=4, hidden=(32, 32))
    model = GAN(small_generator(), critic, loss=losses.Sinkhorn(learned_cost=True))
    fit(model, steps=9, settings=TrainingSettings(critic_every=3))
    moved = torch.tensor(model.history.critic_loss).isfinite()
    assert moved.tolist() == [True, False, False] * 3


def test_the_data_set_trains_on_its_training_half():
    data = Data("cloud", CLOUD, CLOUD + 100)
    assert torch.equal(fit(score_gan(), data).sample(4, seed=0), fit(score_gan()).sample(4, seed=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN(small_generator(), loss=losses.Wasserstein()), "needs a critic"),
        (lambda: GAN(small_generator(), networks.mlp_critic(2), loss=losses.Sinkhorn()), "takes no critic"),
        (lambda: GAN(small_generator(), loss=losses.Sinkhorn(learned_cost=True)), "needs a critic"),
        (lambda: GAN(small_generator(), loss=losses.Energy(), penalties=(penalties.R1(1.0),)), "penalties"),
        (lambda: GAN(small_generator(), loss=losses.Energy(), ema=1.0), "ema must be in"),
        (lambda: fit(score_gan(), steps=0), "steps must be at least 1"),
        (lambda: fit(score_gan(), batch_size=0), "batch_size must be at least 1"),
        (lambda: fit(score_gan(), data=torch.zeros(4)), r"data must have shape \[n, d\]"),
        (lambda: fit(score_gan(), data=torch.full((4, 2), torch.nan)), "data must be finite"),
        (lambda: fit(score_gan(), amp=True), "amp=True needs a CUDA device"),
        (lambda: fit(score_gan()).sample(0), "n must be at least 1"),
        (lambda: Settings(learning_rate=-1.0), "learning_rate must be"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_refuses_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device must be available"):
        fit(score_gan(), device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", [False, True])
def test_trains_on_cuda(amp):
    model = fit(score_gan(), device="cuda", amp=amp)
    assert model.sample(4, seed=0).device.type == "cuda"
    assert model.history.rows().isfinite().all()


CONTEXTS = [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]


@pytest.mark.parametrize("context", CONTEXTS, ids=["no_grad", "inference_mode", "autocast"])
@pytest.mark.parametrize("name", ["js", "wgan-gp", "sinkhorn"])
def test_a_training_is_the_same_inside_what_turns_gradients_or_digits_off(name, context):
    data = gan.data.ring(100)
    chosen = gan.recipe(name, like=data)

    def trained():
        return gan.GAN.from_recipe(chosen, *chosen.players(seed=0))

    how = {"steps": 2, "seed": 0, "device": "cpu", "progress": False}
    plain, inside = trained().fit(data, **how), trained()
    with context():
        inside.fit(data, **how)
    assert torch.equal(plain.sample(5, seed=0), inside.sample(5, seed=0))


def test_networks_made_in_inference_mode_are_refused_and_made_outside_they_train():
    data = gan.data.ring(100)
    chosen = gan.recipe("js", like=data)
    how = {"steps": 1, "seed": 0, "device": "cpu", "progress": False}
    with torch.inference_mode():
        made_inside = gan.GAN.from_recipe(chosen, *chosen.players(seed=0))
        with pytest.raises(ValueError, match=r"generator must not be made inside torch\.inference_mode"):
            made_inside.fit(data, **how)
    made_outside = gan.GAN.from_recipe(chosen, *chosen.players(seed=0))
    with torch.inference_mode():
        made_outside.fit(data, **how)
    assert made_outside.sample(3, seed=0).isfinite().all()


def frozen(latent_dim):
    """A part that is frozen in evaluation mode within a network in training."""
    net = torch.nn.Sequential(torch.nn.Linear(latent_dim, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    net[1].eval()
    return net


def test_frozen_parts_stay_frozen():
    generator = networks.Generator(frozen(2), latent_dim=2)
    critic = torch.nn.Sequential(frozen(2), torch.nn.Linear(2, 1))
    before = {n: b.clone() for net in (generator, critic) for n, b in net.named_buffers()}
    modes = [m.training for net in (generator, critic) for m in net.modules()]
    # A penalty per sample: batch normalisation in evaluation mode scores each sample alone.
    model = GAN(generator, critic, loss=losses.NonSaturating(), penalties=(penalties.R1(1.0),), ema=0.0)
    model.fit(torch.randn(32, 2), steps=2, batch_size=8, progress=False)
    model.sample(4, seed=0)
    assert [m.training for net in (generator, critic) for m in net.modules()] == modes
    after = {n: b for net in (generator, critic) for n, b in net.named_buffers()}
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_a_sample_that_fails_leaves_the_modes_as_they_are():
    class Fails(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, z):
            if not self.training:
                raise RuntimeError("in evaluation")
            return z * self.weight

    generator = networks.Generator(Fails(), latent_dim=2)
    model = GAN(generator, loss=losses.Energy(), ema=0.0)
    with pytest.raises(RuntimeError, match="in evaluation"):
        model.sample(4)
    assert all(m.training for m in generator.modules())
