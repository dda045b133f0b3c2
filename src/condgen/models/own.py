"""A model of one's own, named by `package.module:factory` in a page."""

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
    """A model of one's own: ``name`` is ``package.module:factory``, all other keys are the factory's arguments.

    The factory may also take ``event_shape``, ``num_classes`` and ``pixel_levels``; it gets those that it names.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    shape_arguments: ClassVar[tuple[str, ...]] = ("event_shape", "num_classes", "pixel_levels")

    def build(self, images: Images, seed: int) -> ClassConditionalDensity:
        made = self.call(images, seed)
        density: ClassConditionalDensity = getattr(made, "density", made)  # a classifier has one
        return density

    def call(self, images: Images, seed: int) -> Any:
        """What the factory returns for such images: a density, or a classifier with a class prior of its own."""
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
    """``given``, and of ``of_images`` what the factory names; refuses settings that it does not take."""
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
