"""``python -m tocsin``: the same as the command, where scripts are not on the path."""

from tocsin.cli import main

main()
