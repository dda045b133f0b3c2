"""TOML settings: parsing, and one-sentence errors for invalid values."""

import subprocess
import sys
from pathlib import Path

import pytest

from condgen.config import (
    Config,
    Quantile,
    load_config,
    load_preset,
    preset_names,
    replaced,
    subject_config,
)
from condgen.errors import ConfigError
from condgen.registry import AUDITS

RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_being_written(name: str, tmp_path: Path) -> None:
    from condgen.runs import Run

    config = load_preset(name, seed=3)
    made = Run.create(tmp_path / "run", config)
    assert Run.open(made.path).config == made.config
    assert made.config.of_training() == config.of_training()


DATA = ("mnist", "bg-mnist-0", "bg-mnist-1", "bg-mnist-5", "cifar10", "digits")


def test_pages_that_older_versions_wrote_still_load() -> None:
    pages = sorted(RESULTS.glob("*/*/config.toml"))
    assert pages
    for page in pages:
        assert load_config(page, Config).data.name in DATA
    split = load_config(RESULTS / "small" / "mnist-split-small" / "config.toml", Config)
    assert split.model.prior.scale == 0.3
    assert split.detector.threshold == Quantile(quantile=0.99)
    assert split.audit_settings("interpolation").pairs == 1000


def test_an_older_page_with_settings_that_had_no_effect_loses_them(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "older.toml").read_text()
    assert "subspace_scale" in text
    (tmp_path / "config.toml").write_text(text.replace('name = "reweight"', 'name = "likelihood"'))
    config = load_config(tmp_path / "config.toml", Config)
    assert config.model.prior.model_dump() == {"name": "class-mixture", "class_dims": None}
    assert config.objective.model_dump() == {"name": "likelihood"}


BAD = {
    "objective.alpha=2": "setting 'objective.alpha' is not known;"
    " objectives reweight, split and flow-gan have it: set objective=",
    "model.prior.scale=1": "setting 'model.prior.scale' is not known",
    "model.bloks=2": "did you mean 'model.blocks'?",
    "model.blocks=0": "model.blocks = 0 does not fit:"
    " should be greater than 0; the nearest valid value is 1.",
    "model.blocks=many": "model.blocks = 'many' does not fit",
    "model.prior=splitt": "model.prior.name = 'splitt' is not known;"
    " use one of 'class-mixture', 'split'",
    "model.subspace_scale=3": "it is now 'model.prior.scale'",
    "model=glw": "model 'glw' is not known; did you mean 'glow'?",
    "model.name=3": "model.name = 3 does not fit",
    "detector.quantile=0.5": "it is now 'detector.threshold.quantile'",
    "detector.threshold.quantile=2": "detector.threshold.quantile = 2 does not fit:"
    " should be less than or equal to 1",
    "detector.threshold=high": "detector.threshold = 'high' does not fit:"
    " should be a number, or { quantile = 0.99 }",
    "detector=entropy": "detector 'entropy' is not known",
    "objective=rewieght": "did you mean 'reweight'?",
    "audit.interpolation.pears=3": "did you mean 'audit.interpolation.pairs'?",
    "audit.interpolatoin.pairs=3": "did you mean 'audit.interpolation'?",
    "audit=3": "should be a table of tables, one for each audit",
    "training.decay.factor=3": "another training.decay has it: set training.decay.name as well",
    "training=5": "training = 5 does not fit",
    "data.nme=3": "did you mean 'data.name'?",
    "optimizer.lr=1": "'optimizer' is not known;"
    " known: audit, data, detector, model, objective, training.",
    "seed=3": "'seed' comes from --seed",
    "=1": "is not of the form section.key=value",
}


@pytest.mark.parametrize(("override", "said"), BAD.items(), ids=BAD)
def test_what_does_not_fit_is_one_sentence_with_the_setting_as_it_is_written(
    override: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_preset("digits-base", [override])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    for tag in ("GlowSettings", "class-mixture.", "split.scale", ".float", ".Quantile"):
        assert tag not in str(refused.value).replace("'class-mixture', 'split'", "")


def test_another_name_empties_the_section_and_the_same_name_keeps_it() -> None:
    assert load_preset("digits-split", ["objective=likelihood"]).objective.model_dump() == {
        "name": "likelihood"
    }
    assert load_preset("mnist-split", ["objective=split"]).objective.alpha == 0.3
    assert load_preset("digits-split", ["objective.alpha=0.7"]).objective.alpha == 0.7
    assert (
        load_preset("digits-split", ["model.prior=class-mixture"]).model.prior.name
        == "class-mixture"
    )
    assert load_preset("mnist-split", ["data.name=bg-digits"]).data.crop_padding == 4
    assert load_preset("bg-mnist-0-reweight").data.crop_padding == 4
    # The name is applied first, in any order.
    order = ["model.prior.scale=0.2", "model.prior=split"]
    assert load_preset("digits-base", order).model.prior.scale == 0.2


def test_a_decay_of_another_shape_replaces_the_table() -> None:
    assert load_preset("digits-base", ["training.decay=linear"]).training.decay.model_dump() == {
        "name": "linear"
    }
    assert (
        load_preset("mnist-base", ["training.decay.factor=0.5"]).training.decay.every_epochs == 60
    )
    with pytest.raises(ConfigError, match=r"'training\.decay\.factor' is not known"):
        load_preset("digits-base", ["training.decay=linear", "training.decay.factor=0.5"])


def test_a_page_that_extends_one_of_another_family_replaces_its_table(tmp_path: Path) -> None:
    page = tmp_path / "mine.toml"
    page.write_text('extends = "digits-base"\n[model]\nname = "tests.toy:Toy"\nscale = 0.5\n')
    config = load_preset(page)
    assert config.model.model_dump() == {
        "name": "tests.toy:Toy",
        "class_prior": "uniform",
        "scale": 0.5,
    }
    assert config.training.epochs == load_preset("digits-base").training.epochs
    assert config.preset == "mine"


def test_a_page_may_extend_a_page_beside_it_and_never_itself(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n[training]\nepochs = 3\n')
    (tmp_path / "b.toml").write_text('extends = "digits-base"\n[training]\nbatch_size = 7\n')
    training = load_preset(tmp_path / "a.toml").training
    assert (training.epochs, training.batch_size) == (3, 7)
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(ConfigError, match="extends itself"):
        load_preset(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model = 3", "model = 3 does not fit|model.name = 3"),
        ("[model", "is not valid TOML"),
        ("extends = 3", "extends = 3 is not a name"),
        ("", "setting 'data' is missing"),
        ("a = " + "[" * 3000, "is not valid TOML"),
        ("\xff", "is not valid TOML"),
    ],
)
def test_a_page_that_is_none_is_one_sentence(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "page.toml").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=said):
        load_preset(tmp_path / "page.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml does not exist"):
        load_preset(tmp_path / "none.toml")


def test_keys_of_audits_as_they_were_written_before_find_their_audit() -> None:
    config = load_preset("digits-base", ["audit.pairs=7", "audit.samples=2"])
    assert config.audit_settings("interpolation").pairs == 7
    assert config.audit_settings("samples").count == 2
    assert config.audit_settings("adversarial").epsilon == 0.5


def test_a_key_that_two_audits_have_is_refused() -> None:
    from condgen.audits import Audit, interpolation
    from condgen.audits.interpolation import InterpolationSettings

    assert interpolation
    AUDITS.register("second")(Audit("second", InterpolationSettings, lambda *_: None))
    try:
        with pytest.raises(
            ConfigError, match=r"write audit\.interpolation\.pairs or audit\.second\.pairs"
        ):
            load_preset("digits-base", ["audit.pairs=7"])
    finally:
        del AUDITS._members["second"]


def test_only_some_sections_of_a_run_can_be_replaced() -> None:
    config = load_preset("digits-base")
    assert (
        replaced(config, ["detector=typicality"], ("detector", "audit")).detector.name
        == "typicality"
    )
    with pytest.raises(ConfigError, match="only detector and audit can"):
        replaced(config, ["model.blocks=2"], ("detector", "audit"))


def test_a_subject_has_neither_objective_nor_training() -> None:
    page = {"data": {"name": "digits"}, "model": {"name": "tests.toy:fitted"}}
    assert set(subject_config(page).model_dump()) == set(Config.model_fields) - {
        "objective",
        "training",
        "start",
    }
    with pytest.raises(ConfigError, match="'training' is not known"):
        subject_config(page, ["training.epochs=3"])


def test_settings_and_names_are_known_without_torch() -> None:
    code = (
        "import sys, condgen.config, condgen.registry as r; condgen.config.preset_names();"
        "[x.names() for x in (r.MODELS, r.AUDITS, r.DETECTORS, r.OBJECTIVES)];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
