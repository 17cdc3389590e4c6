"""What every sampler must do, as one table: a new sampler is one row."""

import copy
import io
from functools import partial

import numpy as np
import pytest
import torch

from bayessgd.optim import SGFS, SGHMC, SGLD, PreconditionedSGD, PreconditionedSGLD

SAMPLERS = {
    "sgld": partial(SGLD, lr=0.1, num_data=20),
    "psgld": partial(PreconditionedSGLD, lr=0.1, num_data=20, eps=0.1),
    "sghmc": partial(SGHMC, lr=0.1, num_data=20, gradient_noise=1e-3),
    "sgfs-diagonal": partial(SGFS, lr=0.1, num_data=20, batch_size=5, diagonal=True),
    "sgfs-full": partial(SGFS, lr=0.1, num_data=20, batch_size=5),
    "corrected": partial(PreconditionedSGD, preconditioner=0.1, noise_covariance=0.01),
    "momentum": partial(PreconditionedSGD, preconditioner=0.1, momentum=0.5),
}
NOISY = [name for name in SAMPLERS if name != "momentum"]


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS.keys())
def make(request):
    return request.param


@pytest.fixture(params=[SAMPLERS[n] for n in NOISY], ids=NOISY)
def make_noisy(request):
    return request.param


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [np.float32, torch.tensor], ids=["numpy", "torch"])
def test_hyperparameters_are_numbers_of_any_library(kind):
    SGLD(start(), lr=kind(0.1), num_data=kind(20.0), temperature=kind(0.5)).step()
    SGHMC(start(), lr=0.1, num_data=20, momentum=kind(0.5)).step()
    PreconditionedSGD(start(), preconditioner=kind(0.1), noise_covariance=kind(0.01)).step()
    with pytest.raises(TypeError, match="momentum must be a number, got str"):
        SGHMC(start(), lr=0.1, num_data=20, momentum="0.5")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def start(dtype=torch.float32):
    return [torch.ones(3, 2, dtype=dtype, requires_grad=True), torch.ones(4, dtype=dtype, requires_grad=True)]


def loss_of(params):
    return sum(((i + 1) * p.square() + p).sum() for i, p in enumerate(params))


def advance(optimizer, params, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(params).backward()
        optimizer.step()


def values(params):
    return torch.cat([p.detach().reshape(-1) for p in params])


def test_resumes_to_the_same_bits(make, dtype):
    """Through a file that is loaded with weights_only, into an optimizer whose generator stands elsewhere."""
    params = start(dtype)
    optimizer = make(params, generator=generator())
    advance(optimizer, params, 4)
    file = io.BytesIO()
    torch.save({"params": [p.detach() for p in params], "optimizer": optimizer.state_dict()}, file)
    advance(optimizer, params, 4)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = [p.clone().requires_grad_() for p in saved["params"]]
    again = make(resumed, generator=generator(99))
    again.load_state_dict(saved["optimizer"])
    advance(again, resumed, 4)
    assert torch.equal(values(params), values(resumed))


def test_a_copy_goes_on_with_the_same_bits(make):
    params = start()
    optimizer = make(params, generator=generator())
    advance(optimizer, params, 2)
    other, others = copy.deepcopy((optimizer, params))
    advance(optimizer, params, 2)
    advance(other, others, 2)
    assert torch.equal(values(params), values(others))


def test_draws_from_its_generator_alone(make_noisy):
    before = torch.random.get_rng_state()
    first, second, third = start(), start(), start()
    for params, seed in ((first, 0), (second, 0), (third, 1)):
        advance(make_noisy(params, generator=generator(seed)), params, 2)
    assert torch.equal(values(first), values(second))
    assert not torch.equal(values(first), values(third))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_generator_torchs_default_is_used(make_noisy):
    with torch.random.fork_rng(devices=[]):
        results = []
        for _ in range(2):
            torch.manual_seed(5)
            params = start()
            optimizer = make_noisy(params)
            advance(optimizer, params, 2)
            assert "generator" not in optimizer.state_dict()
            results.append(values(params))
        assert torch.equal(*results)


def test_closure_is_evaluated_with_gradients(make):
    params = start()
    optimizer = make(params, generator=generator())

    def closure():
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        return loss.detach()

    expected = loss_of(params).detach()
    assert torch.equal(optimizer.step(closure), expected)
    assert not torch.equal(values(params), values(start()))


def test_learning_rate_as_a_tensor(make):
    if make.func is PreconditionedSGD and "noise_covariance" in make.keywords:
        pytest.skip("its lr stays 1")
    number, tensor = start(), start()
    lr = make.keywords.get("lr", 1.0)
    advance(make(number, lr=lr, generator=generator()), number, 3)
    advance(make(tensor, lr=torch.tensor(lr), generator=generator()), tensor, 3)
    torch.testing.assert_close(values(number), values(tensor))  # the products of lr are rounded to float32


def test_groups_have_their_own_hyperparameters():
    """Two groups of one sampler are two samplers that share a generator."""
    params, alone = start(), start()
    together = SGLD(
        [{"params": params[:1]}, {"params": params[1:], "lr": 0.3, "num_data": 7}],
        0.1,
        num_data=20,
        generator=generator(),
    )
    shared = generator()
    apart = [
        SGLD(alone[:1], 0.1, num_data=20, generator=shared),
        SGLD(alone[1:], 0.3, num_data=7, generator=shared),
    ]
    for _ in range(3):
        advance(together, params, 1)
        loss_of(alone).backward()
        for optimizer in apart:
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(values(params), values(alone))


def test_maximize_climbs(make):
    down, up = start(), start()
    advance(make(down, generator=generator()), down, 3)
    optimizer = make(up, maximize=True, generator=generator())
    for _ in range(3):
        optimizer.zero_grad()
        (-loss_of(up)).backward()
        optimizer.step()
    assert torch.equal(values(down), values(up))


def test_parameters_without_a_gradient_stay(make):
    used, unused = start(), torch.ones(2, requires_grad=True)
    optimizer = make(used, generator=generator())
    optimizer.add_param_group({"params": [unused]})
    advance(optimizer, used, 2)
    assert torch.equal(unused.detach(), torch.ones(2))


def test_grad_scaler_skips_a_step_with_its_noise(make):
    params, plain = start(), start()
    optimizer = make(params, generator=generator())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    advance(make(plain, generator=generator()), plain, 1)

    scaler.scale(loss_of(params) * torch.inf).backward()
    before = optimizer.generator.get_state()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(values(params), values(start()))
    assert torch.equal(optimizer.generator.get_state(), before)

    optimizer.zero_grad()
    scaler.scale(loss_of(params)).backward()
    scaler.step(optimizer)
    torch.testing.assert_close(values(params), values(plain))


def test_step_hooks_run(make):
    params, calls = start(), []
    optimizer = make(params, generator=generator())
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    advance(optimizer, params, 2)
    assert calls == [1, 1]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_runs_on_a_gpu(make):
    params = [p.detach().cuda().requires_grad_() for p in start()]
    optimizer = make(params, generator=torch.Generator("cuda").manual_seed(0))
    advance(optimizer, params, 3)
    state = copy.deepcopy(optimizer.state_dict())
    kept = [p.detach().clone().requires_grad_() for p in params]
    advance(optimizer, params, 2)
    again = make(kept, generator=torch.Generator("cuda").manual_seed(1))
    again.load_state_dict(state)
    advance(again, kept, 2)
    assert torch.equal(values(params), values(kept))


def one(dtype=torch.float32):
    return [torch.ones(2, dtype=dtype, requires_grad=True)]


@pytest.mark.parametrize(
    ("params", "arguments", "error", "match"),
    [
        (one(), {"lr": 0.0}, ValueError, "lr must be finite and above 0, got 0"),
        (one(), {"lr": "big"}, TypeError, "lr must be a number, got str"),
        (one(), {"lr": torch.ones(2)}, ValueError, r"lr must be a number or a 0-dim tensor, got shape \[2\]"),
        (
            one(),
            {"weight_decay": 5e-4},
            ValueError,
            "weight_decay must stay 0, got 0.0005; a prior belongs to the loss",
        ),
        ([{"params": one(), "weight_decay": 1.0}], {}, ValueError, "weight_decay must stay 0, got 1.0"),
        (one(), {"generator": 0}, TypeError, "generator must be a torch.Generator or None, got int"),
        (one(torch.bfloat16), {}, TypeError, "params must be float32 or float64, got torch.bfloat16"),
    ],
)
def test_refusals_of_every_sampler(make, params, arguments, error, match):
    if isinstance(params[0], torch.Tensor):
        params = [p.detach().clone().requires_grad_() for p in params]
    with pytest.raises(error, match=match):
        make(params, **arguments)


@pytest.mark.parametrize("name", ["sgld", "psgld", "sghmc"])
@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"num_data": 0}, ValueError, "num_data must be finite and above 0, got 0"),
        ({"num_data": "all"}, TypeError, "num_data must be a number, got str"),
        ({"temperature": -1.0}, ValueError, "temperature must be finite and at least 0, got -1.0"),
        ({"temperature": None}, TypeError, "temperature must be a number, got NoneType"),
    ],
)
def test_refusals_of_the_posterior(name, arguments, error, match):
    with pytest.raises(error, match=match):
        SAMPLERS[name](one(), **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("psgld", {"decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
        ("psgld", {"eps": 0.0}, "eps must be finite and above 0"),
        ("sghmc", {"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ("sghmc", {"gradient_noise": -0.1}, "gradient_noise must be finite and above 0"),
    ],
)
def test_refusals_of_one_sampler(name, arguments, match):
    with pytest.raises(ValueError, match=match):
        SAMPLERS[name](one(), **arguments)


def test_refuses_sparse_gradients(make):
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = make(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="gradients must be dense"):
        optimizer.step()


def test_refuses_a_saved_generator_without_one_to_receive_it():
    state = SGLD(one(), 0.1, num_data=5, generator=generator()).state_dict()
    with pytest.raises(ValueError, match="build it with generator="):
        SGLD(one(), 0.1, num_data=5).load_state_dict(state)


def test_refuses_a_weight_decay_that_is_set_later(make):
    params = start()
    optimizer = make(params)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(ValueError, match=r"weight_decay must stay 0, got 0\.1"):
        optimizer.step()


def test_a_refused_group_is_not_added():
    sampler = SGLD(one(), 0.1, num_data=5)
    with pytest.raises(ValueError, match="lr must be"):
        sampler.add_param_group({"params": one(), "lr": -1.0})
    assert len(sampler.param_groups) == 1
