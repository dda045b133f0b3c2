"""Validation of configuration tables; each error is one sentence."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from condgen.config.experiment import SubjectConfig
from condgen.config.section import Section, named
from condgen.errors import ConfigError, suggest
from condgen.registry import AUDITS, DETECTORS, MODELS, OBJECTIVES, Registry, imported

# sections that are chosen by name, and their default
CHOSEN: dict[str, tuple[Registry[Any], str]] = {
    "model": (MODELS, "glow"),
    "objective": (OBJECTIVES, "likelihood"),
    "detector": (DETECTORS, "likelihood"),
}

MOST_SHOWN = 200  # characters of a value in an error message
FILLED_IN = {  # when a run starts, and from where
    "preset": "the preset's name",
    "versions": "the installed packages",
    "images": "the data",
    "seed": "--seed",
    "start": "--from",
}

Kind = TypeVar("Kind", bound=SubjectConfig)
Model = TypeVar("Model", bound=BaseModel)


def validated(
    page: Mapping[str, Any], origin: str, kind: type[Kind], *, older: bool = False
) -> Kind:
    """Validate ``page`` and return its configuration.

    Args:
        page: Tables and values.
        origin: Name of the page in error messages.
        kind: Class of the configuration.
        older: Whether an older version may have written the page.

    Raises:
        ConfigError: If a setting is unknown, missing or not valid; names one such setting.
    """
    tables: dict[str, Any] = dict(page)
    for key in CHOSEN.keys() & kind.model_fields.keys():
        tables[key] = chosen(key, tables.get(key, {}), origin, older=older)
    audits = tables.get("audit", {})
    if not isinstance(audits, dict):
        raise ConfigError(
            f"{origin}: audit = {audits!r} does not fit: should be a table of tables, one for each"
            " audit."
        )
    tables["audit"] = {name: _audit(name, table, origin, older) for name, table in audits.items()}
    known = [name for name in setting_names(kind) if name.partition(".")[0] not in FILLED_IN]
    return _valid(kind, tables, origin, "", known)


def chosen(key: str, table: Any, origin: str, *, older: bool = False) -> Section:
    """The settings of the section ``key``, in the class that its ``name`` chooses."""
    registry, default = CHOSEN[key]
    table = named(table)
    if not isinstance(table, dict):
        raise ConfigError(
            f"{origin}: {key} = {table!r} does not fit: should be a table such as"
            f" {key} = {{ name = '{default}' }}."
        )
    table = {"name": default, **table}
    if not isinstance(table["name"], str):
        given = table["name"]
        raise ConfigError(f"{origin}: {key}.name = {given!r} does not fit: should be a string.")
    kind = settings_of(registry, table["name"])
    table = kind.from_older(table) if older else table
    return _valid(kind, table, origin, f"{key}.", [f"{key}.{name}" for name in setting_names(kind)])


def section_of(kind: type[Model], given: Any, origin: str, key: str = "") -> Model:
    """Convert a section given from Python, as an object or a table, to ``kind``.

    ``key`` names the section in error messages; it is empty for the whole page.

    Raises:
        ConfigError: If a setting is not valid; names one such setting.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{origin}: {key} = {_shown(given)} does not fit: should be a table or a"
            f" {kind.__name__}."
        )
    prefix = f"{key}." if key else ""
    return _valid(
        kind, dict(given), origin, prefix, [f"{prefix}{name}" for name in setting_names(kind)]
    )


def settings_of(registry: Registry[Any], name: str) -> type[Section]:
    """The settings class of a registry member."""
    member = (
        imported(registry.outside, registry.kind)
        if registry.outside and ":" in name
        else registry.get(name)
    )
    kind: type[Section] = (
        getattr(member, "Settings", None) or getattr(member, "settings", None) or member
    )
    return kind


def _audit(name: str, table: Any, origin: str, older: bool) -> Section:
    if name not in AUDITS.names() and ":" not in name:
        known = [f"audit.{audit}" for audit in AUDITS.names()]
        raise ConfigError(
            f"{origin}: setting 'audit.{name}' is not known; {suggest(f'audit.{name}', known)}"
        )
    kind = settings_of(AUDITS, name)
    table = kind.from_older(table) if older and isinstance(table, dict) else table
    return _valid(
        kind,
        table,
        origin,
        f"audit.{name}.",
        [f"audit.{name}.{key}" for key in setting_names(kind)],
    )


def _valid(kind: type[Model], table: Any, origin: str, prefix: str, known: list[str]) -> Model:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        # in a union, the deepest error is of the intended member
        deepest = max(error.errors(), key=lambda problem: len(problem["loc"]))
        raise ConfigError(f"{origin}: {_sentence(deepest, prefix, known, kind)}") from error


def _sentence(problem: Any, prefix: str, known: list[str], kind: type[BaseModel]) -> str:
    unknown = problem["type"] == "extra_forbidden"
    key = prefix + ".".join(_path(kind, problem["loc"]))
    if problem["type"] in ("union_tag_invalid", "union_tag_not_found"):
        context = problem["ctx"]
        given = context.get("tag", "nothing")
        expected = context.get("expected_tags", "the documented names")
        return f"{key}.name = '{given}' is not known; use one of {expected}."
    if unknown:
        moved = _moved(kind, problem["loc"])
        hint = f"it is now '{prefix}{moved}'." if moved else _elsewhere(key) or _closest(key, known)
        if key in known:  # another member of a union has it
            section = key.rpartition(".")[0]
            hint = f"another {section} has it: set {section}.name as well, or remove the setting."
        return f"setting '{key}' is not known; {hint}"
    if problem["type"] == "missing":
        return f"setting '{key}' is missing; add it."
    what = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    shown = _shown(problem["input"])
    return f"{key.rstrip('.')} = {shown} does not fit: {what}{_nearest_number(problem)}."


def _shown(value: Any) -> str:
    """The repr of a value, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _path(kind: type[BaseModel], location: tuple[Any, ...]) -> Iterator[str]:
    """The keys of a location, without the tags that pydantic adds for the members of a union."""
    here: list[type[BaseModel]] = [kind]
    tags: set[str] = set()
    for part in map(str, location):
        fields = [model.model_fields[part] for model in here if part in model.model_fields]
        if fields or part not in tags:
            yield part
            here = [model for field in fields for model in _models_in(field.annotation)]
            tags = {
                tag
                for field in fields
                for member in get_args(field.annotation)
                for tag in _tags(member)
            }


def _tags(member: Any) -> Iterator[str]:
    """The tags that pydantic may use for a member of a union."""
    yield getattr(member, "__name__", str(member))
    for model in _models_in(member):
        yield from (
            model.__name__,
            *map(str, get_args(getattr(model.model_fields.get("name"), "annotation", None))),
        )
    if args := get_args(member):
        yield getattr(args[0], "__name__", "")


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _closest(key: str, known: list[str]) -> str:
    """Suggest the closest setting, or the closest section if the section does not exist."""
    sections = dict.fromkeys(name.partition(".")[0] for name in known)
    return suggest(key, known if key.partition(".")[0] in sections else sections)


def _moved(kind: type[BaseModel], location: tuple[Any, ...]) -> str:
    moved: Mapping[str, str] = getattr(kind, "moved", {})
    return moved.get(".".join(map(str, location)), "")


def _elsewhere(key: str) -> str:
    """A hint that names the other members of the section that have the setting."""
    section, _, setting = key.partition(".")
    if section not in CHOSEN:
        return ""
    registry, _ = CHOSEN[section]
    having = [
        name for name in registry.names() if setting in setting_names(settings_of(registry, name))
    ]
    if not having:
        return ""
    have = (
        f"{section} {having[0]} has"
        if len(having) == 1
        else f"{section}s {', '.join(having[:-1])} and {having[-1]} have"
    )
    return f"{have} it: set {section}={having[0]} as well, or remove the setting."


def _nearest_number(problem: Any) -> str:
    """A hint with the nearest valid integer, for an integer out of bounds."""
    steps = {"gt": 1, "ge": 0, "lt": -1, "le": 0}
    allowed = [
        limit + steps[bound]
        for bound, limit in problem.get("ctx", {}).items()
        if bound in steps and type(limit) is int
    ]
    return f"; the nearest valid value is {allowed[0]}" if allowed else ""


def setting_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """The names of all settings, as ``section.key``."""
    names: list[str] = []
    for key, field in section.model_fields.items():
        inner = _models_in(field.annotation)
        nested = [name for kind in inner for name in setting_names(kind, f"{prefix}{key}.")]
        names += dict.fromkeys(nested if inner and nested else [prefix + key])
    return names
