"""The report: one page that needs nothing beside it, and the same figures and tables as files."""

import base64
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jinja2
import matplotlib
from matplotlib.figure import Figure

from condgen.config import AUDITS
from condgen.errors import CondgenError, RunError
from condgen.files import written_whole
from condgen.reports import figures, origins, tables, theory, theory_figures, words
from condgen.reports.audited import Audited
from condgen.theory import conditions, counterexample

DOTS_PER_INCH = 200
ENTRIES = ("figures", "tables", "index.html")
METADATA = {"Date": None}  # so that the same records give the same file


def write_report(models: Sequence[Audited], directory: Path | str) -> Path:
    """Write ``index.html``, ``figures/`` (SVG and PNG) and ``tables/`` (CSV and JSON).

    Args:
        models: Audited runs (:class:`condgen.Run`) and models of your own (:class:`condgen.AuditedModel`), in the order
            in which they are shown. A section shows those that have been so audited.
        directory: Made if missing; of what is in it, only these three are replaced.

    Returns:
        The path of the page.

    Raises:
        CondgenError: If there is something of these names that no report wrote, or no model.
        RunError: If a record is missing or damaged, or records of one model are of different weights or detectors; nothing is
            written then.
    """
    directory = Path(directory)
    _check_models(models)
    _check_free(directory)
    with _records_of_this_version():
        for model in models:
            origins.check_records(model)
    with _records_of_this_version(), tempfile.TemporaryDirectory() as temporary, matplotlib.rc_context(figures.STYLE):
        work = Path(temporary)
        page = (
            _environment()
            .get_template("page.html.j2")
            .render(
                verdict=words.verdict(_summaries(models, "interpolation"), _summaries(models, "adversarial")),
                sections=_sections(models, work),
            )
        )
        (work / "index.html").write_text(page)
        for entry in ENTRIES:
            with written_whole(directory / entry, replace_directory=True) as path:
                shutil.move(work / entry, path)
    return directory / "index.html"


def _check_models(models: Sequence[Audited]) -> None:
    if not isinstance(models, Sequence) or not all(isinstance(model, Audited) for model in models):
        raise CondgenError(
            "expected a list of audited models; use Run.open(path) for a run, and AuditedModel(name, records) for a model of"
            " your own."
        )
    if not models:
        raise CondgenError("a report needs at least one audited model.")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise CondgenError(f"two of the models have the same name ({', '.join(names)}); report them apart.")


def _check_free(directory: Path) -> None:
    """A report is replaced by the next one; nothing else is."""
    page = directory / "index.html"
    taken = [entry for entry in ENTRIES if (directory / entry).exists()]
    if taken and not (page.is_file() and "condgen" in page.read_text(errors="replace")):
        raise CondgenError(f"{directory} has {' and '.join(taken)} that no report wrote; choose another --out.")


@contextmanager
def _records_of_this_version() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise RunError(f"a record has no {error}: it is damaged, or of another version; audit the run again.") from error


def _sections(models: Sequence[Audited], work: Path) -> list[dict[str, object]]:
    of = {audit: [model for model in models if model.has(audit)] for audit in AUDITS}
    tabled = (
        ("Classification and likelihood", "classification", tables.classification_table, words.classification, None),
        ("Label membership", "membership", tables.membership_table, words.membership, figures.membership_histogram),
        ("Between classes", "interpolation", tables.interpolation_table, words.interpolation, figures.interpolation_means),
    )
    drawn = (
        ("Single interpolations", "Fig. 1", "interpolation", figures.interpolation_examples),
        ("Samples per class", "Fig. 5", "samples", figures.class_samples),
    )
    return [
        *(
            _section(title, audit, make(of[audit]), say, draw, of[audit], work)
            for title, audit, make, say, draw in tabled
            if of[audit]
        ),
        *(_attacks(of["adversarial"], work) if of["adversarial"] else []),
        *(_gallery(title, caption, draw, of[audit], work) for title, caption, audit, draw in drawn if of[audit]),
        _no_guarantee(work),
        _origins(models, work),
    ]


def _section(
    title: str,
    audit: str,
    table: tables.Table,
    say: Callable[[str, tables.Summary], str],
    draw: Callable[[Audited], Figure] | None,
    models: Sequence[Audited],
    directory: Path,
) -> dict[str, object]:
    table.save(directory / "tables")
    return {
        "title": title,
        "table": table,
        "panels": [
            {
                "words": say(model.name, model.record(audit).summary),
                "svg": _save(draw, model, directory) if draw else "",
                "name": model.name,
            }
            for model in models
        ],
    }


def _origins(models: Sequence[Audited], directory: Path) -> dict[str, object]:
    table = origins.origins_table(models)
    table.save(directory / "tables")
    return {"title": table.title, "table": table, "panels": []}


def _summaries(models: Sequence[Audited], audit: str) -> dict[str, tables.Summary]:
    """Of the runs that have been so audited."""
    return {model.name: model.record(audit).summary for model in models if model.has(audit)}


def _attacks(models: Sequence[Audited], directory: Path) -> list[dict[str, object]]:
    """Table 2, success against distance, images, and whether to believe it."""
    summaries = _summaries(models, "adversarial")
    table, checks = tables.attacks_table(summaries), tables.checks_table(summaries)
    for made in (table, checks):
        made.save(directory / "tables")
    panels = [
        {
            "words": words.attacks(model.name, summaries[model.name]),
            "svg": _save(figures.attack_curves, model, directory),
            "name": model.name,
        }
        for model in models
    ]
    return [
        {"title": "Attacks", "table": table, "panels": panels},
        {"title": "Does the evaluation of attacks deserve belief?", "table": checks, "panels": []},
        _gallery("Perturbed images", "The nearest success of each attack on", figures.attack_gallery, models, directory),
    ]


def _gallery(
    title: str, caption: str, draw: Callable[[Audited], Figure], models: Sequence[Audited], directory: Path
) -> dict[str, object]:
    panels = [
        {"words": f"{caption}: {model.name}", "svg": _save(draw, model, directory), "name": model.name} for model in models
    ]
    return {"title": title, "table": None, "panels": panels}


def _no_guarantee(directory: Path) -> dict[str, object]:
    """Section 2's counterexample, at the values of the paper's own example."""
    example = counterexample(epsilon=0.1, delta=0.01, radius=0.5)
    table = tables.Table(
        "theory",
        "Proposition 1",
        " ".join(theory.notes(example)),
        theory.CONDITION_COLUMNS,
        tuple(theory.condition_rows(example)),
        tuple(line.summary() for line in conditions(example)),
    )
    table.save(directory / "tables")
    panels = [
        {"name": name, "words": caption, "svg": _save_figure(draw(example), name, directory)}
        for name, draw, caption in (
            ("figure-2", theory_figures.figure_2, f"Fig. 2, on a plane through the origin. {theory.words(example)}"),
            (
                "radial-picture",
                theory_figures.radial_picture,
                "The same along the radius. Above: nearly all samples of class 0"
                " lie near the outer edge. Below: an attack leads to where the model finds images more likely.",
            ),
            (
                "growth",
                theory_figures.growth,
                "The dimension that this takes: it grows with the logarithm of ε and δ, and as 1/Δ.",
            ),
        )
    ]
    return {"title": "No guarantee can be given", "table": table, "panels": panels}


def _save(draw: Callable[[Audited], Figure], model: Audited, directory: Path) -> str:
    return _save_figure(draw(model), f"{draw.__name__.replace('_', '-')}-{model.name}", directory)


def _save_figure(figure: Figure, stem: str, directory: Path) -> str:
    """The figure as SVG and PNG files, and as SVG text for the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=METADATA)
    figure.set_layout_engine("none")  # as laid out just now
    with written_whole(directory / "figures" / f"{stem}.svg") as path:
        path.write_text(buffer.getvalue())
    with written_whole(directory / "figures" / f"{stem}.png") as path:
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH)
    encoded = base64.b64encode(buffer.getvalue().encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("condgen.reports"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
