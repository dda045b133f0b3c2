"""`python -m condgen` is `condgen`."""

from condgen.cli import main


def run() -> None:
    """The console script."""
    main(prog_name="condgen")


if __name__ == "__main__":
    run()
