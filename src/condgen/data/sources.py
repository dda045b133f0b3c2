"""Data sets by name."""

from collections.abc import Callable

from condgen.data.dataset import Splits
from condgen.data.digits import bg_digits, digits
from condgen.errors import DataError, nearest

EMBEDDED: dict[str, Callable[[], Splits]] = {"digits": digits, "bg-digits": bg_digits}


def open_dataset(name: str) -> Splits:
    """A data set with its train, validation and test parts.

    Raises:
        DataError: If the name is not known; the nearest known one is named.

    Examples:
        >>> [len(part) for _, part in open_dataset("digits").items()]
        [1257, 180, 360]
    """
    if name not in EMBEDDED:
        raise DataError(f"data set '{name}' is not known; {nearest(name, EMBEDDED)}")
    return EMBEDDED[name]()
