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

from condgen.errors import CondgenError, RunError
from condgen.files import written_whole
from condgen.reports import figures, origins, tables, theory, theory_figures, words
from condgen.runs import Run
from condgen.theory import conditions, counterexample

DOTS_PER_INCH = 200
ENTRIES = ("figures", "tables", "index.html")
METADATA = {"Date": None}  # so that the same records give the same file


def write_report(runs: Sequence[Run], directory: Path) -> Path:
    """Write ``index.html``, ``figures/`` (SVG and PNG) and ``tables/`` (CSV and JSON).

    Args:
        runs: Audited runs, in the order in which they are shown.
        directory: Made if missing; of what is in it, only these three are replaced.

    Returns:
        The path of the page.

    Raises:
        CondgenError: If there is something of these names that no report wrote.
        RunError: If a record is missing or damaged, or records of one run are of different weights or detectors; nothing is
            written then.
    """
    _check_free(directory)
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise CondgenError(f"two of the runs have the same name ({', '.join(names)}); report them apart.")
    with _records_of_this_version():
        for run in runs:
            origins.check_records(run)
    ways = {run.name: run.record("interpolation").summary for run in runs}
    with _records_of_this_version(), tempfile.TemporaryDirectory() as temporary, matplotlib.rc_context(figures.STYLE):
        work = Path(temporary)
        page = (
            _environment()
            .get_template("page.html.j2")
            .render(
                verdict=words.verdict(ways, _summaries(runs, "adversarial")),
                sections=_sections(runs, work),
                runs=runs,
                weights={run.name: origins.weights_of(run.record("classification")) for run in runs},
            )
        )
        (work / "index.html").write_text(page)
        for entry in ENTRIES:
            with written_whole(directory / entry, replace_directory=True) as path:
                shutil.move(work / entry, path)
    return directory / "index.html"


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


def _sections(runs: Sequence[Run], work: Path) -> list[dict[str, object]]:
    attacked = [run for run in runs if run.has("adversarial")]
    return [
        _section("Classification and likelihood", tables.classification_table, words.classification, None, runs, work),
        _section("Label membership", tables.membership_table, words.membership, figures.membership_histogram, runs, work),
        _section("Between classes", tables.interpolation_table, words.interpolation, figures.interpolation_means, runs, work),
        *(_attacks(attacked, work) if attacked else []),
        _gallery("Single interpolations", "Fig. 1", figures.interpolation_examples, runs, work),
        _gallery("Samples per class", "Fig. 5", figures.class_samples, runs, work),
        _no_guarantee(work),
    ]


def _section(
    title: str,
    make_table: Callable[[Sequence[Run]], tables.Table],
    say: Callable[[str, tables.Summary], str],
    draw: Callable[[Run], Figure] | None,
    runs: Sequence[Run],
    directory: Path,
) -> dict[str, object]:
    table = make_table(runs)
    table.save(directory / "tables")
    audit = {"table1": "classification"}.get(table.name, table.name)
    return {
        "title": title,
        "table": table,
        "panels": [
            {
                "words": say(run.name, run.record(audit).summary),
                "svg": _save(draw, run, directory) if draw else "",
                "name": run.name,
            }
            for run in runs
        ],
    }


def _summaries(runs: Sequence[Run], audit: str) -> dict[str, tables.Summary]:
    """Of the runs that have been so audited."""
    return {run.name: run.record(audit).summary for run in runs if run.has(audit)}


def _attacks(runs: Sequence[Run], directory: Path) -> list[dict[str, object]]:
    """Table 2, success against distance, images, and whether to believe it."""
    summaries = _summaries(runs, "adversarial")
    table, checks = tables.attacks_table(summaries), tables.checks_table(summaries)
    for made in (table, checks):
        made.save(directory / "tables")
    panels = [
        {
            "words": words.attacks(run.name, summaries[run.name]),
            "svg": _save(figures.attack_curves, run, directory),
            "name": run.name,
        }
        for run in runs
    ]
    return [
        {"title": "Attacks", "table": table, "panels": panels},
        {"title": "Does the evaluation of attacks deserve belief?", "table": checks, "panels": []},
        _gallery("Perturbed images", "The nearest success of each attack on", figures.attack_gallery, runs, directory),
    ]


def _gallery(
    title: str, caption: str, draw: Callable[[Run], Figure], runs: Sequence[Run], directory: Path
) -> dict[str, object]:
    panels = [{"words": f"{caption}: {run.name}", "svg": _save(draw, run, directory), "name": run.name} for run in runs]
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


def _save(draw: Callable[[Run], Figure], run: Run, directory: Path) -> str:
    return _save_figure(draw(run), f"{draw.__name__.replace('_', '-')}-{run.name}", directory)


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
