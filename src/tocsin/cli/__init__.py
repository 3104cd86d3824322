"""The command line; it calls app."""

from __future__ import annotations


def main() -> None:
    """Entry point: 0 fine, 1 problems found, 2 misuse."""
    from tocsin.cli.main import run

    run()
