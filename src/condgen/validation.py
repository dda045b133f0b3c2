"""Validation of arguments, done once at the public interface."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, ConfigError, ImageError


def check_model(density: object) -> None:
    """Refuse objects that are not models; compiled models are accepted.

    Raises:
        CondgenError: If ``density`` has no ``class_log_prob``, or an invalid ``num_classes``,
            ``event_shape``, ``bounds`` or ``pixel_levels``.
    """
    name = type(density).__name__
    if not hasattr(density, "class_log_prob") or not hasattr(density, "fresh_noise"):
        raise CondgenError(
            f"the model is a {name}; make it a subclass of condgen.ClassConditionalDensity."
        )
    classes, shape = (getattr(density, key, None) for key in ("num_classes", "event_shape"))
    if not is_count(classes):
        raise CondgenError(
            f"{name}.num_classes is {classes!r}, expected a whole number of at least 1; set it in"
            " the class."
        )
    if not isinstance(shape, tuple) or not all(map(is_count, shape)):
        raise CondgenError(
            f"{name}.event_shape is {shape!r}, expected a tuple such as (1, 28, 28); set it in the"
            " class."
        )
    bounds, levels = getattr(density, "bounds", None), getattr(density, "pixel_levels", 0)
    if not _is_interval(bounds):
        raise CondgenError(
            f"{name}.bounds is {bounds!r}, expected two numbers such as (0.0, 1.0), the lower one"
            " first."
        )
    if levels is not None and not is_count(levels, 2):
        raise CondgenError(
            f"{name}.pixel_levels is {levels!r}, expected a whole number of at least 2, or None for"
            " continuous data."
        )


def _is_interval(bounds: object) -> bool:
    return (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(map(is_number, bounds))
        and bounds[0] < bounds[1]
    )


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse invalid counts.

    Raises:
        CondgenError: If ``value`` is not a whole number of at least ``least``.
    """
    if not is_count(value, least):
        raise CondgenError(f"{name} is {value!r}, expected a whole number of at least {least}.")


def is_count(value: object, least: int = 1) -> bool:
    """Whether ``value`` is a whole number of at least ``least``; NumPy integers included."""
    return isinstance(value, Integral) and int(value) >= least


def is_number(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether ``value`` is a finite number in ``[low, high]``."""
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


def check_answer(answer: object, number: int, density: ClassConditionalDensity) -> None:
    """Refuse an invalid result of ``class_log_prob`` for ``number`` images.

    Raises:
        CondgenError: If it is not a floating-point tensor of shape ``(number, num_classes)``.
    """
    expected = (number, density.num_classes)
    if not isinstance(answer, Tensor):
        found = f"a {type(answer).__name__}"
    elif answer.shape != expected or not answer.is_floating_point():
        found = f"{answer.dtype} of shape {tuple(answer.shape)}"
    else:
        return
    raise CondgenError(
        f"{type(density).__name__}.class_log_prob gave {found}, expected a floating-point tensor of"
        f" shape {expected}: (N, num_classes)."
    )


def wrong_units(bits_per_dim: float, density: ClassConditionalDensity) -> str:
    """Explain why bits/dim are impossible for quantized values; empty if they are possible."""
    if density.pixel_levels is None or not bits_per_dim < 0:
        return ""
    low, high = density.bounds
    step = (density.pixel_levels - 1) / (high - low)
    return (
        f"{bits_per_dim:.2f} bits/dim, but the likelihood of stored values is at most 1: a density"
        f" of x in [{low:g}, {high:g}] is too large by log({step:g}) nats per dimension, and has"
        f" {bits_per_dim + math.log2(step):.2f} bits/dim without them"
    )


def check_tensor(value: object, name: str) -> None:
    """Refuse arrays and lists.

    Raises:
        ImageError: If ``value`` is not a tensor.
    """
    if not isinstance(value, Tensor):
        raise ImageError(
            f"{name}: found a {type(value).__name__}, expected a tensor; use"
            f" torch.as_tensor({name})."
        )


def check_images(
    x: Tensor, density: ClassConditionalDensity, bounds: tuple[float, float] | None = None
) -> None:
    """Refuse invalid images.

    Args:
        x: The images.
        density: The model for these images.
        bounds: Interval of their values. Default: the bounds of ``density``.

    Raises:
        ImageError: If ``x`` is not a floating-point tensor, has another shape than the model
            expects, contains NaN, or leaves the interval.
    """
    check_tensor(x, "images")
    if not x.is_floating_point():
        advice = (
            f"divide stored values by {density.pixel_levels - 1}"
            if density.pixel_levels
            else "convert them"
        )
        raise ImageError(f"images are {x.dtype}, expected floating point; {advice}.")
    if x.shape[1:] != density.event_shape or x.ndim != 1 + len(density.event_shape):
        expected = ", ".join(map(str, ("N", *density.event_shape)))
        raise ImageError(f"images have shape {tuple(x.shape)}, the model expects ({expected}).")
    if x.numel() == 0:
        return
    # bounds rounded to the precision of the images
    low, high = torch.tensor(bounds or density.bounds, dtype=x.dtype).tolist()
    least, most = torch.stack(x.detach().aminmax()).tolist()  # one device synchronization
    if math.isnan(least) or math.isnan(most):
        raise ImageError("images hold a NaN; remove or repair them first.")
    if least < low or most > high:
        scaled = (
            f" (the model's {list(density.bounds)} come from them)"
            if bounds not in (None, density.bounds)
            else ""
        )
        raise ImageError(
            f"images span [{least:.4g}, {most:.4g}], expected [{low:g}, {high:g}]{scaled};"
            " rescale or clamp them."
        )


def check_labels(label: Tensor, num_classes: int) -> None:
    """Refuse labels that are not classes of the model.

    Raises:
        ImageError: If ``label`` is not a vector of integers in ``[0, num_classes)``.
    """
    check_tensor(label, "labels")
    if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
        raise ImageError(
            f"labels are {label.dtype} of shape {tuple(label.shape)}, expected a vector of"
            " integers."
        )
    if label.numel() and not (int(label.min()) >= 0 and int(label.max()) < num_classes):
        found = f"{int(label.min())} to {int(label.max())}"
        raise ImageError(
            f"labels run from {found}, the model knows classes 0 to {num_classes - 1}."
        )


def check_temperature(temperature: float) -> None:
    """Refuse a sampling temperature that is negative or not finite.

    Raises:
        ConfigError: If it is.
    """
    if not 0 <= temperature < math.inf:
        raise ConfigError(
            f"the temperature is {temperature:g}, expected a finite number of 0 or more, such as"
            " 0.8."
        )
