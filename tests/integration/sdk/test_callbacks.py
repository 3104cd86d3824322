"""Keras, Lightning and Transformers themselves, by the programs of the page."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from tests.pages import shown_on
from tocsin import Experiment, Run, Workspace

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]
os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("TOCSIN_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return Workspace.create("lab", path=tmp_path)


def the_run(ws: Workspace) -> Run:
    (run,) = Experiment(ws, "digits").get_runs()
    return run


def keras_model() -> Any:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.125), loss="mse", metrics=["mae"])
    return model


def test_keras_logs_each_epoch(ws: Workspace) -> None:
    import keras

    with shown_on("docs/sdk.md", "from tocsin.callbacks import KerasCallback") as programs:
        for program in programs:
            exec(program.text, {"model": keras_model(), "x": keras.ops.ones((8, 4)), "y": keras.ops.ones((8, 1))})
    run = the_run(ws)
    logged = run.get_metrics()
    assert {"loss", "mae", "val_loss", "val_mae"} == set(logged) and 3 == len(logged["val_loss"])
    assert logged["loss"][0] > logged["loss"][2]
    assert {
        "param.optimizer": "SGD",
        "param.epochs": "3",
        "param.learning_rate": "0.125",
    }.items() <= run.get_properties().items()
    assert "Completed" == run.status


def test_training_that_raises_is_a_failed_run(ws: Workspace) -> None:
    """What was logged before is kept."""
    import keras

    from tocsin.callbacks import KerasCallback

    class Breaks(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise MemoryError("no memory left on the device")

    run = Experiment(ws, "digits").start_logging(snapshot_directory=None)
    with pytest.raises(MemoryError), run:
        keras_model().fit(
            keras.ops.ones((8, 4)), keras.ops.ones((8, 1)), epochs=2, callbacks=[KerasCallback(run), Breaks()]
        )
    assert "Failed" == run.status and "no memory left" in str(run.get_details()["error"])
    assert isinstance(run.get_metrics()["loss"], float)


def test_lightning_logs_what_a_module_logs(ws: Workspace) -> None:
    import lightning
    import torch

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self, rate: float = 0.125, inner: dict[str, int] | None = None) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.layer(batch).square().mean()
            self.log("loss", loss, on_step=False, on_epoch=True)
            self.log("odd", math.nan, on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

    data = torch.utils.data.DataLoader(torch.ones(8, 4), batch_size=4)
    with shown_on("docs/sdk.md", "from tocsin.callbacks import LightningLogger") as programs:
        for program in programs:
            exec(program.text, {"lightning": lightning, "module": Module(inner={"depth": 3}), "data": data})
    run = the_run(ws)
    logged = run.get_metrics()
    assert 3 == len(logged["loss"]) and logged["loss"][0] > logged["loss"][2] and math.isnan(logged["odd"][0])
    assert {"param.rate": "0.125", "param.inner.depth": "3"} == run.get_properties()


def test_transformers_logs_what_its_trainer_logs(ws: Workspace, tmp_path: Path) -> None:
    import torch
    import transformers

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def forward(self, x: Any, labels: Any) -> Any:
            out = self.layer(x)
            return {"loss": (out - labels).square().mean(), "logits": out}

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "out"), num_train_epochs=3, logging_steps=1, per_device_train_batch_size=8, report_to=[],
        use_cpu=True, save_strategy="no", learning_rate=0.125, disable_tqdm=True,
    )  # fmt: skip
    data = [{"x": torch.ones(4), "labels": torch.ones(1)} for _ in range(8)]
    with shown_on("docs/sdk.md", "from tocsin.callbacks import TransformersCallback") as programs:
        for program in programs:
            exec(program.text, {"transformers": transformers, "model": Model(), "arguments": arguments, "data": data})
    run = the_run(ws)
    logged = run.get_metrics()
    assert 3 == len(logged["loss"]) and "learning_rate" in logged
    assert {"param.learning_rate": "0.125", "param.logging_steps": "1"}.items() <= run.get_properties().items()


def test_a_submitted_script_needs_no_run(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried by hand, it trains all the same."""
    import keras

    from tocsin.callbacks import KerasCallback

    run = Experiment(ws, "digits").start_logging(snapshot_directory=None)
    with monkeypatch.context() as env:
        env.setenv("TOCSIN_RUN_ID", run.id)
        env.setenv("TOCSIN_WORKSPACE", str(ws.folder))
        keras_model().fit(keras.ops.ones((8, 4)), keras.ops.ones((8, 1)), epochs=2, callbacks=[KerasCallback()])
    assert 2 == len(run.get_metrics()["loss"])
    run.complete()
    keras_model().fit(keras.ops.ones((8, 4)), keras.ops.ones((8, 1)), epochs=2, callbacks=[KerasCallback()])
