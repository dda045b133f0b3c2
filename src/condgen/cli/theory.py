"""The command `theory`: the counterexample of Section 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from condgen.audits.counterexample import Confirmation
    from condgen.audits.counterexample_attacks import Found


@click.command()
@click.option(
    "--epsilon", type=float, required=True, help="Upper bound on both KL divergences, in nats."
)
@click.option(
    "--delta",
    type=float,
    required=True,
    help="Upper bound on the probability of a class that is not predicted.",
)
@click.option("--radius", type=float, required=True, help="Length of an attack, between 0 and 1.")
@click.option("--dimension", type=int, help="Dimension d. Default: the smallest that works.")
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Confirm the closed forms with this number of samples of p and of q.",
)
@click.option(
    "--attacks",
    type=click.IntRange(min=1),
    help="Attack the model on this number of samples of p: a minute for 60.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of samples and attacks.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    help="Folder for Fig. 2, the radial picture and the growth of d.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all numbers as JSON.")
def theory(
    epsilon: float,
    delta: float,
    radius: float,
    dimension: int | None,
    samples: int | None,
    attacks: int | None,
    seed: int,
    figures: Path | None,
    as_json: bool,
) -> None:
    """Print the counterexample of Section 2: its numbers and its seven conditions.

    It shows why no guarantee can be given.
    """
    from condgen.files import check_writable
    from condgen.theory import counterexample

    example = counterexample(epsilon, delta, radius, dimension)
    confirmed: tuple[Confirmation, ...] = ()
    found: tuple[Found, ...] = ()
    if figures:
        check_writable(figures / "figure.svg")
    if samples is not None:
        from condgen.audits.counterexample import confirm

        confirmed = confirm(example, samples=samples, seed=seed)
    if attacks is not None:
        from condgen.audits.counterexample_attacks import find_mistakes

        found = find_mistakes(example, images=attacks, seed=seed)
    if figures:
        from condgen.reports.theory_figures import save_all

        save_all(example, figures)
    if as_json:
        from condgen.theory import summary

        measured = {
            "monte_carlo": [line.summary() for line in confirmed],
            "attacks": [line.summary() for line in found],
        }
        click.echo(
            json.dumps(
                summary(example) | {name: lines for name, lines in measured.items() if lines},
                indent=1,
            )
        )
    else:
        from condgen.reports.theory import print_counterexample

        print_counterexample(example, confirmed, found)
