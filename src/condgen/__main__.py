"""Entry point of `python -m condgen` and of the console script `condgen`."""

from condgen.cli import main


def run() -> None:
    """Run the command line."""
    main(prog_name="condgen")


if __name__ == "__main__":
    run()
