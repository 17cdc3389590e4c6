"""Other people's trainers with the real packages: transformers, Accelerate, PEFT, on small random models."""

import copy
import shutil

import pytest
import torch
from torch import nn

import bayessgd
from bayessgd import SWAG, IterateAverage, Trajectory, from_checkpoints, predict
from bayessgd.interop import trainer_callback

OTHERS = ["ignore::UserWarning:torch.*", "ignore::DeprecationWarning", "ignore::FutureWarning"]
pytestmark = [pytest.mark.filterwarnings(words) for words in OTHERS]


@pytest.fixture(scope="module")
def transformers():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("WANDB_DISABLED", "true")
        pytest.importorskip("accelerate")
        yield pytest.importorskip("transformers")


def swag_of(model):
    return SWAG(model, rank=3)


@pytest.fixture(scope="module")
def whole(transformers, tmp_path_factory):
    """Twelve steps of SWAG, with a checkpoint in the middle: a model, its collector and the folder."""
    folder = tmp_path_factory.mktemp("whole")
    return *trained(transformers, folder, swag_of, steps=12), folder


def half(folder, tmp_path):
    """The run of a folder as it was when it was stopped after six steps."""
    shutil.copytree(folder / "checkpoint-6", tmp_path / "half" / "checkpoint-6")
    return tmp_path / "half"


def bert(transformers, seed=0):
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.BertForSequenceClassification(config)


def sentences(count=24):
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(40, (count, 8), generator=random)
    labels = (ids.float().mean(1) > 20).long()
    return [
        {"input_ids": i, "attention_mask": torch.ones(8, dtype=torch.long), "labels": y}
        for i, y in zip(ids, labels, strict=True)
    ]


def trained(transformers, folder, collector_of, *, steps, resume=None, model=None, every=2, **settings):
    model = bert(transformers) if model is None else model
    collector = collector_of(model)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        optim="sgd",
        save_steps=6,
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **settings,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=sentences(),
        callbacks=[trainer_callback(collector, every=every)],
    )
    with torch.random.fork_rng():
        trainer.train(resume_from_checkpoint=resume)
    return model, collector


@pytest.mark.parametrize("kind", [swag_of, IterateAverage, Trajectory])
def test_it_collects_and_resumes_to_the_same_posterior(transformers, kind, whole, tmp_path):
    model, collector, folder = whole
    if kind is not swag_of:
        folder = tmp_path / "whole"
        model, collector = trained(transformers, folder, kind, steps=12)
    assert collector.num_updates == 6
    stopped = half(folder, tmp_path)
    again, resumed = trained(
        transformers, stopped, kind, steps=12, resume=True, model=bert(transformers, seed=9)
    )
    assert resumed.num_updates == 6
    for name, value in collector.posterior().mean.items():
        assert torch.equal(value, resumed.posterior().mean[name]), name
    state = model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in again.state_dict().items())


def test_the_iterates_are_those_of_the_run(transformers, tmp_path):
    """The last update is the trained network; each sixth is a checkpoint, and these are read back by name."""
    model, path = trained(transformers, tmp_path, Trajectory, steps=12, every=1)
    assert path.num_updates == 12
    draws = path.posterior().draws
    for name, value in model.named_parameters():
        assert torch.equal(draws[name][-1], value.detach())
    found = from_checkpoints(bert(transformers, seed=5), tmp_path, collector=Trajectory, progress=False)
    for name in draws:
        assert torch.equal(found.draws[name], draws[name][[5, 11]]), name


def test_accumulated_gradients_are_one_step(transformers, tmp_path):
    _, path = trained(transformers, tmp_path, IterateAverage, steps=4, every=1, gradient_accumulation_steps=3)
    assert path.num_updates == 4


def test_from_start_to_predictions(transformers, whole, tmp_path):
    model, swag, _ = whole
    ids = torch.stack([s["input_ids"] for s in sentences()])

    class Logits(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, ids):
            return self.inner(input_ids=ids).logits

    posterior = swag.posterior()
    averaged = posterior.module(model)
    assert type(averaged) is type(model)
    bank = bayessgd.Ensemble({f"inner.{name}": t[None] for name, t in posterior.mean.items()})
    outputs = predict(Logits(model), bank, ids, num_samples=1)
    torch.testing.assert_close(outputs[0], averaged(input_ids=ids).logits.detach(), rtol=1e-5, atol=1e-6)
    averaged.save_pretrained(tmp_path / "served")
    served = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "served").eval()
    torch.testing.assert_close(served(input_ids=ids).logits, averaged(input_ids=ids).logits)


def test_a_checkpoint_without_the_collector_is_refused_and_the_remedy_is_right(transformers, whole, tmp_path):
    _, want, folder = whole
    half(folder, tmp_path)
    (tmp_path / "half" / "checkpoint-6" / "collector.safetensors").unlink()
    with pytest.raises(ValueError, match=r"goes on from step 6, but there is no .*resume_from="):
        trained(transformers, tmp_path / "half", swag_of, steps=12, resume=True)
    model = bert(transformers, seed=3)
    swag = swag_of(model)
    callback = trainer_callback(swag, every=2, resume_from=folder / "checkpoint-6")
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "half"),
        max_steps=12,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        lr_scheduler_type="constant",
        optim="sgd",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=sentences(), callbacks=[callback]
    )
    with torch.random.fork_rng():
        trainer.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-6"))
    for name, value in want.posterior().mean.items():
        assert torch.equal(value, swag.posterior().mean[name])


def test_refusals_of_another_file_and_of_no_collector(transformers, whole, tmp_path):
    stopped = half(whole[2], tmp_path)
    file = stopped / "checkpoint-6" / "collector.safetensors"
    bayessgd.Ensemble({"w": torch.ones(2, 1)}).save(file)
    with pytest.raises(ValueError, match="must be a 'bayessgd collector 1'"):
        trained(transformers, stopped, swag_of, steps=12, resume=True)
    with pytest.raises(TypeError, match=r"collector must be SWAG, IterateAverage or Trajectory, got Linear"):
        trainer_callback(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="every must be at least 1"):
        trainer_callback(SWAG(nn.Linear(1, 1)), every=0)


def test_adapters_of_peft_are_a_part_and_their_files_are_read(transformers, tmp_path):
    peft = pytest.importorskip("peft")

    def adapted(seed=0):
        config = peft.LoraConfig(
            r=2, target_modules=["query", "value"], task_type="SEQ_CLS", lora_dropout=0.0
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return peft.get_peft_model(bert(transformers), config)

    model, path = trained(transformers, tmp_path, Trajectory, steps=12, every=1, model=adapted())
    draws = path.posterior().draws
    assert draws
    assert all("lora_" in name or "classifier" in name for name in draws)
    assert (tmp_path / "checkpoint-6" / "adapter_model.safetensors").is_file()
    found = from_checkpoints(adapted(seed=4), tmp_path, collector=Trajectory, progress=False)
    for name in draws:
        assert torch.equal(found.draws[name], draws[name][[5, 11]]), name
    only = Trajectory(model, parameters="*lora_*")
    only.update()
    assert {name for name in draws if "lora_" in name} == set(only.posterior().draws)
    # Draws of the adapters predict through the whole network: a loop over copies says the same.
    ids = torch.stack([s["input_ids"] for s in sentences()])[:4]
    averaged = path.posterior().module(model, draw=3)
    other = copy.deepcopy(model).eval()
    other.load_state_dict({name: t[3] for name, t in draws.items()}, strict=False)
    torch.testing.assert_close(averaged(input_ids=ids).logits, other(input_ids=ids).logits)


def test_accelerates_optimizer_is_listened_to_as_it_is():
    accelerate = pytest.importorskip("accelerate")
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    data = torch.utils.data.TensorDataset(torch.randn(24, 2), torch.randn(24, 1))
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, wrapped, loader = accelerator.prepare(net, optimizer, torch.utils.data.DataLoader(data, 4))
    path = Trajectory(accelerator.unwrap_model(model))
    with path.attach(wrapped):
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward((model(x) - y).square().mean())
                wrapped.step()
                wrapped.zero_grad()
    assert path.num_updates == 3
    assert torch.equal(path.posterior().draws["weight"][-1], net.weight.detach())
