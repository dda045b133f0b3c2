"""Training of any density from Python, into a run directory that every command can read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from condgen import machine, processes
from condgen.classifier import GenerativeClassifier
from condgen.config import Config, Data, ModelSettings, ObjectiveSettings, Training
from condgen.config.section import named
from condgen.config.validation import chosen, section_of
from condgen.data.augmentation import Augmentation
from condgen.data.dataset import Splits, check_fits
from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, ConfigError, DataError
from condgen.experiments.building import Experiment, at_its_place, images_of
from condgen.experiments.training import check_minutes, create_run, reopen, run_training
from condgen.files import as_path
from condgen.models.own import OwnModel
from condgen.runs import Run
from condgen.training.loader import steps_per_epoch
from condgen.training.log import Logger
from condgen.validation import check_model


def fit(
    model: ClassConditionalDensity | GenerativeClassifier,
    splits: Splits,
    directory: Path | str,
    *,
    objective: ObjectiveSettings | Mapping[str, Any] | str = "likelihood",
    training: Training | Mapping[str, Any] | None = None,
    data: Data | None = None,
    built_by: ModelSettings | Mapping[str, Any] | str | None = None,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    minutes: float | None = None,
    deterministic: bool = False,
    quiet: bool = False,
    loggers: Sequence[Logger] = (),
) -> Run:
    """Train ``model`` in place and write a run directory; the model gets the best weights.

    Args:
        model: Any density, or a classifier that has its own class prior.
        splits: Training images, and validation images that the best checkpoint is chosen by.
        directory: Run directory. It must be new, or with ``resume`` a run with the same settings.
        objective: Name or table, such as ``{"name": "reweight", "alpha": 0.5}``.
        training: Epochs, batch size, learning rate and so on; may be a table.
        data: Name, size and augmentation of the data, for the page. Default: the name of
            ``splits``, no augmentation.
        built_by: How commands rebuild this model: ``package.module:factory``, or a table with that
            ``name`` and the factory's arguments. Default: as its family built it, or its class
            without arguments.
        seed: Seed of everything random.
        device: "cpu", "cuda", or "auto" for the CUDA device if there is one.
        resume: Continue from the newest checkpoint.
        minutes: Stop with a checkpoint after the step that reaches this limit.
        deterministic: As for :func:`condgen.machine.prepare_device`.
        quiet: Show no progress bar.
        loggers: Receive the metrics of each epoch.

    Raises:
        ConfigError: If a setting is not valid, or ``built_by`` builds another model.
        DataError: If the images do not fit the model.
        RunError: If ``directory`` exists, or with ``resume`` holds another experiment.

    Examples:
        >>> import tempfile
        >>> from condgen import ClassMixture, Glow, load_preset, open_dataset
        >>> model = Glow(
        ...     ClassMixture(10, 128),
        ...     event_shape=(1, 8, 8), pixel_levels=17, levels=3, blocks=1, width=8,
        ... )
        >>> settings = load_preset("digits-base", ["model.blocks=1", "model.width=8"]).model
        >>> directory = tempfile.mkdtemp() + "/run"
        >>> run = fit(
        ...     model, open_dataset("digits"), directory,
        ...     training={"epochs": 1}, built_by=settings, quiet=True,
        ... )
        >>> run.epochs_done
        1
    """
    check_minutes(minutes)
    place = machine.prepare_device(device, deterministic=deterministic)
    path = as_path(directory)
    if not isinstance(splits, Splits):
        raise DataError(
            f"splits is a {type(splits).__name__}, expected Splits; `open_dataset` returns them."
        )
    classifier = model if isinstance(model, GenerativeClassifier) else GenerativeClassifier(model)
    density = classifier.density
    check_model(density)
    for part in (splits.train, splits.validation):
        check_fits(part, density)
    settings = _model_settings(density, built_by, splits, seed)
    page = {
        "data": Data(name=splits.name) if data is None else data,
        "model": settings.model_copy(update={"class_prior": classifier.class_prior}),
        "objective": _objective(objective),
        "detector": chosen("detector", {}, "fit"),
        "training": section_of(Training, {} if training is None else training, "fit", "training"),
        "seed": seed,
    }
    config = at_its_place(section_of(Config, page, "fit"))
    number = steps_per_epoch(splits.train, config.training)
    with processes.joined():
        run = processes.from_first(lambda: _begun(path, config, resume))
        classifier.to(place)
        step = config.objective.step(classifier, config.training, number)
        augmentation = Augmentation(config.data.crop_padding, config.data.flip)
        run = run or create_run(path, config, splits)
        experiment = Experiment(classifier, step, splits, augmentation)
        run_training(experiment, run, resume=resume, minutes=minutes, quiet=quiet, loggers=loggers)
    return run


def _begun(path: Path, config: Config, resume: bool) -> Run | None:
    """The run to resume."""
    if resume:
        return reopen(path, config)
    Run.check_free(path)
    return None


def _objective(objective: ObjectiveSettings | Mapping[str, Any] | str) -> ObjectiveSettings:
    if isinstance(objective, ObjectiveSettings):
        return objective
    table = dict(objective) if isinstance(objective, Mapping) else objective
    return cast(ObjectiveSettings, chosen("objective", table, "fit"))


def _model_settings(
    density: ClassConditionalDensity,
    built_by: ModelSettings | Mapping[str, Any] | str | None,
    splits: Splits,
    seed: int,
) -> ModelSettings:
    """The settings that rebuild the model; checked strictly if ``built_by`` is given."""
    if built_by is None and density.settings is not None:
        return density.settings
    kind = type(density)
    table = built_by if built_by is not None else f"{kind.__module__}:{kind.__qualname__}"
    settings = (
        table
        if isinstance(table, ModelSettings)
        else section_of(OwnModel, named(table), "fit", "built_by")
    )
    try:
        again = settings.build(images_of(splits), seed)
        _check_same(again, density, settings.name)
    except (CondgenError, TypeError) as error:
        if built_by is not None:
            raise ConfigError(f"built_by: {error}") from error
        Console(stderr=True).print(
            f"condgen cannot build a {kind.__name__} from its name ({error}), so commands cannot"
            ' read the model of this run. Pass fit(built_by="package.module:factory"), or audit the'
            " run from Python with model=....",
            markup=False,
            style="yellow",
        )
    return settings


def _check_same(again: object, density: ClassConditionalDensity, name: str) -> None:
    if not isinstance(again, ClassConditionalDensity):
        raise ConfigError(
            f"{name} returns a {type(again).__name__}, expected a ClassConditionalDensity."
        )
    shapes = [
        {key: tuple(value.shape) for key, value in one.state_dict().items()}
        for one in (again, density)
    ]
    for key in sorted(shapes[0].keys() | shapes[1].keys()):
        built, given = (each.get(key) for each in shapes)
        if built != given:
            raise ConfigError(
                f"{name} builds another model: '{key}' has shape {built}, expected {given}; pass"
                " the arguments of the factory as well."
            )
