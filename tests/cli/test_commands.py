"""The command line: one valid call of each command, and tables of bad input."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from condgen.cli import main
from condgen.data.catalogue import open_dataset
from condgen.experiments import building
from condgen.reports.sections import section_of
from condgen.runs import Run
from condgen.training.checkpoints import Checkpoint
from tests.conftest import TINY
from tests.data.files import write_folder

SETTINGS = [argument for setting in TINY for argument in ("--set", setting)]


def condgen(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(
        main, [str(argument) for argument in arguments], catch_exceptions=False
    )
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: object) -> str:
    """Return the one-line error message of a call that fails with status 2."""
    status, _, error = condgen(*arguments)
    assert status == 2, error
    assert "Traceback" not in error
    line = error.strip()
    assert line.startswith("condgen: ")
    assert "\n" not in line
    return line


def edit(page: Path, change: Callable[[str], str]) -> None:
    """Change a run's settings and remove the first line, as that line instructs."""
    checksum, _, text = page.read_text().partition("\n")
    assert "Remove this line if you change them" in checksum
    changed = change(text)
    assert changed != text
    page.write_text(changed)


def image_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_train_audit_report_sample(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "report"
    assert condgen("train", "bg-digits-reweight", *SETTINGS, "--run", run, "--threads", 1)[0] == 0
    assert condgen("audit", run, "--threads", 1)[0] == 0
    assert condgen("report", run, "--out", out)[0] == 0
    assert condgen("sample", run, "--count", 3, "--out", tmp_path / "all.png")[0] == 0
    assert (
        condgen(
            "sample",
            run,
            "--label",
            7,
            "--count",
            3,
            "--temperature",
            0.7,
            "--out",
            tmp_path / "seven.png",
        )[0]
        == 0
    )
    page = (out / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert {path.suffix for path in (out / "figures").iterdir()} == {".svg", ".png"}
    assert {path.suffix for path in (out / "tables").iterdir()} == {".csv", ".json"}
    assert image_size(tmp_path / "all.png")[1] > image_size(tmp_path / "seven.png")[1]


def test_a_run_directory_holds_what_the_contract_says(trained: Run) -> None:
    assert {path.name for path in trained.path.iterdir()} == {
        "config.toml",
        "metrics.jsonl",
        "checkpoint",
        "records",
        "detector.json",
        *(path.name for path in trained.path.glob("detector.*.npz")),
        ".training.lock",
        ".detector.lock",
    }
    text = (trained.path / "config.toml").read_text()
    assert "seed = 0" in text
    assert "torch = " in text
    summaries = {
        name: json.loads((trained.records / f"{name}.json").read_text())
        for name in ("classification", "label-likelihood", "interpolation")
    }
    assert summaries["classification"].keys() >= {
        "accuracy",
        "accuracy_ci",
        "bits_per_dim",
        "n",
        "subspace_accuracy",
    }
    assert summaries["label-likelihood"].keys() >= {
        "auroc",
        "bits_per_dim_right",
        "bits_per_dim_wrong",
    }
    assert summaries["interpolation"].keys() >= {
        "alpha",
        "bits_per_dim",
        "accepted_at_every_step",
        "pairs",
    }
    assert (
        len(summaries["interpolation"]["bits_per_dim"])
        == len(summaries["interpolation"]["alpha"])
        == 5
    )


def test_training_in_pieces_says_how_to_go_on(tmp_path: Path) -> None:
    start = ("train", "digits-base", *SETTINGS, "--seed", 3, "--run", tmp_path / "a run")
    status, line, _ = condgen(*start, "--minutes", 0, "--device", "cpu")
    assert status == 0
    assert "has 0 of 2 epochs and 1 steps; continue with: condgen train digits-base" in line
    again = shlex.split(line.partition("continue with: condgen ")[2])
    assert {"--minutes", "--seed", "--resume"} < set(again)
    status, line, _ = condgen(*again, "--minutes", 10)
    assert status == 0
    assert "is trained" in line


def test_only_runs_the_audit_that_is_asked_for(copied: Run) -> None:
    shutil.rmtree(copied.records)
    assert condgen("audit", copied.path, "--only", "label-likelihood", "--threads", 1)[0] == 0
    assert {
        path.name.split(".")[0] for path in copied.records.iterdir() if path.name[0] != "."
    } == {"label-likelihood"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "audit.pairs=9"), "audit.pairs is a setting of the audit interpolation"),
        (
            ("--set", "audit.interpolation.pairs=9"),
            "audit.interpolation.pairs is a setting of the audit interpolation",
        ),
        (("--budget", "smoke"), "audit.budget is a setting of the audit adversarial"),
        (
            ("--set", "detector.threshold=9", "--set", "detector.quantile=0.5"),
            "it is now 'detector.threshold.quantile'",
        ),
    ],
)
def test_settings_that_no_audit_reads_are_refused(
    arguments: tuple[str, ...], message: str, copied: Run
) -> None:
    assert message in refused("audit", str(copied.path), "--only", "classification", *arguments)


def test_show_draws_a_grid_and_prints_a_card(tmp_path: Path) -> None:
    status, card, _ = condgen("show", "digits", "--out", tmp_path / "digits.png")
    assert status == 0
    assert "levels" in card
    assert "17" in card
    assert "sha256 (test)" in card
    assert image_size(tmp_path / "digits.png") > (500, 500)


def test_describe_prints_a_card_of_a_preset_and_of_a_run(trained: Run) -> None:
    _, of_preset, _ = condgen("describe", "digits-split", "--set", "model.blocks=2")
    assert "level 3" in of_preset
    assert "8 x 2 x 2, 2 blocks of width 64" in of_preset
    assert "1 blocks of width 8" in condgen("describe", trained.path)[1]


def test_check_passes_on_a_trained_run_and_fails_on_a_broken_one(copied: Run) -> None:
    status, lines, _ = condgen("check", copied.path)
    assert status == 0
    assert "round trip" in lines
    assert "fail" not in lines
    state = Checkpoint.load(copied.best)
    name = next(name for name in state.weights if name.endswith("1.log_scale"))
    state.weights[name] += 40.0  # a convolution that is not invertible in float32
    state.save(copied.best)
    status, lines, _ = condgen("check", copied.path)
    assert status == 1
    assert "fail" in lines


@pytest.mark.parametrize(
    "setting",
    [
        "model.family=cauchy",
        "model.label_smoothing=0.1",
        "model.memory=constant",
        "model.precision=bfloat16",
    ],
)
def test_any_preset_takes_any_variation_by_one_set(setting: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        condgen("train", "digits-split", *SETTINGS, "--set", setting, "--run", run, "--threads", 1)[
            0
        ]
        == 0
    )
    assert condgen("audit", run, "--only", "classification", "--threads", 1)[0] == 0


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from condgen.cli import main; main(['--help'], standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )


def test_the_module_runs_like_the_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "condgen", "presets"], capture_output=True, text=True, check=True
    )
    assert "digits-reweight" in done.stdout.split()


BAD_CALLS = {
    "unknown preset": (("train", "digits-rewieght"), "did you mean 'digits-reweight'?"),
    "unknown key": (
        ("train", "digits-base", "--set", "training.learning_rat=1"),
        "did you mean 'training.learning_rate'?",
    ),
    "unknown section": (("train", "digits-base", "--set", "optimizer.lr=1"), "is not known"),
    "wrong type": (
        ("train", "digits-base", "--set", "training.epochs=many"),
        "training.epochs = 'many' does not fit",
    ),
    "out of range": (
        ("train", "digits-base", "--set", "training.learning_rate=-1"),
        "greater than 0",
    ),
    "not a number": (
        ("train", "digits-base", "--set", "training.learning_rate=nan"),
        "training.learning_rate",
    ),
    "no equals sign": (
        ("train", "digits-base", "--set", "training.epochs"),
        "not of the form section.key=value",
    ),
    "too deep": (("train", "digits-base", "--set", "seed.of.all=1"), "seed"),
    "idle setting": (
        ("train", "digits-base", "--set", "objective.alpha=7"),
        "objectives reweight, split and flow-gan have it: set objective=reweight as well",
    ),
    "idle scale": (
        ("describe", "digits-base", "--set", "model.subspace_scale=9"),
        "it is now 'model.prior.scale'",
    ),
    "idle quantile": (
        (
            "describe",
            "digits-base",
            "--set",
            "detector.threshold=3.5",
            "--set",
            "detector.quantile=0.9",
        ),
        "it is now 'detector.threshold.quantile'",
    ),
    "seed as a setting": (("train", "digits-base", "--set", "seed=3"), "'seed' comes from --seed"),
    "versions as a setting": (
        ("train", "digits-base", "--set", "versions.torch=1"),
        "'versions' comes from the installed packages",
    ),
    "beyond a setting": (
        ("train", "digits-base", "--set", "model.width.most=3"),
        "model.width = {'most': 3} does not fit",
    ),
    "unknown data": (
        ("train", "digits-base", "--set", "data.name=digit"),
        "did you mean 'digits'?",
    ),
    "no such level": (("train", "digits-base", "--set", "model.levels=9"), "use 1 to 4 levels"),
    "objective without subspace": (
        ("train", "digits-base", "--set", "objective.name=split"),
        "set model.prior=split",
    ),
    "batch beyond the data": (
        ("train", "digits-base", "--set", "training.batch_size=5000"),
        "fewer than one batch",
    ),
    "no run": (("audit", "nowhere"), "nowhere is not a run directory: it does not exist"),
    "value of no kind": (
        ("train", "digits-base", "--set", "detector.threshold=abc"),
        "detector.threshold = 'abc'",
    ),
    "truth for a number": (
        ("train", "digits-base", "--set", "training.epochs=true"),
        "training.epochs = True does not fit",
    ),
    "size of embedded data": (
        ("train", "digits-base", "--set", "data.size=32"),
        "digits has a fixed size",
    ),
    "no width": (
        ("train", "digits-base", "--set", "model.width=0"),
        "model.width = 0 does not fit",
    ),
    "nearest level": (
        ("train", "digits-base", "--set", "model.levels=0"),
        "the nearest valid value is 1",
    ),
    "compiled on a CPU": (
        ("train", "digits-base", "--set", "training.compile=true", "--device", "cpu"),
        "training.compile needs --device cuda",
    ),
    "no PNG": (("show", "digits", "--out", "x.jpg"), "x.jpg would be a PNG file"),
    "unknown data to show": (("show", "imagenet", "--out", "x.png"), "'imagenet' is not known"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_end_in_one_line_and_leave_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_CALLS[name]
    assert message in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_existing_run_is_not_overwritten(copied: Run) -> None:
    assert "exists already" in refused("train", "digits-split", "--run", copied.path)


def test_a_run_is_not_resumed_with_other_settings(copied: Run) -> None:
    again = ("train", "digits-split", *SETTINGS, "--run", copied.path, "--resume")
    message = "started with another training (training.epochs was 2, now 1)"
    assert message in refused(*again, "--set", "training.epochs=1")
    assert "training.batch_size was 64, now 32" in refused(
        *again, "--set", "training.batch_size=32"
    )
    assert "another data (data.name was 'digits', now 'bg-digits')" in refused(
        *again, "--set", "data.name=bg-digits"
    )


def test_a_finished_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    growing = ("training.decay=step", "training.snapshots=0", "objective.ramp=0")
    sets = [word for setting in growing for word in ("--set", setting)]
    start = ("train", "digits-split", *SETTINGS, *sets, "--threads", 1)
    longer = (*start, "--set", "training.epochs=3")
    assert condgen(*start, "--run", tmp_path / "run")[0] == 0
    assert condgen(*longer, "--run", tmp_path / "run", "--resume")[0] == 0
    assert condgen(*longer, "--run", tmp_path / "whole")[0] == 0
    run, whole = Run.open(tmp_path / "run"), Run.open(tmp_path / "whole")
    assert run.config.training.epochs == run.epochs_done == 3
    assert run.weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize(
    "command",
    [("audit",), ("train", "digits-split", *SETTINGS, "--resume", "--run")],
    ids=lambda words: words[0],
)
def test_other_images_under_the_same_name_are_noticed(
    command: tuple[str, ...], copied: Run, monkeypatch
) -> None:
    digits = open_dataset("digits")
    other = {name: replace(part, pixel_levels=256) for name, part in digits.items()}
    monkeypatch.setattr(building, "open_dataset", lambda *_, **__: replace(digits, **other))
    message = refused(*command, copied.path)
    assert (
        "was trained on images of 1x8x8, 10 classes, 17 levels,"
        " but digits now has 1x8x8, 10 classes, 256 levels" in message
    )


@pytest.mark.parametrize(
    "command",
    [("audit",), ("train", "digits-split", *SETTINGS, "--resume", "--run")],
    ids=lambda words: words[0],
)
def test_one_image_less_is_noticed_since_others_may_be_test_images_now(
    command, copied: Run, monkeypatch
) -> None:
    def shrunk(*_, **__):
        splits = open_dataset("digits")
        return replace(splits, train=splits.train.take(np.arange(1, len(splits.train))))

    monkeypatch.setattr(building, "open_dataset", shrunk)
    message = refused(*command, copied.path)
    assert "was trained on other images than digits now has: the images of train differ" in message


def test_a_run_on_ones_own_folder_is_audited_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "mine" / "scans", {"cat": 60, "dog": 60})
    monkeypatch.chdir(tmp_path / "mine")
    own = ("--set", "data.name=folder:scans", "--set", "model.levels=1")
    train = ("train", "digits-base", *SETTINGS, *own, "--run", tmp_path / "run", "--threads", 1)
    assert condgen(*train)[0] == 0
    monkeypatch.chdir(tmp_path)
    assert condgen("audit", tmp_path / "run", "--only", "classification", "--threads", 1)[0] == 0
    assert "data.name was" in refused(*map(str, train), "--resume")
    monkeypatch.chdir(tmp_path / "mine")
    assert condgen(*train, "--resume")[0] == 0
    Path("scans").rename("moved")
    audit = ("audit", tmp_path / "run", "--only", "classification", "--threads", 1)
    assert "correct the path (of a run: data.name in its config.toml)" in refused(*audit)
    page = tmp_path / "run" / "config.toml"
    edit(page, lambda text: text.replace("mine/scans", "mine/moved"))
    assert condgen(*audit)[0] == 0


def test_a_run_is_trained_by_one_process_at_a_time(copied: Run) -> None:
    again = ("train", "digits-split", *SETTINGS, "--run", copied.path, "--resume")
    with copied.training():
        assert "is being trained by another process" in refused(*again)
    assert condgen(*again)[0] == 0


def test_an_audit_that_cannot_be_made_does_not_stop_the_others(copied: Run) -> None:
    shutil.rmtree(copied.records)
    status, out, error = condgen(
        "audit", copied.path, "--set", "detector.threshold=-100", "--threads", 1
    )
    assert status == 2
    assert "interpolation: only 0 of" in error
    assert "adversarial: no image to attack: of 30 test images" in error
    assert {path.stem for path in copied.records.glob("*.json")} == {
        "classification",
        "label-likelihood",
        "samples",
        "snapshots",
    }
    assert "accuracy" in out
    assert (
        condgen(
            "audit",
            copied.path,
            "--set",
            "detector.threshold=1000",
            "--only",
            "interpolation",
            "--threads",
            1,
        )[0]
        == 0
    )
    assert copied.record("interpolation").summary["threshold"] == 1000
    assert "only detector and audit can" in refused("audit", copied.path, "--set", "model.width=16")


def test_a_run_in_training_is_called_so(copied: Run, tmp_path: Path) -> None:
    page = copied.path / "config.toml"
    edit(page, lambda text: text.replace("\nepochs = 2\n", "\nepochs = 150\n"))
    assert (
        "has 2 of 150 epochs so far"
        in condgen("audit", copied.path, "--only", "label-likelihood", "--threads", 1)[2]
    )
    assert condgen("report", copied.path, "--out", tmp_path / "report")[0] == 0
    assert "<td>2 of 150</td>" in (tmp_path / "report/index.html").read_text()


def test_figures_name_classes(copied: Run) -> None:
    page = copied.path / "config.toml"
    names = [r"a $5_$ bill", *"bcdefghij"]
    edit(
        page,
        lambda text: re.sub(
            r"class_names = \[[^]]*\]", lambda _: f"class_names = {json.dumps(names)}", text
        ),
    )
    run = Run.open(copied.path)
    assert [run.class_name(y) for y in range(3)] == names[:3]
    drawn = [
        part.figure(run)
        for audit in run.audits_made()
        for part in section_of(audit).parts
        if part.figure
    ]
    assert len(drawn) > 4
    for figure in drawn:
        figure.savefig(io.BytesIO())
    assert names in [[text.get_text() for text in figure.texts] for figure in drawn]


def test_a_report_replaces_nothing_that_no_report_wrote(copied: Run, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/my-drawing.svg").write_text("mine")
    assert "has figures that no report wrote" in refused("report", copied.path, "--out", tmp_path)
    assert (tmp_path / "figures/my-drawing.svg").read_text() == "mine"


def test_a_damaged_piece_of_an_attack_is_made_again(copied: Run) -> None:
    before = copied.record("adversarial").summary
    again = ("audit", copied.path, "--only", "adversarial", "--threads", 1)
    # Makes pieces for the current code: tests may have changed it since the run was audited.
    assert condgen(*again)[0] == 0
    for piece in copied.records.glob("adversarial/*/*.npz"):
        piece.write_bytes(piece.read_bytes()[:300])
    status, _, error = condgen(*again)
    assert status == 0
    assert "is recomputed" in " ".join(error.split())
    assert copied.record("adversarial").summary["cells"] == before["cells"]


def test_names_are_no_markup_and_no_mathematics(tmp_path: Path) -> None:
    for number, name in enumerate(("[b]", "$5_$", "c [unused]")):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for image in range(20):
            Image.new("L", (8, 8), 10 * number + image).save(
                tmp_path / "scans" / name / f"{image}.png"
            )
    status, out, _ = condgen("show", f"folder:{tmp_path / 'scans'}", "--out", tmp_path / "grid.png")
    assert status == 0
    assert "$5_$, [b], c [unused]" in " ".join(out.split())


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "condgen", "presets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as presets:
        presets.stdout.close()
        assert b"condgen:" not in presets.stderr.read()


def damage_checkpoint(run: Run) -> None:
    path = run.best / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def change_architecture(run: Run) -> None:
    edit(run.path / "config.toml", lambda text: text.replace("width = 8", "width = 9"))


def alter_config(run: Run) -> None:
    page = run.path / "config.toml"
    page.write_text(page.read_text().replace("\nseed = 0\n", "\nseed = 1\n"))


def alter_checksum(run: Run) -> None:
    page = run.path / "config.toml"
    page.write_text(
        page.read_text().replace("# sha256", "# sha356").replace("width = 8", "width = 9")
    )


def empty_directory(run: Run) -> None:
    (run.path / "config.toml").unlink()


def break_config(run: Run) -> None:
    (run.path / "config.toml").write_text("model = [")


def refuse_all(run: Run) -> None:
    quantile, likelihood = "[detector.threshold]\nquantile = 1.0\n", 'name = "likelihood"'
    edit(
        run.path / "config.toml",
        lambda text: text.replace(quantile, "").replace(
            likelihood, f"{likelihood}\nthreshold = -100.0"
        ),
    )


DAMAGE = {
    "truncated checkpoint": (damage_checkpoint, "sha256 differs"),
    "another architecture": (change_architecture, "another architecture"),
    "altered configuration": (
        alter_config,
        "config.toml was altered (sha256 differs); restore it, or remove its first line",
    ),
    "altered configuration and checksum": (alter_checksum, "config.toml was altered"),
    "not a run": (empty_directory, "it has no config.toml"),
    "broken configuration": (break_config, "not valid TOML"),
    "a detector that accepts nothing": (refuse_all, "interpolation needs two classes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_is_refused(name: str, copied: Run) -> None:
    damage, message = DAMAGE[name]
    damage(copied)
    line = refused("audit", copied.path)
    assert message in line
    assert line.count("is damaged") <= 1


def test_a_report_of_missing_or_damaged_records_is_refused_and_not_begun(
    copied: Run, tmp_path: Path
) -> None:
    for text in ("{", "[]"):
        (copied.records / "label-likelihood.json").write_text(text)
        assert "damaged" in refused("report", copied.path, "--out", tmp_path / "report")
    shutil.rmtree(copied.records)
    assert "has no record; run `condgen audit" in refused(
        "report", copied.path, "--out", tmp_path / "report"
    )
    assert not (tmp_path / "report").exists()


def test_a_folder_is_never_replaced_by_a_picture(copied: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    assert "a folder of that name is in the way" in refused("show", "digits", "--out", precious)
    assert "a folder of that name is in the way" in refused(
        "sample", copied.path, "--out", precious
    )
    assert condgen("report", copied.path, "--out", precious)[0] == 0
    assert (precious / "thesis.txt").read_text() == "years"
    # A report replaces its own files.
    assert condgen("report", copied.path, "--out", precious)[0] == 0
    assert sorted(path.name for path in precious.iterdir()) == [
        "figures",
        "index.html",
        "tables",
        "thesis.txt",
    ]


def test_unwritable_output_is_refused(copied: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(
        "report", copied.path, "--out", tmp_path / "file" / "report"
    )
    assert "cannot be written" in refused("show", "digits", "--out", tmp_path / "file" / "x.png")
    assert "cannot be written" in refused(
        "train", "digits-base", "--run", tmp_path / "file" / "run"
    )


def test_a_label_that_is_no_class_is_refused(copied: Run, tmp_path: Path) -> None:
    assert "give 0 to 9" in refused(
        "sample", copied.path, "--label", 10, "--out", tmp_path / "x.png"
    )


def test_a_mistyped_command_is_met_with_the_nearest() -> None:
    status, _, error = condgen("audti", "x")
    assert status == 2
    assert "did you mean 'audit'?" in error


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not known"):
        condgen("--debug", "train", "nothing", "--run", tmp_path)


def test_a_record_of_another_version_and_too_large_a_model_are_one_line(
    copied: Run, tmp_path: Path, monkeypatch
) -> None:
    (copied.records / "interpolation.json").write_text("{}")
    assert "audit the run again" in refused("report", copied.path, "--out", tmp_path / "report")

    def starve(*_: object) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 17179869184 bytes."
        )

    monkeypatch.setattr("condgen.experiments.building.build_classifier", starve)
    assert "not enough memory" in refused("train", "digits-base", "--run", tmp_path / "large")
    assert "nan is not a finite number" in condgen("train", "digits-base", "--minutes", "nan")[2]


def test_a_run_whose_rate_depends_on_its_length_is_not_made_longer(tmp_path: Path) -> None:
    start = (
        "train",
        "digits-base",
        *SETTINGS,
        "--set",
        "training.decay=linear",
        "--run",
        tmp_path / "run",
        "--threads",
        1,
    )
    assert condgen(*start)[0] == 0
    assert "training.epochs was 2, now 3" in refused(
        *start, "--set", "training.epochs=3", "--resume"
    )


def test_what_is_no_run_among_several_is_left_out_with_a_note(copied: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "empty").mkdir()
    status, _, error = condgen(
        "report",
        copied.path,
        tmp_path / "README.md",
        tmp_path / "empty",
        "--out",
        tmp_path / "report",
    )
    assert status == 0
    assert error.count("is not a run directory; left out") == 2
    assert "does not exist" in refused(
        "report", copied.path, tmp_path / "mistyped", "--out", tmp_path / "report"
    )
    assert "is not a run directory" in refused(
        "report", tmp_path / "README.md", "--out", tmp_path / "report"
    )


def test_pictures_that_cannot_be_saved_are_refused_before_the_work(
    copied: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr("condgen.experiments.sample", worked)
    monkeypatch.setattr("condgen.data.catalogue.open_dataset", worked)
    (tmp_path / "file").write_text("")
    for out, message in (
        ("x.jpg", "would be a PNG file"),
        ("file/x.png", "cannot be written"),
        (".", "a folder of that name"),
    ):
        assert message in refused("sample", copied.path, "--out", tmp_path / out)
        assert message in refused("show", "digits", "--out", tmp_path / out)


def test_an_audit_that_another_process_makes_is_not_begun(copied: Run) -> None:
    command = [sys.executable, "-c", HOLD, str(copied.records)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert "is being made by another process" in refused(
            "audit", copied.path, "--only", "label-likelihood", "--threads", 1
        )
        other.communicate("")
    assert condgen("audit", copied.path, "--only", "label-likelihood", "--threads", 1)[0] == 0


HOLD = """
import sys
from pathlib import Path
from condgen.audits.records import audit_lock
with audit_lock(Path(sys.argv[1]), "label-likelihood"):
    print("held", flush=True)
    sys.stdin.read()
"""
