"""azureml.core.experiment: Experiment."""

from tocsin.sdk.workspace import Experiment

__all__ = ["Experiment"]
