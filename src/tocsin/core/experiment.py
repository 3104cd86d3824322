"""azureml.core.experiment: Experiment."""

from tocsin.sdk.experiment import Experiment

__all__ = ["Experiment"]
