"""Lightning: `Trainer.fit`, `validate`, `test` and `predict` with hooks of every kind, and what Fabric's calls do."""

from __future__ import annotations

import functools
import logging
import tempfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric import Fabric
from torch.utils.data import DataLoader

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
logging.getLogger("lightning.fabric").setLevel(logging.ERROR)


def batches() -> Any:
    """Return two batches."""
    return DataLoader(torch.arange(8.0).reshape(4, 2) / 8, batch_size=2)


class Net(pl.LightningModule):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch)

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self(batch).square().mean()

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.loss(batch)

    def test_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.loss(batch)

    def predict_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer)}

    def train_dataloader(self) -> Any:
        return batches()

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    def on_before_batch_transfer(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return batch * self.scale

    def transfer_batch_to_device(self, batch: torch.Tensor, device: torch.device, index: int) -> torch.Tensor:
        return batch * 1

    on_after_batch_transfer = on_before_batch_transfer

    def prepare_data(self) -> None:
        """Called only where it is overridden, like the rest."""

    def configure_model(self) -> None:
        pass


class Restoring(Net):
    """Calls what is called only where it is overridden: without these Lightning restores the modes by itself."""

    def on_validation_model_train(self) -> None:
        super().on_validation_model_train()

    def on_test_model_train(self) -> None:
        super().on_test_model_train()


class Manual(Net):
    """Goes backward and steps itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        optimizer = self.optimizers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        optimizer.step()
        return loss.detach()


class Failing(Net):
    """Raises in the middle of training."""

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        raise ArithmeticError


class Data(pl.LightningDataModule):
    """The same batches, handed on with the graph of something learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones((), requires_grad=True)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = Net.train_dataloader
    on_before_batch_transfer = on_after_batch_transfer = Net.on_before_batch_transfer
    transfer_batch_to_device = Net.transfer_batch_to_device

    def prepare_data(self) -> None:
        pass


def trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """Return a trainer that says nothing and writes nothing."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


# -- methods that Lightning calls ----------------------------------------------------------------------------------


def fit(watch: Watch, net: type[Net]) -> object:
    """Train and validate, with a sanity check before."""
    model = watch.module(watch.watched(net)())
    runner = trainer(watch.watched(pl.Callback)())
    with watch.caller():
        runner.fit(model)
    return None


def fit_data(watch: Watch) -> object:
    """Train with the batches of a data module."""
    model = watch.module(watch.watched(Net)())
    with watch.caller():
        trainer().fit(model, datamodule=watch.watched(Data)())
    return None


def fail(watch: Watch) -> object:
    """Stop with an error."""
    model = watch.module(watch.watched(Failing)())
    with watch.caller():
        try:
            trainer(watch.watched(pl.Callback)()).fit(model, datamodule=watch.watched(Data)())
        except ArithmeticError:
            return None
    raise AssertionError("fit hides an error")


def evaluate(watch: Watch, net: type[Net] = Net, **options: Any) -> object:
    """Validate, test and predict on their own."""
    model = watch.module(watch.watched(net)())
    runner = trainer(watch.watched(pl.Callback)(), **options)
    with watch.caller():
        runner.validate(model)
        runner.test(model)
        return runner.predict(model)


def evaluate_data(watch: Watch) -> object:
    """Validate, test and predict on a data module."""
    model = watch.module(watch.watched(Net)())
    data = watch.watched(Data)()
    runner = trainer()
    with watch.caller():
        runner.validate(model, datamodule=data)
        runner.test(model, datamodule=data)
        return runner.predict(model, datamodule=data)


SCENARIOS = (
    functools.partial(fit, net=Net),
    functools.partial(fit, net=Restoring),
    functools.partial(fit, net=Manual),
    fit_data,
    fail,
    evaluate,
    functools.partial(evaluate, net=Restoring),
    functools.partial(evaluate, net=Restoring, inference_mode=False),
    evaluate_data,
)

# -- calls ---------------------------------------------------------------------------------------------------------


def lightning_module(trial: Trial, name: str) -> Net:
    """Return a prepared module that tells how it is run."""
    made: Net = trial.module(name, Net())
    return made


def manual_backward(trial: Trial) -> None:
    runner, model = trainer(), Manual()
    runner.fit(model)
    trial.call(model.manual_backward, trial.loss("loss"))


def strategy_backward(trial: Trial) -> None:
    runner = trainer()
    runner.fit(Manual())
    trial.call(runner.strategy.backward, trial.loss("closure_loss"), None)


def fabric_strategy_backward(trial: Trial) -> None:
    trial.call(fabric().strategy.backward, trial.loss("tensor"), None)


def optimizers(trial: Trial) -> None:
    model = Manual()
    trainer().fit(model)
    trial.call(model.optimizers)


def load_from_checkpoint(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runner = trainer(default_root_dir=folder)
        runner.fit(Net())
        runner.save_checkpoint(Path(folder) / "net.ckpt")
        trial.call(Net.load_from_checkpoint, Path(folder) / "net.ckpt")


def run(trial: Trial, method: str) -> None:
    trial.call(getattr(trainer(), method), lightning_module(trial, "model"))


def fabric() -> Fabric:
    """Return a launched fabric of one process."""
    made = Fabric(accelerator="cpu", devices=1)
    made.launch()
    return made


def fabric_backward(trial: Trial) -> None:
    trial.call(fabric().backward, trial.loss("tensor"))


def setup(trial: Trial) -> None:
    net = trial.net("module")
    trial.call(fabric().setup, net, trial.optimizer("optimizers", net.parameters()))


def setup_alone(trial: Trial) -> None:
    trial.call(fabric().setup, trial.net("module"))


def setup_module(trial: Trial) -> None:
    trial.call(fabric().setup_module, trial.net("module"))


def setup_optimizers(trial: Trial) -> None:
    ready, net = fabric(), torch.nn.Linear(2, 1)
    model = ready.setup_module(net)
    trial.call(ready.setup_optimizers, trial.optimizer("optimizers", model.parameters()))


def setup_dataloaders(trial: Trial) -> None:
    trial.call(fabric().setup_dataloaders, batches(), batches())


def setup_dataloader(trial: Trial) -> None:
    trial.call(fabric().setup_dataloaders, batches())


CALLS: Probes = {
    "lightning.pytorch.LightningModule.manual_backward": (manual_backward,),
    "lightning.pytorch.LightningModule.optimizers": (optimizers,),
    "lightning.pytorch.LightningModule.load_from_checkpoint": (load_from_checkpoint,),
    "lightning.pytorch.Trainer.fit": (functools.partial(run, method="fit"),),
    "lightning.pytorch.Trainer.validate": (functools.partial(run, method="validate"),),
    "lightning.pytorch.Trainer.test": (functools.partial(run, method="test"),),
    "lightning.pytorch.Trainer.predict": (functools.partial(run, method="predict"),),
    "lightning.pytorch.strategies.Strategy.backward": (strategy_backward,),
    "lightning.fabric.strategies.Strategy.backward": (fabric_strategy_backward,),
    "lightning.fabric.Fabric.backward": (fabric_backward,),
    "lightning.fabric.Fabric.setup": (setup, setup_alone),
    "lightning.fabric.Fabric.setup_module": (setup_module,),
    "lightning.fabric.Fabric.setup_optimizers": (setup_optimizers,),
    "lightning.fabric.Fabric.setup_dataloaders": (setup_dataloader, setup_dataloaders),
}
