"""The command line: ``main`` runs ``unfreeze train``, ``evaluate``, ``predict``; a command is one file."""

from unfreeze.cli.main import main

__all__ = ["main"]
