"""An experiment as a page of TOML: every setting, its default, and its bounds. Unknown keys are refused."""

import tomllib
from collections.abc import Collection, Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from condgen.errors import ConfigError, nearest

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


AUDITS = ("classification", "membership", "interpolation", "samples", "adversarial")


class Section(BaseModel):
    """A table of the TOML page."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Data(Section):
    name: str
    size: Positive | None = None
    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 0
    flip: bool = False


class Model(Section):
    name: Literal["glow"] = "glow"
    levels: Annotated[int, Field(gt=0, le=16)] = 4
    blocks: Annotated[int, Field(gt=0, le=1024)] = 12
    width: Annotated[int, Field(gt=0, le=8192)] = 128
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    memory: Literal["standard", "constant"] = "standard"
    prior: Literal["class-mixture", "split"] = "class-mixture"
    subspace_scale: PositiveFloat = 0.3
    family: Literal["gaussian", "laplace", "cauchy", "gaussian-laplace", "gaussian-cauchy"] = "gaussian"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Objective(Section):
    name: Literal["likelihood", "reweight", "split"] = "likelihood"
    alpha: NonNegative = 1.0


class Decay(Section):
    factor: Share = 0.1
    every_epochs: Positive = 60


class Training(Section):
    epochs: Positive = 150
    batch_size: Positive = 64
    learning_rate: PositiveFloat = 1e-3
    warm_up_steps: Annotated[int, Field(ge=0)] = 500
    clip_norm: PositiveFloat = 5.0
    compile: bool = False
    decay: Decay = Decay()


class Detector(Section):
    """Accepts images up to ``threshold`` bits/dim; if that is "quantile", up to the quantile of the validation images."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | Literal["quantile"] = "quantile"
    quantile: Share = 0.99


class Audit(Section):
    """``attacked``: test images to attack instead of the budget's; ``epsilon``: L2 distance of Table 2 (1.5 and 33/255)."""

    pairs: Annotated[int, Field(ge=2)] = 1000
    alphas: Annotated[int, Field(ge=3)] = 100
    noise_draws: Positive = 4
    samples: Positive = 10
    budget: Literal["smoke", "quick", "standard", "paper"] = "quick"
    attacked: Positive | None = None
    epsilon: PositiveFloat = 1.5
    targeted: bool = False


class Images(Section):
    """What the images of a run were like, so that other images under the same name are noticed."""

    shape: list[Positive]
    classes: Positive
    levels: Positive
    class_names: list[str] = []  # this and the next: runs of before have none
    sha256: dict[str, str] = {}  # of each part


class Config(Section):
    """All of an experiment. ``versions`` and ``images`` are filled in when a run starts."""

    data: Data
    model: Model = Model()
    objective: Objective = Objective()
    training: Training = Training()
    detector: Detector = Detector()
    audit: Audit = Audit()
    preset: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    versions: dict[str, str] = {}
    images: Images | None = None


FILLED_IN = {"preset": "the preset's name", "versions": "what is installed", "images": "the data", "seed": "--seed"}
READ_WITH = {  # settings that an experiment reads only while another has one of the values beside it
    "objective.alpha": ("objective.name", ("reweight", "split")),
    "model.subspace_scale": ("model.prior", ("split",)),
    "detector.quantile": ("detector.threshold", ("quantile",)),
}


def preset_names() -> list[str]:
    """Names that :func:`load_preset` knows."""
    return sorted(
        file.name.removesuffix(".toml") for file in resources.files("condgen.presets").iterdir() if file.name.endswith(".toml")
    )


def load_preset(name: str, overrides: Iterable[str] = (), seed: int = 0) -> Config:
    """A named experiment, with settings replaced.

    Args:
        name: One of :func:`preset_names`.
        overrides: ``section.key=value``, the value written as in TOML; a bare word is taken as text.
        seed: Of everything random in the run.

    Raises:
        ConfigError: Unknown preset or key (the nearest known one is named), a value of the wrong kind, or a setting that
            would change nothing.

    Examples:
        >>> load_preset("digits-reweight", ["model.blocks=2"]).model.blocks
        2
    """
    if name not in preset_names():
        raise ConfigError(f"preset '{name}' is not known; {nearest(name, preset_names())} `condgen presets` lists all.")
    settings, overrides = _preset_settings(name), list(overrides)
    for override in overrides:
        _replace(settings, override)
    config = _validate({"seed": seed, **settings, "preset": name}, f"preset '{name}'")
    for override in overrides:
        _check_effect(config, override.partition("=")[0].strip())
    return config


def replaced(config: Config, overrides: Iterable[str], sections: Collection[str]) -> Config:
    """``config`` with settings of some sections replaced, written as for :func:`load_preset`.

    Raises:
        ConfigError: If a setting belongs to another section, is not known, or does not fit.

    Examples:
        >>> replaced(load_preset("digits-base"), ["audit.pairs=20"], ["audit"]).audit.pairs
        20
    """
    settings, overrides = config.model_dump(exclude_none=True), list(overrides)
    for override in overrides:
        section = override.partition(".")[0].strip()
        if section not in sections:
            raise ConfigError(f"'--set {override}' cannot be changed here; only {' and '.join(sections)} can.")
        _replace(settings, override)
    changed = _validate(settings, f"preset '{config.preset}'")
    for override in overrides:
        _check_effect(changed, override.partition("=")[0].strip())
    return changed


def load_config(path: Path) -> Config:
    """The configuration that a run wrote.

    Raises:
        ConfigError: If the file is not TOML or not a configuration.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}); restore it or start the run anew.") from error
    return _validate(settings, str(path))


def _preset_settings(name: str) -> dict[str, Any]:
    """The page of a preset over the page that it ``extends``, table by table."""
    page = tomllib.loads(resources.files("condgen.presets").joinpath(f"{name}.toml").read_text())
    below = page.pop("extends", None)
    return page if below is None else _merged(_preset_settings(below), page)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(below[key], above[key]) for key in below.keys() & above.keys() if isinstance(below[key], dict)}
    return {**below, **above, **both}


def _replace(settings: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"'--set {override}' is not of the form section.key=value, such as training.epochs=10.")
    *sections, last = key.strip().split(".")
    if (first := [*sections, last][0]) in FILLED_IN:
        raise ConfigError(f"'--set {override}' cannot be set: '{first}' comes from {FILLED_IN[first]}.")
    table = settings
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{key}' goes too deep: '{section}' is a value and has no settings of its own.")
    table[last] = _value(text.strip())


def _check_effect(config: Config, key: str) -> None:
    if key in READ_WITH:
        choice, values = READ_WITH[key]
        section, _, name = choice.partition(".")
        found = getattr(getattr(config, section), name)
        if found not in values:
            raise ConfigError(
                f"{key} changes nothing while {choice} = {found!r}; set {choice}={' or '.join(values)} as well, or leave it"
                " out."
            )


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _validate(settings: dict[str, Any], origin: str) -> Config:
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{origin}: {_sentence(first)}") from error


def _sentence(problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    while key not in setting_names() and "." in key and problem["type"] != "extra_forbidden":
        key = key.rpartition(".")[0]  # pydantic adds the member of a union
    if problem["type"] == "extra_forbidden":
        return f"setting '{key}' is not known; {nearest(key, setting_names())}"
    if problem["type"] == "missing":
        return f"setting '{key}' is missing; add it."
    return f"{key} = {problem['input']!r} does not fit: {problem['msg'].removeprefix('Input ')}{_nearest_number(problem)}."


def _nearest_number(problem: Any) -> str:
    """The nearest number that the bound of a whole number allows."""
    steps = {"gt": 1, "ge": 0, "lt": -1, "le": 0}
    allowed = [limit + steps[bound] for bound, limit in problem.get("ctx", {}).items() if bound in steps and type(limit) is int]
    return f"; the nearest that does is {allowed[0]}" if allowed else ""


def setting_names(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """All settings as ``section.key``."""
    names: list[str] = []
    for key, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{key}.")
        else:
            names.append(prefix + key)
    return names
