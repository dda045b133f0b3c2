"""The TOML page of a study: what to train and audit, and what its report shows."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, ValidationError

from condgen.config import Section
from condgen.errors import ConfigError, suggest

Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Columns = Annotated[dict[str, Text], Field(min_length=1)]  # heading -> metric


class StudySection(Section):
    """A table of a study's page; it has no shorthand."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True)

    shorthand: ClassVar[str] = ""


class Runs(StudySection):
    """Every preset with every set of overrides and every seed.

    ``with`` has overrides for all of them. ``audits`` lists the audits to run (default: all
    registered ones). ``name`` replaces the name of the only preset in labels.
    """

    presets: Annotated[list[Text], Field(min_length=1)]
    name: str = ""
    common: dict[str, Any] = Field(default={}, alias="with")
    set: list[dict[str, Any]] = Field(default=[{}], min_length=1)
    seeds: list[Seed] = Field(default=[0], min_length=1)
    audits: list[Text] | None = None


class Comparison(StudySection):
    """Our number and the paper's.

    ``paper`` has a number for each label. ``what`` ends in % for shares.
    """

    what: Text
    ours: Text
    paper: Annotated[dict[str, Finite], Field(min_length=1)]
    claim: str = ""


class SweepTable(StudySection):
    """A statistic over seeds: a row for each set of overrides, a column for each metric."""

    title: Text
    columns: Columns
    statistic: Literal["mean", "max", "min"] = "mean"


class SweepFigure(StudySection):
    """A metric against a setting such as ``x = "objective.alpha"``, with a line for each preset."""

    title: Text
    x: Text
    y: Text
    log: bool = False


class TradeOff(StudySection):
    """A metric against another one for two presets: ``curves``.

    ``x`` is better the lower it is, ``y`` the higher. A label that ends in % shows shares as
    percentages.
    """

    title: Text
    x: Text
    y: Text
    x_label: Text
    y_label: Text
    curves: Annotated[list[Text], Field(min_length=2, max_length=2)]


class Difference(StudySection):
    """Metrics of a first label minus those of a second, paired by seed.

    ``margins`` of columns within which there is no difference add a verdict on ``claim``, the
    paper's sentence.
    """

    title: Text
    columns: Columns
    margins: dict[str, Positive] = Field(default={})
    claim: str = ""
    between: Annotated[
        list[Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)
    ]


class Page(StudySection):
    """A study: its runs, and the sections that its report adds to those of the audits.

    ``counterexample`` adds the counterexample of Section 2, ``claims`` the claims of the paper.
    """

    title: Text
    runs: Annotated[list[Runs], Field(min_length=1)]
    compare: list[Comparison] = Field(default=[])
    table: list[SweepTable] = Field(default=[])
    figure: list[SweepFigure] = Field(default=[])
    trade_off: list[TradeOff] = Field(default=[])
    difference: list[Difference] = Field(default=[])
    counterexample: bool = False
    claims: bool = False


def study_names() -> list[str]:
    """The names of the built-in studies."""
    files = resources.files("condgen.presets").joinpath("studies").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def read_study(name: str | Path) -> Page:
    """Read the page of a study.

    Args:
        name: One of :func:`study_names`, or the path of a TOML file.

    Raises:
        ConfigError: If there is no such study, or its page is not valid.
    """
    origin = f"study '{name}'" if name in study_names() else str(name)
    try:
        page = tomllib.loads(_content(name).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin} is not valid TOML ({error}); correct it.") from error
    try:
        return Page.model_validate(page)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_sentence(error.errors()[0])}") from error


def _content(name: str | Path) -> bytes:
    if name in study_names():
        return resources.files("condgen.presets").joinpath("studies", f"{name}.toml").read_bytes()
    if not str(name).endswith(".toml"):
        hint = suggest(str(name), study_names())
        raise ConfigError(f"study '{name}' is not known; {hint} Study files must end in .toml.")
    if not Path(name).is_file():
        raise ConfigError(f"{name} does not exist or is not a file; give a study's TOML file.")
    return Path(name).read_bytes()


def _sentence(problem: Any) -> str:
    key = _key(problem["loc"])
    if problem["type"] == "missing":
        return f"setting '{key}' is missing; add it."
    if problem["type"] == "extra_forbidden":
        hint = suggest(key.rpartition(".")[2], _siblings(problem["loc"]))
        return f"setting '{key}' is not known; {hint}"
    what = problem["msg"].removeprefix("Input ").removeprefix("Value error, ").rstrip(".?")
    return f"{key} = {problem['input']!r} does not fit: {what}."


def _key(location: tuple[Any, ...]) -> str:
    """The path of a setting, such as ``runs[0].seeds[2]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)[1:]


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """The valid keys of the table with the unknown key."""
    kinds: dict[str, type[StudySection]] = {
        "runs": Runs,
        "compare": Comparison,
        "table": SweepTable,
        "figure": SweepFigure,
        "trade_off": TradeOff,
        "difference": Difference,
    }
    kind = kinds.get(str(location[0]), Page) if location[1:] else Page
    return [field.alias or name for name, field in kind.model_fields.items()]
