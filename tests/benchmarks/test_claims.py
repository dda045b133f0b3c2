"""docs/claims.md agrees with the records in results/, and published records lose only repeats."""

import re
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from benchmarks import claims
from benchmarks.published import main, publish
from condgen import Run
from condgen.audits.records import Record


def test_the_page_agrees_with_the_records() -> None:
    assert claims.page() == claims.PAGE.read_text(), "run `python -m benchmarks.claims`"


def test_every_link_of_the_page_leads_to_a_run() -> None:
    links = set(re.findall(r"\]\(\.\./(results/[^)]+/[^)]+)\)", claims.PAGE.read_text()))
    links.discard("results/README.md")
    assert len(links) >= 10
    assert all((claims.ROOT / link / Run.page).is_file() for link in links)


def test_published_records_have_no_weights_and_keep_their_arrays(
    copied: Run, tmp_path: Path
) -> None:
    publish(copied, tmp_path / "all", summaries=False)
    publish(copied, tmp_path / "short", summaries=True)
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {"config.toml", "metrics.jsonl", "records"}
    for audit in copied.audits_made():
        ours = copied.record(audit)
        theirs = Record.load(tmp_path / "all" / "records", audit)
        short = Record.load(tmp_path / "short" / "records", audit)
        assert theirs.summary == short.summary == ours.summary
        assert ours.arrays.keys() - theirs.arrays.keys() <= {"score"}
        assert all(np.array_equal(theirs.arrays[key], ours.arrays[key]) for key in theirs.arrays)
        assert short.arrays == {}


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path), str(tmp_path / "to"), "--summaries"])
    assert done.exit_code == 1
    assert "has no audited run" in done.output
    assert not (tmp_path / "to").exists()
