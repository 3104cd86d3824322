"""The running tocsin: life cycle and reload."""
