"""Overrides as labels, as TOML and as part of file names."""

import json
import math
from collections.abc import Mapping
from typing import Any

NOT_IN_NAMES = frozenset('/\\:*?"<>|$ ')


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys.

    Examples:
        >>> flat({"model": {"blocks": 2}, "objective.alpha": 0.5})
        {'model.blocks': 2, 'objective.alpha': 0.5}
    """
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def words_of(key: str, value: Any) -> str:
    """``alpha=0`` for ``objective.alpha = 0.0``."""
    if isinstance(value, bool):
        text = str(value).lower()
    else:
        text = f"{value:g}" if isinstance(value, (int, float)) else f"{value}"
    return f"{key.rpartition('.')[2]}={text}"


def toml_of(value: Any) -> str:
    """A value as TOML; strings, lists and finite numbers have the same form in JSON.

    >>> toml_of([1, "a"]), toml_of(float("inf"))
    ('[1, "a"]', 'inf')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def file_name(words: str) -> str:
    """``words`` with "_" for characters that are invalid in file names."""
    return "".join("_" if letter in NOT_IN_NAMES else letter for letter in words)
