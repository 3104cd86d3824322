"""Transformers: ``Trainer(…, callbacks=[TransformersCallback(run)])``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import TrainerCallback

from tocsin.callbacks.values import numbers, run_of, settings
from tocsin.sdk.workspace import Run


class TransformersCallback(TrainerCallback):  # type: ignore[misc]
    """Logs what the trainer logs, by its global step; arguments that are not their defaults are parameters of the run."""

    def __init__(self, run: Run | None = None) -> None:
        """``run``: the one to log into; else the submitted script's."""
        self._run = run_of(run)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Keep the parameters."""
        if state.is_world_process_zero:
            given = {
                each.name: getattr(args, each.name) for each in fields(args) if getattr(args, each.name) != each.default
            }
            self._run.log_params(settings(given))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_kwargs: Any
    ) -> None:
        """Log numbers."""
        if state.is_world_process_zero:
            self._run.log_metrics(numbers(logs or {}), step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Write what is not written yet."""
        self._run.flush()
