"""Lightning: ``Trainer(logger=LightningLogger(run))``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch.loggers import Logger
except ImportError:  # its older name
    from pytorch_lightning.loggers import Logger

from tocsin.callbacks.values import numbers, run_of, settings
from tocsin.sdk.workspace import Run


class LightningLogger(Logger):  # type: ignore[misc]
    """Logs what ``self.log(…)`` of a module logs, by its step; hyperparameters are parameters of the run."""

    def __init__(self, run: Run | None = None) -> None:
        """``run``: the one to log into; else the submitted script's."""
        super().__init__()
        self._run = run_of(run)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self._run.experiment.name)

    @property
    def version(self) -> str:
        """The run's id."""
        return str(self._run.id)

    @property
    def experiment(self) -> Run:
        """The run, for what a module logs itself: ``self.logger.experiment.log_image(…)``."""
        return self._run

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers."""
        self._run.log_metrics(numbers(metrics), step=step)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_args: Any, **_kwargs: Any) -> None:
        """Keep parameters."""
        self._run.log_params(settings(vars(params) if isinstance(params, Namespace) else params))

    def save(self) -> None:
        """Write what is not written yet."""
        self._run.flush()

    def finalize(self, status: str) -> None:
        """Write what is not written yet."""
        self._run.flush()
