"""A study as a list of labelled runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from condgen.config import Config, load_preset
from condgen.errors import ConfigError, suggest
from condgen.registry import AUDITS
from condgen.studies.labels import file_name, flat, toml_of, words_of
from condgen.studies.page import Page, Runs, read_study


@dataclass(frozen=True)
class StudyRun:
    """One training and its audits.

    Args:
        case: The label that all seeds share: the preset and its overrides.
        variation: The overrides alone, such as "alpha=0"; may be empty.
        line: The preset alone.
        config: Configuration of the training and of the audits.
        audits: Names of the audits to run.
    """

    case: str
    variation: str
    line: str
    config: Config
    audits: tuple[str, ...]

    @property
    def label(self) -> str:
        """The case, with the seed if it is not 0."""
        return f"{self.case}-seed{self.config.seed}" if self.config.seed else self.case


@dataclass(frozen=True)
class Study:
    """The runs to train and audit, and the page that defines them."""

    name: str
    page: Page
    runs: tuple[StudyRun, ...]

    @classmethod
    def load(cls, name: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Load a study by its name or from its TOML file.

        Args:
            name: One of :func:`condgen.studies.study_names`, or the path of a TOML file. Preset
                files that the page names are relative to its directory.
            overrides: Overrides for every run, in addition to those of the page.

        Raises:
            ConfigError: If the page, one of its presets or one of its settings is not valid, or two
                runs with different settings have the same label.

        Examples:
            >>> [run.label for run in Study.load("demo").runs][:2]
            ['digits-pixelcnn', 'digits-base']
        """
        page, overrides = read_study(name), tuple(overrides)
        folder = Path(name).parent if str(name).endswith(".toml") else Path()
        runs: dict[str, StudyRun] = {}
        for block in page.runs:
            for run in _runs_of(block, overrides, folder):
                runs[run.label] = _joined(runs.get(run.label), run)
        study = cls(Path(name).stem, page, tuple(runs.values()))
        study._check_page()
        return study

    @property
    def cases(self) -> dict[str, list[StudyRun]]:
        """The runs of each case, one for each seed."""
        cases: dict[str, list[StudyRun]] = {}
        for run in self.runs:
            cases.setdefault(run.case, []).append(run)
        return cases

    @property
    def lines(self) -> dict[str, dict[str, StudyRun]]:
        """The cases of each preset, with the first run of each."""
        lines: dict[str, dict[str, StudyRun]] = {}
        for case, (run, *_) in self.cases.items():
            lines.setdefault(run.line, {})[case] = run
        return lines

    @property
    def audits(self) -> list[str]:
        """All audits of the study, in the order in which they are listed."""
        wanted = dict.fromkeys(audit for run in self.runs for audit in run.audits)
        known = [audit for audit in AUDITS.names() if audit in wanted]
        return [*known, *(audit for audit in wanted if audit not in known)]

    def case_of(self, label: str) -> str:
        """The case of a label: the label is a case, or the overrides or the preset of only one.

        Raises:
            ConfigError: If there is none, or there are several.
        """
        if label in self.cases:
            return label
        meant = [
            case for case, (run, *_) in self.cases.items() if label in (run.variation, run.line)
        ]
        if len(meant) > 1:
            raise ConfigError(
                f"study '{self.name}': '{label}' is a label of {' and of '.join(meant)}; write one"
                " of these."
            )
        if not meant:
            known = [
                word
                for case, (run, *_) in self.cases.items()
                for word in (case, run.variation)
                if word
            ]
            raise ConfigError(
                f"study '{self.name}': '{label}' is no run of the study; {suggest(label, known)}"
            )
        return meant[0]

    def _check_page(self) -> None:
        """Refuse labels and metrics that no run can have."""
        for label in (label for comparison in self.page.compare for label in comparison.paper):
            self.case_of(label)
        for label in (
            label
            for difference in self.page.difference
            for pair in difference.between
            for label in pair
        ):
            self.case_of(label)
        for metric in metrics_of(self.page):
            source_of(metric, self.audits)
        for figure in self.page.figure:
            for run in self.runs:
                setting_of(run.config, figure.x)
        for asked in self.page.trade_off:
            if len(set(asked.curves)) < 2:
                raise ConfigError(
                    f"study '{self.name}': both curves of '{asked.title}' are"
                    f" '{asked.curves[0]}'; name two presets."
                )
        for line in (line for asked in self.page.trade_off for line in asked.curves):
            if line not in self.lines:
                raise ConfigError(
                    f"study '{self.name}': curve '{line}' is no preset of the study;"
                    f" {suggest(line, self.lines)}"
                )
        for difference in self.page.difference:
            for head in difference.margins.keys() - difference.columns.keys():
                raise ConfigError(
                    f"study '{self.name}': margin '{head}' is no column of '{difference.title}';"
                    f" {suggest(head, difference.columns)}"
                )


def metrics_of(page: Page) -> Iterator[str]:
    """Every metric that a page names."""
    yield from (comparison.ours for comparison in page.compare)
    for columns in (
        *(table.columns for table in page.table),
        *(each.columns for each in page.difference),
    ):
        yield from columns.values()
    yield from (figure.y for figure in page.figure)
    yield from (metric for asked in page.trade_off for metric in (asked.x, asked.y))


def source_of(metric: str, audits: Iterable[str]) -> tuple[str, str]:
    """The audit of a metric ("training" for the log of the training), and the metric's key there.

    Raises:
        ConfigError: If the study has no such audit.

    Examples:
        >>> source_of("training.bits_per_dim", [])
        ('training', 'bits_per_dim')
    """
    sources = ["training", *audits]
    for source in sources:
        if metric.startswith(f"{source}.") and metric != f"{source}.":
            return source, metric.removeprefix(f"{source}.")
    raise ConfigError(
        f"metric '{metric}' belongs to no audit of the study; write AUDIT.NUMBER, with AUDIT one of"
        f" {', '.join(sources)}."
    )


def setting_of(config: Config, key: str) -> Any:
    """The value of a numeric setting, such as ``objective.alpha``.

    Raises:
        ConfigError: If the configuration has no such number.
    """
    value: Any = config.model_dump()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(
            f"x = '{key}' is not a numeric setting of {config.preset}; give a setting that is a"
            " number in every run."
        )
    return value


def _runs_of(block: Runs, overrides: tuple[str, ...], folder: Path) -> Iterator[StudyRun]:
    if block.name and len(block.presets) > 1:
        raise ConfigError(
            f"runs named '{block.name}' have {len(block.presets)} presets; give one, or leave out"
            " the name."
        )
    for audit in block.audits or ():
        AUDITS.get(audit)  # raises if the audit is unknown
    for preset in block.presets:
        is_file = preset.endswith(".toml")
        path = folder / preset if is_file else preset
        line = block.name or (Path(preset).stem if is_file else preset)
        for settings in map(flat, block.set):
            settings_words = "-".join(words_of(key, value) for key, value in settings.items())
            given = {**flat(block.common), **settings}
            lines = (f"{key}={toml_of(value)}" for key, value in given.items())
            config = load_preset(path, (*lines, *overrides))
            audits = (
                _audits_of(config) if block.audits is None else tuple(dict.fromkeys(block.audits))
            )
            for seed in block.seeds:
                case = file_name("-".join(filter(None, (line, settings_words))))
                seeded = config.model_copy(update={"seed": seed})
                yield StudyRun(case, settings_words, line, seeded, audits)


def _audits_of(config: Config) -> tuple[str, ...]:
    """All registered audits that are possible on such a run."""
    keeps = config.training.snapshots > 0
    return tuple(name for name in AUDITS.names() if keeps or not AUDITS.get(name).needs_snapshots)


def _joined(before: StudyRun | None, run: StudyRun) -> StudyRun:
    """Merge a run that several blocks ask for, with the audits of all of them."""
    if before is None:
        return run
    if before.config != run.config:
        raise ConfigError(
            f"two runs of the study with different settings have the label '{run.label}'; give one"
            " a name."
        )
    return StudyRun(
        run.case,
        run.variation,
        run.line,
        run.config,
        tuple(dict.fromkeys((*before.audits, *run.audits))),
    )
