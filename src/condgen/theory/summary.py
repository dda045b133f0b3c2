"""A counterexample as a table: the output of `condgen theory --json`."""

from typing import Any

from condgen.theory.conditions import conditions
from condgen.theory.construction import log_lambda_1_range, smallest_dimension
from condgen.theory.counterexample import Counterexample


def summary(example: Counterexample) -> dict[str, Any]:
    """Values, bounds and the seven conditions as JSON; also logarithms if a value may underflow.

    Examples:
        >>> from condgen.theory import counterexample
        >>> values = summary(counterexample(0.1, 0.01, 0.5))
        >>> values["dimension"], len(values["conditions"])
        (35, 7)
    """
    given = {"epsilon": example.epsilon, "delta": example.delta, "radius": example.radius}
    names = (
        "lambda_1",
        "lambda_2",
        "log_lambda_1",
        "log_lambda_2",
        "kl_q_p",
        "kl_q_p_bound",
        "kl_p_q",
        "kl_p_q_bound",
        "confidence_p",
        "confidence_q",
        "attackable",
        "mean_distance",
        "log_median_density",
        "log_density_gain",
        "median_bits_per_dim",
        "share_at_least_median",
        "share_as_dense_as_attack",
    )
    return {
        **given,
        "dimension": example.dimension,
        "smallest_dimension": smallest_dimension(**given),
        "log_lambda_1_range": log_lambda_1_range(
            example.epsilon, example.delta, example.log_growth
        ),
        **{name: getattr(example, name) for name in names},
        "conditions": [line.summary() for line in conditions(example)],
    }
