"""Image sizes that a model with several resolutions accepts."""

from condgen.errors import ConfigError


def check_halving(event_shape: tuple[int, int, int], levels: int) -> None:
    """Refuse image sizes that cannot be halved ``levels - 1`` times.

    Raises:
        ConfigError: With the number of levels that fit, and the next size for ``levels`` levels.
    """
    _, height, width = event_shape
    possible = 1
    while height % (1 << possible) == 0 and width % (1 << possible) == 0:
        possible += 1
    if levels < 1:
        raise ConfigError(f"a model cannot have {levels} levels; use 1 to {possible} levels.")
    if levels > possible:
        step = 1 << (levels - 1)
        padded = "x".join(str(-(-size // step) * step) for size in (height, width))
        raise ConfigError(
            f"images of {height}x{width} cannot be halved for {levels} levels; use 1 to {possible}"
            f" levels or images of {padded}."
        )
