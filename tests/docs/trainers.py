"""What each snippet of docs/trainers.md takes as given, in their order."""

from glob import glob
from pathlib import Path

import torch
from torch import nn

import bayessgd

NUMBER = 7
"""Of the page's snippets."""


def trainer_names(number: int, folder: Path) -> dict[str, object]:
    """The names that snippet `number` finds, with fresh networks."""
    return [_loop, _lightning, _accelerate, _transformers, _parts, _checkpoints, _arviz][number](folder)


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    return x, x.sum(1, keepdim=True)


def _loader() -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*_data()), batch_size=8)


def _loop(folder: Path) -> dict[str, object]:
    def train(model, optimizer, loader):
        for _ in range(60):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.mse_loss(model(x), y).backward()
                optimizer.step()

    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return {
        "model": model,
        "optimizer": optimizer,
        "loader": _loader(),
        "train": train,
        "SWAG": bayessgd.SWAG,
    }


def _lightning(folder: Path) -> dict[str, object]:
    import lightning

    class Line(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(2, 1)

        def training_step(self, batch, index):
            return (self.net(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    class Quiet:
        """Lightning, whose trainer keeps to its folder and says nothing."""

        @staticmethod
        def Trainer(callbacks):
            return lightning.Trainer(
                max_epochs=2,
                accelerator="cpu",
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
                callbacks=callbacks,
                default_root_dir=folder,
            )

    return {"lightning": Quiet, "module": Line(), "loader": _loader(), "SWAG": bayessgd.SWAG}


def _accelerate(folder: Path) -> dict[str, object]:
    from accelerate import Accelerator

    model = nn.Linear(2, 1)
    return {
        "Accelerator": lambda: Accelerator(cpu=True),
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05),
        "loader": _loader(),
        "loss": nn.functional.mse_loss,
        "SWAG": bayessgd.SWAG,
    }


def _transformers(folder: Path) -> dict[str, object]:
    import transformers

    from tests.bayessgd.test_trainer import bert, sentences

    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "run"),
        max_steps=12,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        optim="sgd",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return {
        "Trainer": transformers.Trainer,
        "arguments": arguments,
        "model": bert(transformers),
        "data": sentences(),
        "SWAG": bayessgd.SWAG,
    }


def _parts(folder: Path) -> dict[str, object]:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(2, 2), nn.Linear(2, 1)
            self.body.lora_a = nn.Linear(2, 2)

    return {"net": Net(), "SWAG": bayessgd.SWAG}


def _checkpoints(folder: Path) -> dict[str, object]:
    logged = folder / "lightning_logs" / "version_0" / "checkpoints"
    logged.mkdir(parents=True)
    (folder / "out").mkdir(exist_ok=True)
    for step in (1, 2, 3):
        state = nn.Linear(2, 1).state_dict()
        torch.save(state, folder / "out" / f"step={step}.pt")
        prefixed = {f"net.{name}": value for name, value in state.items()}
        torch.save({"state_dict": prefixed, "global_step": step}, logged / f"step={step}.ckpt")
    return {
        "bayessgd": bayessgd,
        "Trajectory": bayessgd.Trajectory,
        "glob": glob,
        "model": nn.Linear(2, 1),
        "net": nn.Linear(2, 1),
        "paths": sorted((folder / "out").glob("*.pt")),
    }


def _arviz(folder: Path) -> dict[str, object]:
    import arviz
    import pyro
    from pyro.distributions import Normal

    from bayessgd.likelihoods import Gaussian

    def pyro_model():
        pyro.sample("net.weight", Normal(torch.zeros(1, 2), 1.0).to_event(2))
        pyro.sample("net.bias", Normal(torch.zeros(1), 1.0).to_event(1))

    model = nn.Linear(2, 1)
    x, y = _data()
    path = bayessgd.Trajectory(model)
    for _ in range(50):
        nn.init.normal_(model.weight, 1.0, 0.02)
        nn.init.normal_(model.bias, 0.0, 0.02)
        path.update()
    return {
        "posterior": path.posterior(),
        "model": model,
        "x": x,
        "y": y,
        "Gaussian": Gaussian,
        "arviz": arviz,
        "pyro": pyro,
        "pyro_model": pyro_model,
    }
