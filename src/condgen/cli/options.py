"""Arguments and options that several commands share."""

import math
from pathlib import Path
from typing import Any

import click

run_argument = click.argument("run", type=click.Path(path_type=Path))
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with mnist/ and cifar10/ as parquet files."
    " Default: CONDGEN_DATA, else the Hugging Face Hub.",
)
device_option = click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Device; auto is CUDA if available, else the CPU.",
)
deterministic_option = click.option(
    "--deterministic",
    is_flag=True,
    help="Use only operations whose results do not vary; see docs/determinism.md.",
)
overrides_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Replace a setting; repeatable.",
)


seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True
)


class Finite(click.FloatRange):
    """A float range that excludes nan and inf."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads. Default: the idle usable cores.",
)
