"""The report: a self-contained page, and its figures and tables as files."""

import base64
import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import jinja2
import matplotlib
from matplotlib.figure import Figure

from condgen.errors import CondgenError, RunError
from condgen.files import as_path, atomic_write
from condgen.reports import opening
from condgen.reports.audited import Audited
from condgen.reports.figures import STYLE
from condgen.reports.layout import PagePart, PageSection, Panel
from condgen.reports.origins import data_table, differences_table, origins_table
from condgen.reports.ownership import ENTRIES, check_replaceable
from condgen.reports.sections import Part, section_of
from condgen.reports.selection import Selection, not_run_table, select
from condgen.reports.under_trained import NOTE, is_under_trained, marked
from condgen.reports.verdicts import claims_table, stronger_than_the_paper

DOTS_PER_INCH = 200
DOTS_PER_INCH_OF_PAGE = 110  # of pictures on the page
LARGEST_SVG = 60_000  # bytes on the page; larger figures hold pictures
REM_PER_INCH = 6.4  # largest size of figures on the page, so that their text sizes are equal
COORDINATES = re.compile(r' (?:d|points|x|y)="[^"]*"')
PLAIN_IN_URLS = " /:;=,.()"  # not escaped in data URLs
RECOMPUTED = (
    " The records were recomputed for the detector's threshold {threshold:g}. A path between"
    " classes is shown if both this threshold and that of the audit accept its ends."
)
METADATA = {"Date": None}  # so that the same records give the same file


def write_report(
    models: Sequence[Audited],
    directory: Path | str,
    *,
    counterexample: bool = False,
    claims: bool = False,
    threshold: float | None = None,
    extra: Sequence[PagePart] = (),
    last: Sequence[PagePart] = (),
) -> Path:
    """Write ``index.html``, ``figures/`` (SVG and PNG) and ``tables/`` (CSV and JSON).

    The page has a section for each audit with a record, even if this version does not know the
    audit. It also lists the audits that were not run.

    Args:
        models: Folders with records (:class:`condgen.Run`, :func:`condgen.runs.open_folder`) and
            your own models (:class:`condgen.AuditedModel`), in display order.
        directory: Created if missing. Only the files of a previous report are replaced.
        counterexample: Add the counterexample of Section 2.
        claims: Add the claims of the paper with a verdict on each.
        threshold: Recompute the records for this threshold of the detector, in the detector's unit.
            Records for which that is impossible are left out and listed.
        extra: Additional sections, shown before those of the audits.
        last: Additional sections, shown after those of the audits and the claims.

    Returns:
        The path of the page.

    Raises:
        CondgenError: If no model is given, the directory has files of these names that no report
            wrote, or it is not writable.
        RunError: If a model has no record, a record is damaged, or the records of one model are of
            different weights or detectors. Nothing is written then.
    """
    directory = as_path(directory)
    _check_models(models)
    check_replaceable(directory)
    with _records_of_this_version():
        selections = [select(model, threshold) for model in models]
    with (
        _records_of_this_version(),
        tempfile.TemporaryDirectory() as temporary,
        matplotlib.rc_context(STYLE),
    ):
        work = Path(temporary)
        files = _Files(work, [model.name for model in models])
        parts = [files.saved(part) for part in _parts(selections, counterexample, extra)]
        if claims:
            found = claims_table(selections)
            words = ("stronger-attacks", stronger_than_the_paper(selections), None)
            parts.append(files.saved(PageSection(found.title, found, [words])))
        parts += [files.saved(part) for part in (*last, *_provenance(selections))]
        page = _environment().get_template("page.html.j2")
        note = "" if threshold is None else RECOMPUTED.format(threshold=threshold)
        text = page.render(
            question=opening.question(selections),
            answer=opening.answer(selections),
            lead=files.panel(*lead) if (lead := opening.lead(selections)) else None,
            verdict=opening.verdict(selections) + note,
            parts=parts,
            several=len(models) > 1,
            written=" ".join(map(quote, sorted(files.written))),
        )
        (work / "index.html").write_text(text)
        for entry in ENTRIES:  # the page last: it lists the other files
            with atomic_write(directory / entry, replace_directory=True) as path:
                shutil.move(work / entry, path)
    return directory / "index.html"


def _check_models(models: Sequence[Audited]) -> None:
    is_list = isinstance(models, Sequence)
    if not is_list or not all(isinstance(model, Audited) for model in models):
        raise CondgenError(
            "expected a list of audited models; use Run.open(path) for a run, and"
            " AuditedModel(name, records) for any other model."
        )
    if not models:
        raise CondgenError("a report needs at least one audited model; none was given.")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise CondgenError(
            f"two of the models have the same name ({', '.join(names)}); report them separately."
        )


@contextmanager
def _records_of_this_version() -> Iterator[None]:
    """Turn the errors of damaged or incompatible records into :class:`RunError`."""
    try:
        yield
    except KeyError as error:
        raise RunError(
            f"a record has no {error}: it is damaged, or of another version; audit the run again."
        ) from error
    except CondgenError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise RunError(
            f"a record cannot be shown ({type(error).__name__}: {error}): it is damaged, or of"
            " another version; audit the run again."
        ) from error


def _parts(
    models: Sequence[Selection], counterexample: bool, extra: Sequence[PagePart]
) -> Iterator[PagePart]:
    """Generate the parts of the page from top to bottom."""
    yield from extra
    for audit in opening.audits_of(models):
        having = opening.having(models, audit)
        for part in section_of(audit).parts:
            table = marked(part.table(having), having) if part.table else None
            panels = [_panel(part, model) for model in having if part.figure or part.words]
            if part.overview:
                panels.insert(
                    0,
                    (
                        part.overview.__name__.replace("_", "-"),
                        part.overview_words,
                        part.overview(having),
                    ),
                )
            if panels or (table and table.rows):
                yield PageSection(part.title, table, panels)
    not_run = not_run_table(models)
    if not_run.rows:
        yield PageSection(not_run.title, not_run)
    if counterexample:
        from condgen.reports.theory_section import counterexample_section

        yield counterexample_section()


def _provenance(models: Sequence[Selection]) -> Iterator[PagePart]:
    """The origin of the numbers, and the settings in which the models differ."""
    for table in (origins_table(models), data_table(models), differences_table(models)):
        if table.rows:
            yield PageSection(table.title, table)


def _panel(part: Part, model: Selection) -> Panel:
    figure = part.figure(model) if part.figure else None
    stem = getattr(part.figure, "__name__", part.title).replace("_", "-")
    words = part.words(model) if part.words else ""
    return (
        f"{stem}-{model.name}",
        f"{words}{NOTE}" if words and is_under_trained(model) else words,
        figure,
    )


class _Files:
    """Saves tables and figures under unique names and returns the template's values."""

    def __init__(self, directory: Path, models: Sequence[str]):
        self.directory = directory
        self.models = sorted(models, key=len, reverse=True)
        self.taken: set[str] = set()
        self.written: set[str] = set()
        for folder in ("figures", "tables"):
            (directory / folder).mkdir()

    def saved(self, part: PagePart) -> dict[str, object]:
        """Save the table and figures of a part; return its values for the template."""
        if part.table:
            stem = self._unique("tables", part.table.name)
            part.table.save(self.directory / "tables", stem)
            self.written |= {f"tables/{stem}.{kind}" for kind in ("csv", "json")}
        panels = [self.panel(*panel) for panel in part.panels if any(panel[1:])]
        return {"title": part.title, "table": part.table, "panels": panels}

    def panel(self, name: str, words: str, figure: Figure | None) -> dict[str, object]:
        """Save a figure; return the template's values."""
        return {
            "name": name,
            "words": words,
            "source": self._figure(figure, name) if figure else "",
            "width": REM_PER_INCH * figure.get_figwidth() if figure else 0,
            "model": next((model for model in self.models if name.endswith(f"-{model}")), ""),
        }

    def _unique(self, folder: str, name: str) -> str:
        """The name, with a number if it is taken."""
        number, unique = 1, name
        while f"{folder}/{unique}" in self.taken:
            number += 1
            unique = f"{name}-{number}"
        self.taken.add(f"{folder}/{unique}")
        return unique

    def _figure(self, figure: Figure, name: str) -> str:
        """Save a figure as SVG and PNG; return it as a data URL."""
        stem, buffer = self._unique("figures", name), io.BytesIO()
        figure.savefig(buffer, format="svg", metadata=METADATA)
        figure.set_layout_engine("none")  # keep the layout
        self.written |= {f"figures/{stem}.{kind}" for kind in ("svg", "png")}
        (self.directory / "figures" / f"{stem}.svg").write_bytes(buffer.getvalue())
        figure.savefig(self.directory / "figures" / f"{stem}.png", format="png", dpi=DOTS_PER_INCH)
        small = _shortened(buffer.getvalue())
        if len(small) <= LARGEST_SVG:
            return f"data:image/svg+xml,{quote(small, safe=PLAIN_IN_URLS)}"
        picture = io.BytesIO()
        figure.savefig(
            picture,
            format="webp",
            dpi=DOTS_PER_INCH_OF_PAGE,
            pil_kwargs={"quality": 75, "method": 6},
        )
        return f"data:image/webp;base64,{base64.b64encode(picture.getvalue()).decode()}"


def _shortened(svg: bytes) -> str:
    """The same figure in fewer bytes: no metadata, no line breaks, coordinates to 0.1 points."""
    text = re.sub(r"<metadata>.*?</metadata>", "", svg.decode(), flags=re.DOTALL)
    text = COORDINATES.sub(lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text)
    return re.sub(r"\s+", " ", text)  # a URL loses line breaks


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("condgen.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
