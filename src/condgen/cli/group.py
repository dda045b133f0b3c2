"""The click group, which turns the library's errors into one line and exit status 2."""

import io
import signal
import sys
import threading
import time
from typing import Any

import click

from condgen import torchrun
from condgen.errors import CondgenError, out_of_memory, suggest

PATIENCE = 2.0  # seconds before torchrun kills the first process, which prints the same error
SHARED = {"train", "audit"}  # commands that several processes share
TERMINATED = 128 + signal.SIGTERM  # exit status


class Group(click.Group):
    """Commands in order of definition; unknown ones get a suggestion, errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise click.UsageError(
                f"command '{cmd_name}' is not known; {suggest(cmd_name, self.commands)}"
            )
        return command

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):  # file names need not be UTF-8
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _terminate)  # like Ctrl-C
        try:
            _check_alone(ctx)
            return super().invoke(ctx)
        except CondgenError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"{_name()}: {' '.join(str(error).split())}", err=True)
            if torchrun.number():
                time.sleep(PATIENCE)
            sys.exit(2)
        except UnicodeEncodeError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"condgen: {error.object!r} is not UTF-8; rename it.", err=True)
            sys.exit(2)
        except OSError as error:
            # A broken pipe (`| head`) is handled by click.
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            click.echo(
                f"condgen: {error.filename or 'a file'}: {error.strerror or error};"
                " free some space or check permissions.",
                err=True,
            )
            sys.exit(2)
        except (MemoryError, RuntimeError) as error:
            if ctx.params.get("debug") or not out_of_memory(error):
                raise
            click.echo(
                "condgen: not enough memory; use a smaller training.batch_size or smaller images.",
                err=True,
            )
            sys.exit(2)
        except (KeyboardInterrupt, SystemExit) as stopped:
            code = 130 if isinstance(stopped, KeyboardInterrupt) else stopped.code
            if code not in (130, TERMINATED):
                raise
            how_to_continue = {
                "train": " Add --resume to continue.",
                "demo": " The same command continues.",
                "audit": " The same command continues.",
                "study": " The same command continues.",
            }
            hint = how_to_continue.get(ctx.invoked_subcommand or "", "")
            if not torchrun.number():
                click.echo(f"condgen: stopped; saved files are complete.{hint}", err=True)
            sys.exit(code)


def _check_alone(ctx: click.Context) -> None:
    """Refuse commands that processes started by ``torchrun`` would all run in full."""
    words = [*ctx._protected_args, *ctx.args]
    if torchrun.started() > 1 and SHARED.isdisjoint(words[:1]):
        raise click.UsageError(
            f"torchrun starts `condgen train` and `condgen audit`; run `condgen {words[0]}` alone"
        )


def _name() -> str:
    """The beginning of an error message; later processes say which one they are."""
    number = torchrun.number()
    return f"condgen (process {number})" if number else "condgen"


def _terminate(*_: object) -> None:
    sys.exit(TERMINATED)
