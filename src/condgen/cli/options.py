"""Arguments and options that several commands share."""

from pathlib import Path

import click

run_argument = click.argument("run", type=click.Path(path_type=Path))
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with mnist/ and cifar10/ as parquet files. Default: CONDGEN_DATA, else the Hugging Face Hub.",
)
device_option = click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where to compute; auto is the CUDA device where there is one.",
)
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Replace a setting; repeatable."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads. Default: the usable cores that others leave free."
)
