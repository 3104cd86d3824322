"""tocsin rings when a run goes wrong: run-status events in, KQL rules over them, one mail to the right person."""

__version__ = "0.1.0"
