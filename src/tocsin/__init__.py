"""tocsin rings when a run goes wrong."""
