"""Keras: ``model.fit(…, callbacks=[KerasCallback(run)])``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras.callbacks import Callback

from tocsin.callbacks.values import numbers, run_of, settings
from tocsin.sdk.workspace import Run


class KerasCallback(Callback):  # type: ignore[misc]
    """Logs what each epoch ends with, by the number of the epoch; the optimizer's settings and the epochs are parameters."""

    def __init__(self, run: Run | None = None) -> None:
        """``run``: the one to log into; else the submitted script's."""
        super().__init__()
        self._run = run_of(run)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Keep the parameters."""
        given = {"epochs": self.params["epochs"]}
        if (optimizer := self.model.optimizer) is not None:
            given |= {**settings(optimizer.get_config()), "optimizer": type(optimizer).__name__}
            given.pop("name", None)
        self._run.log_params(given)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the epoch's means."""
        self._run.log_metrics(numbers(logs or {}), step=epoch)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Write what is not written yet."""
        self._run.flush()
