"""User-defined models, named by `package.module:factory` in a configuration."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict

from condgen.config import Images, ModelSettings
from condgen.density import ClassConditionalDensity
from condgen.errors import ConfigError, suggest
from condgen.registry import imported


class OwnModel(ModelSettings):
    """A user-defined model: ``name`` is ``package.module:factory``, other keys are its arguments.

    If the factory has parameters ``event_shape``, ``num_classes`` or ``pixel_levels``, it also gets
    these.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    shape_arguments: ClassVar[tuple[str, ...]] = ("event_shape", "num_classes", "pixel_levels")

    def build(self, images: Images, seed: int) -> ClassConditionalDensity:
        built = self.call(images, seed)
        density: ClassConditionalDensity = getattr(built, "density", built)  # if it is a classifier
        return density

    def call(self, images: Images, seed: int) -> Any:
        """Call the factory; return its density, or its classifier with its class prior."""
        factory = imported(self.name, "model")
        if not callable(factory):
            raise ConfigError(
                f"model '{self.name}' is a {type(factory).__name__}; name a class or a function."
            )
        shape = (tuple(images.shape), images.classes, images.levels)
        of_images = dict(zip(self.shape_arguments, shape, strict=True))
        arguments = _arguments(self.name, factory, dict(self.model_extra or {}), of_images)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return factory(**arguments)


def _arguments(
    name: str, factory: Callable[..., Any], given: dict[str, Any], of_images: dict[str, Any]
) -> dict[str, Any]:
    """Arguments for the factory: ``given`` and those of ``of_images`` that it has parameters for.

    Raises:
        ConfigError: If the factory lacks a parameter for a setting, or a required one is missing.
    """
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [key for key in parameters if key not in of_images]
    for key in given:
        if key not in parameters and not takes_any:
            raise ConfigError(
                f"setting 'model.{key}' is not known to {name}; {suggest(key, known)}"
            )
    arguments = {key: value for key, value in of_images.items() if key in parameters} | given
    for key, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if required and key not in arguments:
            raise ConfigError(f"setting 'model.{key}' is missing: {name} needs it; add it.")
    return arguments
