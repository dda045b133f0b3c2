"""Common tests of all registry members; a new member is tested because it is registered."""

from pathlib import Path
from typing import Any

import pytest
import torch

from condgen import Run, open_dataset
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import DetectorSettings, Images, ModelSettings, ObjectiveSettings, Training
from condgen.density import ClassConditionalDensity
from condgen.detectors import build_detector, flagged, score
from condgen.errors import ConfigError
from condgen.experiments import subject_of
from condgen.models.summary import summarize
from condgen.randomness import stream
from condgen.registry import AUDITS, DETECTORS, MODELS, OBJECTIVES
from condgen.runs.restoring import build_classifier, keep_detector, kept_detector
from condgen.testing import check_audit, check_density, check_detector
from condgen.training.steps import TrainingStep

IMAGES = Images(shape=[1, 8, 8], classes=10, levels=17)
# Settings of large families.
SMALL: dict[str, dict[str, Any]] = {
    "glow": {"levels": 2, "blocks": 1, "width": 8},
    "pixelcnn": {"levels": 2, "blocks": 1, "filters": 8},
}
TRAINING = Training(epochs=1, batch_size=32, learning_rate=1e-3, warm_up_steps=1)


def settings_of(name: str) -> ModelSettings:
    made: ModelSettings = MODELS.get(name).model_validate({"name": name, **SMALL.get(name, {})})
    return made


def density_of(name: str, seed: int = 0) -> ClassConditionalDensity:
    """A model of the family after one batch, which initializes actnorm and closed forms."""
    density = build_classifier(settings_of(name), IMAGES, seed).density
    x, label = open_dataset("digits").train.batch(slice(64))
    if hasattr(density, "fit"):
        density.fit(x, label)
    with torch.no_grad():
        density.train()(x)
    return density.eval()


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_keeps_the_promises_of_a_density(name: str) -> None:
    x, _ = open_dataset("digits").test.batch(slice(8))
    failed = [check for check in check_density(density_of(name), x) if not check.passed]
    assert not failed


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_is_what_its_settings_and_weights_say(name: str) -> None:
    density, settings = density_of(name), settings_of(name)
    assert MODELS.get(name).model_validate(settings.model_dump()) == settings
    again = build_classifier(settings, IMAGES, seed=1).density
    again.load_state_dict(density.state_dict())
    x, _ = open_dataset("digits").test.batch(slice(4))
    assert torch.equal(again.eval().class_log_prob(x), density.class_log_prob(x))
    assert summarize(density).rows()


@pytest.mark.parametrize("name", MODELS.names())
def test_samples_are_images_that_can_be_stored(name: str) -> None:
    density = density_of(name)
    if type(density).sample is ClassConditionalDensity.sample:
        pytest.skip(f"{name} cannot be sampled from")
    drawn = [density.sample(torch.arange(10), generator=stream(0, "samples")) for _ in range(2)]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (10, 1, 8, 8)
    levels = drawn[0] * 16
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert drawn[0].min() >= 0
    assert drawn[0].max() <= 1


def step_of(name: str, seed: int = 0) -> TrainingStep:
    """A step of an objective with the first registered model that it goes with."""
    settings: ObjectiveSettings = OBJECTIVES.get(name)()
    split = MODELS.get("glow").model_validate({**SMALL["glow"], "prior": "split"})
    for model in (*map(settings_of, MODELS.names()), split):
        try:
            return settings.step(build_classifier(model, IMAGES, seed), TRAINING, 8)
        except ConfigError:
            continue
    raise AssertionError(f"no registered model goes with {name}")


def take(step: TrainingStep, number: int) -> dict[str, torch.Tensor]:
    x, label = open_dataset("digits").train.batch(slice(32 * number, 32 * number + 32))
    return step.step(x, label, stream(0, "noise", 0, number))


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_a_step_continues_from_its_state_as_if_it_had_never_stopped(name: str) -> None:
    whole, parts = step_of(name), step_of(name)
    for number in range(2):
        names = {tuple(take(step, number)) for step in (whole, parts)}
        assert len(names) == 1
    resumed = step_of(name, seed=1)
    for module, network in resumed.modules.items():
        network.load_state_dict(parts.modules[module].state_dict())
    resumed.restore({key: tensor.clone() for key, tensor in parts.state().items()}, parts.taken)
    for step in (whole, resumed):
        take(step, 2)
        assert step.taken == 3
    validation = open_dataset("digits").validation
    metrics = [step.validate(validation, seed=0) for step in (whole, resumed)]
    assert metrics[0] == metrics[1]
    assert whole.monitor in metrics[0]
    for key, tensor in whole.weights().items():
        assert torch.equal(tensor, resumed.weights()[key]), key


@pytest.fixture(scope="module")
def classifier() -> GenerativeClassifier:
    return GenerativeClassifier(density_of("gaussian"))


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_detector_keeps_its_promises(name: str, classifier: GenerativeClassifier) -> None:
    splits = open_dataset("digits")
    detector = DETECTORS.get(name).from_settings(DETECTORS.get(name).Settings(name=name))
    failed = [
        c
        for c in check_detector(detector, classifier, splits.train, splits.validation)
        if not c.passed
    ]
    assert not failed


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_detector_accepts_the_share_that_it_was_asked_to_and_survives_saving(
    name: str, classifier: GenerativeClassifier, tmp_path: Path
) -> None:
    splits = open_dataset("digits")
    settings: DetectorSettings = DETECTORS.get(name).Settings.model_validate(
        {"name": name, "threshold": {"quantile": 0.9}}
    )
    detector = build_detector(settings, classifier, splits)
    prediction = predict(classifier, splits.validation.batch(slice(None))[0])
    assert (~flagged(detector, prediction)).double().mean().item() == pytest.approx(0.9, abs=0.01)
    assert keep_detector(tmp_path, detector, {"weights": "w"})
    again = kept_detector(tmp_path, settings, {"weights": "w"})
    assert again is not None
    assert again.threshold == detector.threshold
    assert torch.equal(score(again, prediction), score(detector, prediction))


@pytest.mark.parametrize("name", AUDITS.names())
def test_an_audit_keeps_its_promises(name: str, trained: Run) -> None:
    subject = subject_of(trained, quiet=True)
    failed = [
        c
        for c in check_audit(AUDITS.get(name), subject, trained.config.audit_settings(name))
        if not c.passed
    ]
    assert not failed
