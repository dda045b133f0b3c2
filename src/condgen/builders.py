"""From a page of configuration to data, model, objective and detector."""

from pathlib import Path

import torch

from condgen.audits.predictions import predict
from condgen.classifier import GenerativeClassifier
from condgen.config import Config
from condgen.data.catalogue import open_dataset
from condgen.data.dataset import ImageDataset, Splits
from condgen.detectors import LikelihoodThreshold
from condgen.errors import ConfigError
from condgen.models.glow import Glow
from condgen.models.priors import ClassMixture, Prior, SplitPrior
from condgen.randomness import stream
from condgen.training.objectives import Likelihood, Objective, Reweight, Split


def open_data(config: Config, data_dir: Path | None = None) -> Splits:
    """The data set that ``config`` names."""
    return open_dataset(config.data.name, data_dir=data_dir, size=config.data.size)


def build_classifier(config: Config, data: ImageDataset, device: torch.device | None = None) -> GenerativeClassifier:
    """Bayes' rule over :func:`build_density`, on ``device``."""
    density = build_density(config, data)
    if config.training.compile and device is not None and device.type == "cuda":
        density.compile_flow()
    return GenerativeClassifier(density).to(device)


def build_density(config: Config, data: ImageDataset) -> Glow:
    """The model of ``config`` for images like those of ``data``, freshly initialised from ``config.seed``."""
    channels, height, width = data.event_shape
    settings = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Glow(
            _prior(config, data.num_classes, 2 * channels * height * width),
            event_shape=data.event_shape,
            pixel_levels=data.pixel_levels,
            levels=settings.levels,
            blocks=settings.blocks,
            width=settings.width,
            constant_memory=settings.memory == "constant",
            precision=torch.bfloat16 if settings.precision == "bfloat16" else None,
            generator=stream(config.seed, "rotations"),
        )


def build_objective(config: Config) -> Objective:
    """The loss that ``config`` names."""
    if config.objective.name == "split" and config.model.prior != "split":
        raise ConfigError(f"objective 'split' needs model.prior = 'split', not '{config.model.prior}'.")
    match config.objective.name:
        case "likelihood":
            return Likelihood()
        case "reweight":
            return Reweight(config.objective.alpha)
        case "split":
            return Split(config.objective.alpha)


def build_detector(config: Config, classifier: GenerativeClassifier, validation: ImageDataset) -> LikelihoodThreshold:
    """The threshold that the configuration gives, or the quantile of the validation images' bits/dim that it asks for."""
    if config.detector.threshold != "quantile":
        return LikelihoodThreshold(config.detector.threshold)
    x, _ = validation.batch(slice(None))
    return LikelihoodThreshold.at_quantile(predict(classifier, x).bits_per_dim, config.detector.quantile)


def _prior(config: Config, num_classes: int, dims: int) -> Prior:
    settings = config.model
    if settings.prior == "split":
        return SplitPrior(num_classes, dims, settings.subspace_scale, settings.family, settings.label_smoothing)
    return ClassMixture(num_classes, dims, settings.family, settings.label_smoothing)
