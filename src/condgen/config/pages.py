"""Configuration pages in TOML: presets, your files, `--set` overrides, and the page of a run."""

import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from condgen.config import older
from condgen.config.experiment import Config, SubjectConfig
from condgen.config.section import named
from condgen.config.validation import FILLED_IN, validated
from condgen.errors import ConfigError, suggest

NAMED_ONLY = "data"  # its name chooses images and does not change the allowed keys

Kind = TypeVar("Kind", bound=SubjectConfig)


def preset_names() -> list[str]:
    """Names that :func:`load_preset` knows."""
    files = resources.files("condgen.presets").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_preset(name: str | Path, overrides: Iterable[str] = (), seed: int = 0) -> Config:
    """Load a preset or your TOML file, with some settings replaced.

    Args:
        name: One of :func:`preset_names`, or the path of a TOML file. The file may contain
            ``extends = "PRESET"``.
        overrides: ``section.key=value`` with a TOML value; a bare word is text. ``section=NAME``
            chooses another member of the section.
        seed: Seed of everything random in the run.

    Raises:
        ConfigError: If a preset or key is unknown (the closest known one is suggested), or a value
            has the wrong type.

    Examples:
        >>> load_preset("digits-reweight", ["model.blocks=2"]).model.blocks
        2
    """
    return from_page(read_page(name), overrides, seed=seed, preset=_page_name(name))


def from_page(
    page: Mapping[str, Any], overrides: Iterable[str] = (), *, seed: int = 0, preset: str = ""
) -> Config:
    """The experiment that a page describes, with settings replaced; see :func:`load_preset`."""
    return _from_page(page, overrides, seed, preset, Config)


def subject_config(
    page: Mapping[str, Any], overrides: Iterable[str] = (), *, seed: int = 0
) -> SubjectConfig:
    """The configuration of an external model: a page without objective and training.

    Examples:
        >>> page = {"model": {"name": "condgen:DiagonalGaussian"}, "data": {"name": "digits"}}
        >>> subject_config(page, ["detector.threshold=3.5"]).detector.threshold
        3.5
    """
    return _from_page(page, overrides, seed, "", SubjectConfig)


def _from_page(
    page: Mapping[str, Any], overrides: Iterable[str], seed: int, preset: str, kind: type[Kind]
) -> Kind:
    settings = overridden(older.upgraded(page), overrides)
    origin = f"preset '{preset}'" if preset in preset_names() else preset or "the settings"
    return validated({"seed": seed, **settings, "preset": preset}, origin, kind)


def replaced(config: Kind, overrides: Iterable[str], sections: Collection[str]) -> Kind:
    """``config`` with settings of some sections replaced, written as for :func:`load_preset`.

    Raises:
        ConfigError: If a setting belongs to another section, is not known or is not valid.

    Examples:
        >>> config = load_preset("digits-base")
        >>> config = replaced(config, ["audit.interpolation.pairs=20"], ["audit"])
        >>> config.audit_settings("interpolation").pairs
        20
    """
    overrides = list(overrides)
    for override in overrides:
        if override.partition("=")[0].partition(".")[0].strip() not in sections:
            raise ConfigError(
                f"'--set {override}' is not allowed here; only {' and '.join(sections)} can be"
                " changed."
            )
    settings = overridden(config.model_dump(exclude_none=True), overrides)
    return validated(settings, f"preset '{config.preset}'", type(config))


def load_config(path: Path, kind: type[Kind]) -> Kind:
    """Load the configuration page ``path`` of a run.

    Raises:
        ConfigError: If the file is not TOML or not a configuration.
    """
    page = older.upgraded(_parsed(path.read_bytes(), str(path), "restore it or start a new run."))
    return validated(page, str(path), kind, older=True)


def read_page(name: str | Path) -> dict[str, Any]:
    """The tables of a preset or TOML file, merged over the page that it ``extends``.

    Raises:
        ConfigError: If there is no such preset or file, it is not TOML, or it extends itself.
    """
    return _read_page(name, ())


def _read_page(name: str | Path, above: tuple[str, ...]) -> dict[str, Any]:
    if str(name) in above:
        raise ConfigError(
            f"'{name}' extends itself ({' > '.join([*above, str(name)])}); remove one `extends`."
        )
    path = _path_of(name)
    page = older.upgraded(_parsed(path.read_bytes(), str(name), "correct it."))
    below = page.pop("extends", None)
    if below is None:
        return page
    if not isinstance(below, str):
        raise ConfigError(
            f"{name}: extends = {below!r} is not a name; give a preset or a TOML file."
        )
    base = path.parent / below if below.endswith(".toml") else below
    return merged(_read_page(base, (*above, str(name))), page)


def _path_of(name: str | Path) -> Any:
    if str(name).endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(
                f"{path} does not exist or is not a file; `condgen presets` lists the presets."
            )
        return path
    if name not in preset_names():
        raise ConfigError(
            f"preset '{name}' is not known; {suggest(str(name), preset_names())} `condgen presets`"
            " lists all presets; the name of a TOML file must end in .toml."
        )
    return _PackagedPreset(str(name))


class _PackagedPreset:
    """A preset of the package, with the interface of a path."""

    parent = Path()

    def __init__(self, name: str):
        self.name = name

    def read_bytes(self) -> bytes:
        return resources.files("condgen.presets").joinpath(f"{self.name}.toml").read_bytes()


def _page_name(name: str | Path) -> str:
    return Path(name).stem if str(name).endswith(".toml") else str(name)


def _parsed(content: bytes, origin: str, advice: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # ValueError: also of a number that is too long
        raise ConfigError(f"{origin} is not valid TOML ({error}); {advice}") from error


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``above`` over ``below``, table by table.

    If ``name`` determines the keys of a table (all tables except ``data``), another name replaces
    the whole table.

    Examples:
        >>> objective = {"name": "reweight", "alpha": 0.5}
        >>> below = {"objective": objective, "data": {"name": "digits", "flip": True}}
        >>> merged(below, {"objective": {"alpha": 2.0}})["objective"]
        {'name': 'reweight', 'alpha': 2.0}
        >>> merged(below, {"objective": "likelihood", "data": {"name": "mnist"}})
        {'objective': {'name': 'likelihood'}, 'data': {'name': 'mnist', 'flip': True}}
    """
    return _merged(below, above, lambda section: section != NAMED_ONLY)


def _merged(
    below: Mapping[str, Any], above: Mapping[str, Any], is_chosen: Callable[[str], bool]
) -> dict[str, Any]:
    both = {key: _combined(below[key], above[key], is_chosen(key)) for key in below if key in above}
    return {**below, **both, **{key: value for key, value in above.items() if key not in below}}


def _combined(below: Any, above: Any, chosen: bool) -> Any:
    if not isinstance(below, dict) and not isinstance(above, dict):
        return above
    below, above = (named(value) if isinstance(value, str) else value for value in (below, above))
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    if chosen and "name" in above and above["name"] != below.get("name", above["name"]):
        return above
    return _merged(below, above, lambda _: chosen)


def overridden(settings: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply ``section.key=value`` to ``settings``; another ``name`` clears the section first."""
    result = dict(settings)
    for keys, value in sorted(map(_parsed_override, overrides), key=_names_first):
        change: Any = value
        for key in reversed(keys):
            change = {key: change}
        result = merged(result, older.upgraded(change))
    return result


def _names_first(override: tuple[list[str], Any]) -> bool:
    """Sort key that puts overrides of a ``name`` before those of other keys; the sort is stable."""
    keys, value = override
    return not (keys[-1] == "name" or isinstance(value, str))


def _parsed_override(override: str) -> tuple[list[str], Any]:
    key, equals, text = override.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ConfigError(
            f"'--set {override}' is not of the form section.key=value; write for example"
            " training.epochs=10."
        )
    if keys[0] in FILLED_IN:
        raise ConfigError(
            f"'--set {override}' cannot be set: '{keys[0]}' comes from {FILLED_IN[keys[0]]}."
        )
    return keys, _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
