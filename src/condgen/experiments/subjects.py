"""What is audited: the model of a run, or a model from elsewhere."""

from pathlib import Path
from typing import Any

import torch

from condgen import machine
from condgen.audits.adversarial.shards import fingerprint
from condgen.audits.subject import Subject
from condgen.classifier import GenerativeClassifier
from condgen.config import Images, SubjectConfig
from condgen.data.dataset import Splits, check_fits
from condgen.density import ClassConditionalDensity
from condgen.detectors import build_detector
from condgen.errors import ConfigError
from condgen.experiments.building import build_classifier, check_images_of, images_of, open_data
from condgen.runs import RecordFolder, Run, installed_versions
from condgen.training.checkpoints import Checkpoint, load_weights


def subject_of(
    folder: RecordFolder,
    config: SubjectConfig | None = None,
    *,
    model: ClassConditionalDensity | GenerativeClassifier | None = None,
    splits: Splits | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> Subject:
    """What the audits of ``folder`` are made of.

    Args:
        folder: A run, or the folder of a model from elsewhere.
        config: Its detector, audits and seed are used instead of the folder's.
        model: Instead of building it from the folder's page; a run's weights are loaded into it.
        splits: Instead of opening the data that the folder's page names.
        data_dir: As for :func:`condgen.open_dataset`.
        device: "cpu", "cuda", or "auto" for the CUDA device where there is one.
        quiet: No progress bars.

    Raises:
        CondgenError: If the model, its weights or the data cannot be read, or do not belong together.
    """
    config = config or folder.config
    place = machine.prepare_device(device)
    splits = splits or open_data(folder.config, data_dir)
    check_images_of(folder.config, splits, folder.path)
    checkpoint = Checkpoint.load(folder.best) if isinstance(folder, Run) else None
    classifier = load_classifier(folder, images_of(splits), place, model=model, checkpoint=checkpoint)
    check_fits(splits.test, classifier.density)
    return Subject(
        name=folder.name,
        classifier=classifier,
        splits=splits,
        detector=build_detector(config.detector, classifier, splits),
        seed=config.seed,
        origin=_origin(config, classifier, checkpoint),
        quiet=quiet,
    )


def load_classifier(
    folder: RecordFolder,
    images: Images | None = None,
    device: torch.device | None = None,
    *,
    model: ClassConditionalDensity | GenerativeClassifier | None = None,
    checkpoint: Checkpoint | None = None,
) -> GenerativeClassifier:
    """The model of ``folder`` in evaluation mode, a run's with the weights of its best checkpoint.

    Args:
        folder: A run, or the folder of a model from elsewhere.
        images: What its images are like. Default: as the folder has noted.
        device: Where to put it. Default: the CPU.
        model: Instead of building it from the folder's page.
        checkpoint: The best one, where it has been read before.
    """
    images = images or folder.config.images
    if images is None:
        raise ConfigError(f"{folder.path} has not noted what its images are like; open its data first.")
    if model is None:
        classifier = build_classifier(folder.config.model, images, folder.config.seed)
    else:
        classifier = model if isinstance(model, GenerativeClassifier) else GenerativeClassifier(model)
    if isinstance(folder, Run):
        load_weights(classifier.density, (checkpoint or Checkpoint.load(folder.best)).weights, folder.best)
    return classifier.to(device or torch.device("cpu")).eval()


def _origin(config: SubjectConfig, classifier: GenerativeClassifier, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """What the records are made with, besides the settings of each audit."""
    weights = checkpoint.weights_sha256 if checkpoint else fingerprint(classifier)
    return {
        "weights": weights,
        "epoch": checkpoint.epoch if checkpoint else None,
        "device": classifier.device.type,
        "seed": config.seed,
        "versions": installed_versions(),
    }
