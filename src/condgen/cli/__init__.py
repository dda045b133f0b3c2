"""The command line. Commands import their dependencies when they run, so that help is fast."""

from condgen.cli.commands import main

__all__ = ["main"]
