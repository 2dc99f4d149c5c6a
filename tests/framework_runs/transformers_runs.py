"""Transformers: the Trainer with a tiny model, generation with a tiny GPT, and a pipeline around it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset

from framework_runs.trial import Probes, Trial
from framework_runs.watching import Watch

transformers.logging.set_verbosity_error()


class Config(transformers.PretrainedConfig):
    """The configuration of `Net`."""

    model_type = "tiny"


class Net(transformers.PreTrainedModel):
    """One layer."""

    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.layer = torch.nn.Linear(2, 2)
        self.post_init()

    def forward(self, values: torch.Tensor, labels: torch.Tensor | None = None, **_: Any) -> dict[str, torch.Tensor]:
        logits = self.layer(values)
        return {"logits": logits} if labels is None else {"loss": (logits - labels).square().mean(), "logits": logits}


class Rows(Dataset[Any]):
    """Four rows, in batches of one."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, list[float]]:
        return {"values": [float(index), 1.0], "labels": [1.0, 0.0]}


def arguments(cls: type[Any], folder: str, evaluates: str) -> Any:
    """Return arguments that let a trainer save into a folder that goes away, and show nothing."""
    return cls(
        output_dir=folder,
        num_train_epochs=2,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=2,
        eval_strategy=evaluates,
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )


def trainer(
    model: Net, folder: str, cls: Any = transformers.Trainer, callbacks: Any = (), evaluates: str = "epoch"
) -> Any:
    """Return a trainer of the model."""
    seq2seq = issubclass(cls, transformers.Seq2SeqTrainer)
    options = transformers.Seq2SeqTrainingArguments if seq2seq else transformers.TrainingArguments
    return cls(
        model=model,
        args=arguments(options, folder, evaluates),
        train_dataset=Rows(),
        eval_dataset=Rows(),
        callbacks=list(callbacks),
    )


def gpt(cls: Any = transformers.GPT2LMHeadModel) -> Any:
    """Return a tiny language model."""
    config = transformers.GPT2Config(
        vocab_size=8, n_positions=16, n_embd=4, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    return cls(config)


def prompt() -> dict[str, torch.Tensor]:
    """Return what to go on from."""
    return {"input_ids": torch.ones(1, 2, dtype=torch.long), "attention_mask": torch.ones(1, 2, dtype=torch.long)}


# -- methods that Transformers calls -------------------------------------------------------------------------------


class Own(transformers.Trainer):
    """Has a step of its own, which returns what has a graph."""

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = self.compute_loss(model, inputs)
        self.accelerator.backward(loss, retain_graph=True)
        return loss


class OwnSeq2Seq(Own, transformers.Seq2SeqTrainer):
    """The same."""


def train(watch: Watch, cls: Any) -> object:
    """Train, evaluate and save after every epoch; evaluate and predict on their own."""
    with tempfile.TemporaryDirectory() as folder, watch.caller():
        model = watch.module(watch.watched(Net)(Config()))
        runner = trainer(model, folder, watch.watched(cls), [watch.watched(transformers.TrainerCallback)()])
        runner.train()
        return [runner.evaluate(), runner.predict(Rows())]


def only_train(watch: Watch, cls: Any) -> object:
    """Train and save, without an evaluation."""
    with tempfile.TemporaryDirectory() as folder, watch.caller():
        model = watch.module(watch.watched(Net)(Config()))
        callback = watch.watched(transformers.TrainerCallback)()
        trainer(model, folder, watch.watched(cls), [callback], evaluates="no").train()
    return None


def only_evaluate(watch: Watch, cls: Any) -> object:
    """Predict with, and save, a model that was not trained."""
    with tempfile.TemporaryDirectory() as folder, watch.caller():
        model = watch.module(watch.watched(Net)(Config()))
        runner = trainer(model, folder, watch.watched(cls), [watch.watched(transformers.TrainerCallback)()])
        runner.save_model(folder)
        return runner.predict(Rows())


class Processor(transformers.LogitsProcessor):
    """Leaves the scores as they are."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores * 1


class Criteria(transformers.StoppingCriteria):
    """Never stops."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        return torch.zeros(len(input_ids), dtype=torch.bool)


def generate(watch: Watch) -> object:
    """Generate three tokens."""
    with watch.caller():
        model = watch.module(watch.watched(transformers.GPT2LMHeadModel)(gpt().config))
        return model.generate(
            **prompt(),
            min_new_tokens=3,
            max_new_tokens=3,
            do_sample=False,
            logits_processor=transformers.LogitsProcessorList([watch.watched(Processor)()]),
            stopping_criteria=transformers.StoppingCriteriaList([watch.watched(Criteria)()]),
        )


def resize(watch: Watch) -> object:
    """Give a language model more words."""
    with watch.caller():
        model = watch.module(watch.watched(transformers.GPT2LMHeadModel)(gpt().config))
        model.resize_token_embeddings(10, mean_resizing=False)
    return None


class Pipe(transformers.Pipeline):
    """Applies `Net`."""

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, {}

    def preprocess(self, input_: Any, **options: Any) -> dict[str, Any]:
        return {"values": torch.tensor([[float(each) for each in input_.split()]])}

    def _forward(self, input_tensors: dict[str, Any], **options: Any) -> Any:
        return self.model(**input_tensors)

    def postprocess(self, model_outputs: Any, **options: Any) -> Any:
        return model_outputs["logits"] * 2


def pipe(watch: Watch) -> object:
    """Call a pipeline twice."""
    with watch.caller():
        model = watch.module(Net(Config()))
        line = watch.watched(Pipe)(model=model, device="cpu")
        watch.module(model)
        return [line("1 2"), line("3 4")]


SCENARIOS = (
    functools.partial(train, cls=transformers.Trainer),
    functools.partial(train, cls=transformers.Seq2SeqTrainer),
    functools.partial(only_train, cls=transformers.Trainer),
    functools.partial(only_train, cls=transformers.Seq2SeqTrainer),
    functools.partial(only_evaluate, cls=transformers.Trainer),
    functools.partial(only_evaluate, cls=transformers.Seq2SeqTrainer),
    functools.partial(only_train, cls=Own),
    functools.partial(only_train, cls=OwnSeq2Seq),
    resize,
    generate,
    pipe,
)

# -- calls ---------------------------------------------------------------------------------------------------------


def with_trainer(trial: Trial, call: Callable[[Any], tuple[Any, ...]]) -> None:
    """Call a method of a trainer."""
    with tempfile.TemporaryDirectory() as folder:
        model = trial.module("self.model", Net(Config()))
        function, *args = call(trainer(model, folder))
        trial.call(function, *args)


def batch() -> dict[str, torch.Tensor]:
    """Return a batch of one row."""
    return {name: torch.tensor([value]) for name, value in Rows()[1].items()}


def training_step(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = trial.module("model", Net(Config()))
        runner = trainer(model, folder)
        runner.create_optimizer_and_scheduler(2)
        trial.call(runner.training_step, model, batch(), 1)


def pipeline(trial: Trial) -> None:
    model = trial.module("model", Net(Config()))
    line = trial.call(transformers.pipeline, "text-classification", model, pipeline_class=Pipe, config=model.config)
    trial.use(line, "1 2")


def generation(trial: Trial) -> None:
    model = trial.module("self", gpt())
    trial.call(functools.partial(model.generate, min_new_tokens=3, max_new_tokens=3), **prompt())


CALLS: Probes = {
    "transformers.GenerationMixin.generate": (generation,),
    "transformers.Trainer.train": (functools.partial(with_trainer, call=lambda runner: (runner.train,)),),
    "transformers.Trainer.evaluate": (functools.partial(with_trainer, call=lambda runner: (runner.evaluate,)),),
    "transformers.Trainer.predict": (functools.partial(with_trainer, call=lambda runner: (runner.predict, Rows())),),
    "transformers.Trainer.prediction_step": (
        functools.partial(with_trainer, call=lambda runner: (runner.prediction_step, runner.model, batch(), False)),
    ),
    "transformers.Trainer.training_step": (training_step,),
    "transformers.pipeline": (pipeline,),
}
