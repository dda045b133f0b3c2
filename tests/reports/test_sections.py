"""Report sections: sentences match the numbers, tables contain them, units of the detector."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from condgen import AuditedModel, Run
from condgen.audits import Record
from condgen.audits.checks import FEW, LUCK, STORAGE, WEAK
from condgen.audits.records import records_in
from condgen.registry import AUDITS
from condgen.reports.sections import (
    Section,
    adversarial,
    attack_words,
    classification,
    interpolation,
    label_likelihood,
    section_of,
)
from condgen.reports.sections.cells import checks_of
from condgen.reports.sections.classification import words as classification_words

DOUBTS = {FEW, LUCK, STORAGE, WEAK}
MEMBERSHIP = {"gap_nats": 5.0, "gap_nats_ci": (4.0, 6.0), "spread_nats": 11.0, "auroc": 0.6}
INTERPOLATION = {
    "bits_per_dim_middle": 3.0,
    "bits_per_dim_ends": 2.0,
    "pairs": 10,
    "accepted_at_every_step": 0.5,
    "accepted_at_every_step_ci": (0.4, 0.6),
    "middle_minus_ends": 1.0,
    "middle_minus_ends_ci": (0.9, 1.1),
}


def with_spans(**spans: tuple[float, float]) -> list[AuditedModel]:
    """Models with an interval of the fraction of accepted paths."""
    return [
        AuditedModel(name, [Record("interpolation", {"accepted_at_every_step_ci": span}, {})])
        for name, span in spans.items()
    ]


def own(*records: Record, name: str = "m") -> AuditedModel:
    return AuditedModel(name, list(records))


@pytest.mark.parametrize("audit", AUDITS.names())
def test_every_audit_of_condgen_has_a_section_of_its_own(audit: str) -> None:
    section = section_of(audit)
    assert section.audit == audit
    assert section is section_of(audit)  # a generic section would be a new object


@pytest.mark.parametrize(
    "audit", ["section", "generic", "no-such-audit", "a b", "mine.audits:AUDIT"]
)
def test_any_other_audit_has_the_generic_one(audit: str) -> None:
    section = section_of(audit)
    assert isinstance(section, Section)
    (table,) = section.tables([own(Record(audit, {"share": 0.25, "share_ci": [0.1, 0.5]}, {}))])
    assert table.rows == (("share", "0.25 [0.1, 0.5]"),)
    assert "/" not in table.name
    assert ":" not in table.name


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.45, 0.55), "indistinguishable from guessing"),
        ((0.3, 0.4), "worse than guessing"),
        ((0.6, 0.7), "little better than guessing"),
        ((0.8, 0.9), "many wrong labels are as likely"),
        ((0.97, 0.99), "the likelihood detects wrong labels"),
    ],
)
def test_words_on_wrong_labels_follow_the_interval(
    interval: tuple[float, float], said: str
) -> None:
    assert said in label_likelihood.words("m", {**MEMBERSHIP, "auroc_ci": interval})


@pytest.mark.parametrize(
    ("rise", "said"),
    [
        ((0.1, 0.2), "less likely than"),
        ((-0.2, -0.1), "more likely than"),
        ((-0.1, 0.1), "as likely as"),
    ],
)
def test_words_on_paths_follow_the_rise(rise: tuple[float, float], said: str) -> None:
    assert said in interpolation.words("m", {**INTERPOLATION, "middle_minus_ends_ci": rise})


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.92, 0.98), "rejects almost no path."),
        ((0.85, 0.98), "accepts most paths."),
        ((0.4, 0.6), "rejects some paths and accepts others."),
        ((0.02, 0.15), "rejects most paths."),
        ((0.02, 0.08), "rejects almost every path."),
    ],
)
def test_words_on_paths_follow_the_interval_of_the_share(
    interval: tuple[float, float], said: str
) -> None:
    assert interpolation.words(
        "m", {**INTERPOLATION, "accepted_at_every_step_ci": interval}
    ).endswith(said)


def test_the_verdict_names_each_model() -> None:
    mixed = interpolation.verdict(with_spans(a=(0.8, 0.95), b=(0.05, 0.2)))
    assert "for b, the detector rejects most paths between classes;" in mixed
    assert "for a, the detector accepts most paths between classes at every step." in mixed
    assert mixed.endswith("depends on the model.")
    assert interpolation.verdict(with_spans(b=(0.05, 0.2))).endswith(
        "rejects most paths between classes."
    )


@pytest.mark.parametrize("interval", [(0.44, 0.58), (0.35, 0.5), (0.5, 0.7)])
def test_the_verdict_claims_no_majority_that_the_interval_leaves_open(
    interval: tuple[float, float],
) -> None:
    said = interpolation.verdict(with_spans(a=interval, b=(0.05, 0.2)))
    assert "for a, it is unknown whether the detector accepts most paths between classes." in said
    assert "depends on the model" not in said


def test_the_verdict_says_on_how_many_images_attacks_succeed(records: dict[str, Record]) -> None:
    said = adversarial.verdict([own(records["adversarial"]), own(records["adversarial"], name="n")])
    worst = records["adversarial"].summary["cells"][-1]
    assert said.startswith(
        f"Detector-aware attacks evade the detector of m on {100 * worst['quantized_within']:.1f} ["
    )
    assert "; of n on " in said


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (False, "fails these checks: x."),
        (None, "No check of the evaluation fails; not run: x."),
        (True, "fails."),
    ],
)
def test_words_on_attacks_name_the_checks_that_failed(
    passed: bool | None, said: str, records: dict[str, Record]
) -> None:
    checks = [{"name": "x", "passed": passed, "found": "", "advice": ""}]
    assert adversarial.words("m", {**records["adversarial"].summary, "checks": checks}).endswith(
        said
    )


def test_table_2_has_a_row_for_each_attack_and_the_numbers_of_its_cells(
    records: dict[str, Record],
) -> None:
    summary = records["adversarial"].summary
    table, checks = section_of("adversarial").tables([own(records["adversarial"])])
    assert [row[1] for row in table.rows] == [
        "Carlini-Wagner",
        "Brendel-Bethge",
        "DDN, quantized",
        "Boundary",
        "HopSkipJump",
        "worst case",
    ]
    worst = next(
        cell
        for cell in summary["cells"]
        if cell["attack"] == "worst case" and cell["detector_aware"]
    )
    assert table.rows[-1][7].startswith(f"{100 * worst['undetected_within']:.1f} [")
    assert table.rows[-1][-1] == str(summary["n"])
    assert {row[table.columns.index("threshold, bits/dim")] for row in table.rows} == {"5.00"}
    assert [name for name, words in zip(table.columns, table.of_words, strict=True) if words] == [
        "model",
        "attack",
    ]
    assert len(checks.rows) == len(summary["checks"])


@pytest.mark.parametrize("audit", ["classification", "interpolation"])
def test_tables_name_the_detector_and_its_unit(
    audit: str, records: dict[str, Record], typical: dict[str, Record]
) -> None:
    table, *_ = section_of(audit).tables([own(typical[audit])])
    assert table.rows[0][table.columns.index("typicality threshold, nats")] == "60.00"
    table, *_ = section_of(audit).tables([own(records[audit]), own(typical[audit], name="n")])
    assert [row[table.columns.index("threshold")] for row in table.rows] == [
        "5.00 bits/dim",
        "60.00 nats",
    ]
    assert [row[table.columns.index("detector")] for row in table.rows] == [
        "likelihood",
        "typicality",
    ]


def test_sentences_name_the_detector_and_its_unit(
    typical: dict[str, Record], records: dict[str, Record]
) -> None:
    assert "typicality detector (threshold 60.00 nats) accepts" in classification_words(
        "m", typical["classification"].summary
    )
    detector = {"name": "entropy", "unit": "nats", "threshold": 0.25}
    said = adversarial.words("m", {**records["adversarial"].summary, "detector": detector})
    assert "(entropy, threshold 0.25 nats)" in said


@pytest.mark.parametrize(
    "draw", [interpolation.interpolation_means, interpolation.interpolation_examples]
)
def test_another_unit_has_a_panel_of_its_own_and_no_threshold_over_bits_per_dim(
    draw, records: dict[str, Record], typical: dict[str, Record]
) -> None:
    def thresholds(record: Record) -> dict[str, list[float]]:
        """The dashed lines of each panel that has its own axis."""
        found = {}
        for axes in draw(own(record)).axes:
            dashed = [
                float(line.get_ydata()[0]) for line in axes.lines if line.get_linestyle() == "--"
            ]
            found[axes.get_ylabel().replace("\n", " ")] = dashed
        return {label: lines for label, lines in found.items() if label and "p(y" not in label}

    assert thresholds(records["interpolation"]) == {"bits/dim": [5.0]}
    assert thresholds(typical["interpolation"]) == {
        "bits/dim": [],
        "typicality score, nats": [60.0],
    }
    unscored = {
        key: array for key, array in typical["interpolation"].arrays.items() if key != "score"
    }
    assert thresholds(replace(typical["interpolation"], arrays=unscored)) == {"bits/dim": []}
    # In bits/dim, but different from log p(x).
    other = np.asarray(records["interpolation"].arrays["score"]) + 1
    shifted = replace(
        records["interpolation"], arrays={**records["interpolation"].arrays, "score": other}
    )
    assert thresholds(shifted)["bits/dim"] == []
    assert thresholds(shifted)["likelihood score, bits/dim"] == [5.0]


def test_records_of_before_are_of_the_likelihood_detector(records: dict[str, Record]) -> None:
    for audit in ("classification", "interpolation", "adversarial"):
        record = records[audit]
        older = {key: value for key, value in record.summary.items() if key != "detector"}
        arrays = {key: value for key, value in record.arrays.items() if key != "score"}
        before, now = own(Record(audit, older, arrays)), own(record)
        made = [
            [table.rows for table in section_of(audit).tables([model])] for model in (before, now)
        ]
        assert made[0] == made[1]
        for part in section_of(audit).parts:
            if part.figure:
                part.figure(before)
            if part.words:
                assert part.words(before) == part.words(now)


def test_figures_name_classes_and_show_dollar_signs(
    trained: Run, records: dict[str, Record], tmp_path: Path
) -> None:
    names = [f"${y}$ or $" for y in range(10)]
    model = AuditedModel("m", list(records.values()), names)
    for audit in records:
        for part in section_of(audit).parts:
            if part.figure:
                part.figure(model).savefig(tmp_path / "figure.png")
    first = records["interpolation"].arrays["label"][0, 0]
    title = interpolation.interpolation_examples(model).axes[0].get_title()
    assert title.startswith(f"from class \\${first}\\$ or \\$")
    plt.close("all")


def test_labels_of_distances_do_not_overlap(records: dict[str, Record]) -> None:
    figure = adversarial.attack_curves(own(records["adversarial"]))
    figure.draw_without_rendering()
    for axes in figure.axes:
        shown = [label for label in axes.get_xticklabels(which="both") if label.get_text()]
        boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
        inside = [box for box in boxes if axes.bbox.x0 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1]
        assert len(inside) >= 2
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(inside))


def test_the_generic_table_shows_what_summaries_of_any_kind_hold() -> None:
    odd = {
        "n": 3,
        "mean_gap": 0.123456,
        "mean_gap_ci": [0.1, 0.2],
        "done": True,
        "note": "all [b]well[/b]",
        "none": None,
        "curve": [1, 2, 3],
        "large": 123456.7,
        "nan": float("nan"),
        "detector": {"name": "entropy", "threshold": 0.5},
    }
    models = [own(Record("odd", odd, {})), own(Record("odd", {"other": 1}, {}), name="n")]
    (table,) = section_of("odd").tables(models)
    cells = {row[0]: row[1:] for row in table.rows}
    assert table.columns == ("", "m", "n")
    assert cells["mean gap"] == ("0.1235 [0.1, 0.2]", "–")
    assert cells["done"] == ("yes", "–")
    assert cells["large"] == ("123,457", "–")
    assert cells["detector: name"] == ("entropy", "–")
    assert cells["other"] == ("–", "1")
    assert "curve" not in cells
    assert json.loads(json.dumps(table.numbers))[0]["curve"] == [1, 2, 3]


def test_a_record_without_numbers_says_what_it_holds() -> None:
    part = section_of("images-only").parts[0]
    assert part.words
    said = part.words(own(Record("images-only", {}, {"images": np.zeros(3), "label": np.zeros(3)})))
    assert said == "The record of m has no scalars; it holds images, label."
    assert part.words(own(Record("images-only", {"n": 1}, {}))) == ""


def with_checks(record: Record, *failed: tuple[str, str], success: float = 1.0) -> Record:
    """An adversarial record with these failed checks and this worst-case success rate."""
    checks = [
        {"name": name, "passed": False, "found": "", "advice": "", "doubt": doubt}
        for name, doubt in failed
    ]
    kept = [{"name": "fine", "passed": True, "found": "", "advice": "", "doubt": "luck"}]
    cells = [
        *record.summary["cells"][:-1],
        {**record.summary["cells"][-1], "quantized_within": success},
    ]
    return replace(record, summary={**record.summary, "cells": cells, "checks": checks + kept})


@pytest.mark.parametrize(
    ("doubt", "success", "said"),
    [
        (
            WEAK,
            0.5,
            "the attacks on m may be too weak: stronger attacks may succeed on more images and at"
            " smaller distances (failed: x, y).",
        ),
        (
            WEAK,
            1.0,
            "the attacks on m may be too weak: stronger attacks may succeed at smaller distances"
            " (failed: x, y).",
        ),
        (LUCK, 1.0, "successes on m may be due to chance (failed: x, y)."),
        (FEW, 1.0, "test images of m could be attacked (failed: x, y)."),
        ("", 1.0, "the evaluation of m fails some of its checks (failed: x, y)."),
    ],
)
def test_the_verdict_is_qualified_by_checks_that_fail(
    doubt: str, success: float, said: str, records: dict[str, Record]
) -> None:
    record = with_checks(records["adversarial"], ("x", doubt), ("y", doubt), success=success)
    found = adversarial.verdict([own(record)])
    assert "Read this with care: " in found
    assert said in found
    for fine in (
        with_checks(records["adversarial"]),
        with_checks(records["adversarial"], ("x", STORAGE)),
    ):
        assert "Read this" not in adversarial.verdict([own(fine)])


def test_records_of_before_qualify_the_verdict_too(records: dict[str, Record]) -> None:
    check = {"name": "x", "passed": False, "found": "", "advice": ""}
    record = replace(
        records["adversarial"], summary={**records["adversarial"].summary, "checks": [check]}
    )
    assert "the evaluation of m fails some of its checks (failed: x)." in adversarial.verdict(
        [own(record)]
    )


def test_every_check_of_an_evaluation_says_what_it_puts_in_doubt(
    records: dict[str, Record],
) -> None:
    assert {
        check["doubt"]
        for check in records["adversarial"].summary["checks"]
        if check["passed"] is not None
    } <= DOUBTS


def test_the_first_sentences_of_records_in_results_are_qualified() -> None:
    """A real record with failed checks."""
    record = Record.load(
        Path(__file__).parents[2] / "results/small/mnist-reweight-small/records", "adversarial"
    )
    said = adversarial.verdict([own(record)])
    assert "may be too weak: stronger attacks may succeed on more images" in said
    assert "(failed: gradients agree with finite differences, " in said


@pytest.mark.parametrize(
    "place",
    sorted((Path(__file__).parents[2] / "results").glob("small/*/records")),
    ids=lambda path: path.parent.name,
)
def test_records_of_before_are_shown_whole(place: Path) -> None:
    made = records_in(place)
    assert len(made) >= 3
    for audit in made:
        model = own(Record.load(place, audit))
        for part in section_of(audit).parts:
            if part.table:
                cells = list(itertools.chain(*part.table([model]).rows))
                assert not any("None" in cell or "nan" in cell for cell in cells)
            if part.words:
                assert "None" not in part.words(model)
            if part.figure:
                part.figure(model)
    table = section_of("classification").tables([own(Record.load(place, "classification"))])[-1]
    assert table.rows[0][table.columns.index("AUROC of errors")] != "–"


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.45, 0.55), "no better than rejecting images at random"),
        ((0.3, 0.4), "makes it worse"),
        ((0.6, 0.8), "protects the classifier in part"),
        ((0.92, 0.98), "protects the classifier: most misclassified"),
    ],
)
def test_words_on_rejection_follow_the_interval(
    interval: tuple[float, float], said: str, records: dict[str, Record]
) -> None:
    summary = {
        **records["classification"].summary,
        "auroc_misclassified": 0.5,
        "auroc_misclassified_ci": interval,
    }
    assert said in classification.protection("m", summary)


def test_a_table_has_the_accuracy_among_accepted_images(records: dict[str, Record]) -> None:
    record = records["classification"]
    correct, accepted = (
        record.arrays["predicted"] == record.arrays["label"],
        record.arrays["accepted"],
    )
    *_, table = section_of("classification").tables([own(record)])
    cell = table.rows[0][table.columns.index("accuracy among accepted %")]
    assert cell.startswith(f"{100 * correct[accepted].mean():.1f} [")
    assert f"{cell} % of the accepted images correctly" in classification.protection(
        "m", record.summary
    )


def test_the_figure_of_risk_and_coverage_follows_the_record(records: dict[str, Record]) -> None:
    record = records["classification"]
    axes = classification.risk_coverage(own(record)).axes[0]
    correct, accepted = (
        record.arrays["predicted"] == record.arrays["label"],
        record.arrays["accepted"],
    )
    lines = {line.get_label(): line for line in axes.lines}
    x, y = lines["by likelihood score"].get_data()
    assert (x[-1], y[-1]) == pytest.approx((100, 100 * np.mean(~correct)))
    assert lines["detector's threshold"].get_xdata() == pytest.approx([100 * accepted.mean()])
    assert lines["detector's threshold"].get_ydata() == pytest.approx(
        [100 * np.mean(~correct[accepted])]
    )


def test_a_classifier_without_a_mistake_has_a_figure_and_a_sentence(
    records: dict[str, Record],
) -> None:
    arrays = {
        **records["classification"].arrays,
        "predicted": records["classification"].arrays["label"],
    }
    record = replace(
        records["classification"],
        arrays=arrays,
        summary={"n": 9, "threshold": 5.0, "misclassified": 0},
    )
    classification.risk_coverage(own(record)).draw_without_rendering()
    assert "misclassifies 0 of 9 test images" in classification.protection("m", record.summary)


def test_a_gallery_shows_the_score_of_a_detector_whose_unit_is_another(
    records: dict[str, Record],
) -> None:
    record = records["adversarial"]
    scores = {
        name: np.full(len(record.arrays["l2"]), value)
        for name, value in (("score_before", 0.25), ("score", 0.75))
    }
    detector = {"name": "entropy", "unit": "nats", "threshold": 1.0}
    other = replace(
        record, arrays={**record.arrays, **scores}, summary={**record.summary, "detector": detector}
    )
    said = [text.get_text() for text in adversarial.attack_gallery(own(other)).axes[0].texts]
    assert any(text.endswith("0.25 → 0.75 entropy score, nats") for text in said)
    assert not any("bits/dim" in text for text in said)
    said = [text.get_text() for text in adversarial.attack_gallery(own(record)).axes[0].texts]
    assert any(text.endswith(" bits/dim") for text in said)


@pytest.mark.parametrize(
    "audit", ["classification", "label-likelihood", "interpolation", "adversarial"]
)
def test_the_class_prior_and_warnings_stand_below_every_table(
    audit: str, records: dict[str, Record]
) -> None:
    warned = {"class_prior": [0.75, 0.25], "warnings": ["odd bits."]}
    if audit != "label-likelihood":
        warned["detector"] = {**records[audit].summary["detector"], "warnings": ["odd threshold."]}
    other = replace(records[audit], summary={**records[audit].summary, **warned})
    first, *_ = section_of(audit).tables([own(records[audit])])
    assert "Class prior: uniform." in first.caption
    assert "odd" not in first.caption
    both, *_ = section_of(audit).tables([own(records[audit]), own(other, name="n")])
    assert "Class prior: uniform for m; 0.75, 0.25 for n." in both.caption
    assert "n: odd bits." in both.caption
    assert ("n: odd threshold." in both.caption) == (audit != "label-likelihood")


def test_a_warning_about_the_detector_is_in_the_first_sentences_once(
    records: dict[str, Record],
) -> None:
    noted = {**records["interpolation"].summary["detector"], "warnings": ["odd threshold."]}
    warned = [
        replace(r, summary={**r.summary, "detector": noted})
        for a, r in records.items()
        if "detector" in r.summary
    ]
    for kept in (warned, warned[1:], warned[2:]):
        model = own(*kept)
        said = [
            section_of(audit).verdict([model])
            for audit in model.audits_made()
            if section_of(audit).verdict
        ]
        assert " ".join(said).count("m: odd threshold.") == 1


def test_the_answer_counts_the_attacked_models(records: dict[str, Record]) -> None:
    record = records["adversarial"]
    assert "attacked models" not in attack_words.answer([own(record)]).clause
    both = [AuditedModel(name, [record]) for name in ("a", "b")]
    assert attack_words.answer(both).clause.endswith("of the images of the 2 attacked models")


def test_a_check_whose_name_is_no_text_is_shown_all_the_same() -> None:
    check = {"name": [], "passed": False, "found": 3, "advice": None, "doubt": ""}
    table = checks_of([own(Record("mine", {"checks": [check]}, {}))], "mine", "", "")
    assert table.rows[0][1:] == ("[]", "fail", "3", "None")
    assert all(isinstance(of_words, bool) for of_words in table.of_words)
