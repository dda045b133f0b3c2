"""Overrides as words, as TOML and as part of file names."""

import json
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
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{key.rpartition('.')[2]}={f'{value:g}' if number else str(value).lower() if isinstance(value, bool) else value}"


def toml_of(value: Any) -> str:
    """A value as TOML; the JSON of numbers, texts and lists is."""
    return json.dumps(value, ensure_ascii=False, default=str)


def file_name(words: str) -> str:
    """``words`` with "_" for what no file name can have."""
    return "".join("_" if letter in NOT_IN_NAMES else letter for letter in words)
