"""Checks on what users pass in; each is made once, at the public door."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from condgen.density import ClassConditionalDensity
from condgen.errors import CondgenError, ImageError


def check_model(density: object) -> None:
    """Refuse what is no model, before it is asked anything; a compiled one is one.

    Raises:
        CondgenError: If it has no ``class_log_prob``, or does not say its classes and the shape of its images.
    """
    name = type(density).__name__
    if not hasattr(density, "class_log_prob") or not hasattr(density, "fresh_noise"):
        raise CondgenError(
            f"the model is a {name}; make it a subclass of condgen.ClassConditionalDensity."
        )
    classes, shape = (getattr(density, key, None) for key in ("num_classes", "event_shape"))
    if not is_count(classes):
        raise CondgenError(
            f"{name}.num_classes is {classes!r}, expected a whole number from 1 on; set it in the class."
        )
    if not isinstance(shape, tuple) or not all(map(is_count, shape)):
        raise CondgenError(
            f"{name}.event_shape is {shape!r}, expected a tuple such as (1, 28, 28); set it in the class."
        )
    bounds, levels = getattr(density, "bounds", None), getattr(density, "pixel_levels", 0)
    if not _is_interval(bounds):
        raise CondgenError(
            f"{name}.bounds is {bounds!r}, expected two numbers such as (0.0, 1.0), the lower first."
        )
    if levels is not None and not is_count(levels, 2):
        raise CondgenError(
            f"{name}.pixel_levels is {levels!r}, expected a whole number from 2 on, or None for continuous data."
        )


def _is_interval(bounds: object) -> bool:
    return (
        isinstance(bounds, tuple)
        and len(bounds) == 2
        and all(map(is_number, bounds))
        and bounds[0] < bounds[1]
    )


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no number of things.

    Raises:
        CondgenError: If it is no whole number from ``least`` on.
    """
    if not is_count(value, least):
        raise CondgenError(f"{name} is {value!r}, expected a whole number from {least} on.")


def is_count(value: object, least: int = 1) -> bool:
    """Whether it is a whole number from ``least`` on, NumPy's included."""
    return isinstance(value, Integral) and int(value) >= least


def is_number(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether it is a finite number within limits."""
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


def check_answer(answer: object, number: int, density: ClassConditionalDensity) -> None:
    """Refuse an answer to ``number`` images that is none.

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
        f"{type(density).__name__}.class_log_prob gave {found}, expected a floating-point tensor of shape {expected}:"
        " (N, num_classes)."
    )


def wrong_units(bits_per_dim: float, density: ClassConditionalDensity) -> str:
    """Why a mean of bits/dim cannot be that of stored values; empty where it can."""
    if density.pixel_levels is None or not bits_per_dim < 0:
        return ""
    low, high = density.bounds
    step = (density.pixel_levels - 1) / (high - low)
    return (
        f"{bits_per_dim:.2f} bits/dim, but no likelihood of stored values exceeds 1: a density of x in [{low:g}, {high:g}]"
        f" lacks log({step:g}) nats per dimension, and is {bits_per_dim + math.log2(step):.2f} bits/dim with them"
    )


def check_tensor(value: object, name: str) -> None:
    """Refuse arrays and lists, which only look as if they would do.

    Raises:
        ImageError: Naming what to write.
    """
    if not isinstance(value, Tensor):
        raise ImageError(
            f"{name}: found a {type(value).__name__}, expected a tensor; torch.as_tensor({name}) makes one."
        )


def check_images(
    x: Tensor, density: ClassConditionalDensity, bounds: tuple[float, float] | None = None
) -> None:
    """Refuse what no model should be asked about.

    Args:
        x: The images.
        density: The model that they are for.
        bounds: The interval of their values. Default: the density's own.

    Raises:
        ImageError: If ``x`` is no tensor, is not floating point, has another shape than the model, holds a NaN, or leaves
            the interval.
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
    low, high = torch.tensor(
        bounds or density.bounds, dtype=x.dtype
    ).tolist()  # a bound may be no number of that precision
    least, most = torch.stack(x.detach().aminmax()).tolist()  # one wait for the device, not four
    if math.isnan(least) or math.isnan(most):
        raise ImageError("images hold a NaN; remove or repair them first.")
    if least < low or most > high:
        scaled = (
            f" (the model's {list(density.bounds)} come from them)"
            if bounds not in (None, density.bounds)
            else ""
        )
        raise ImageError(
            f"images span [{least:.4g}, {most:.4g}], expected [{low:g}, {high:g}]{scaled}; rescale or clamp them."
        )


def check_labels(label: Tensor, num_classes: int) -> None:
    """Refuse labels that name no class of the model.

    Raises:
        ImageError: If ``label`` is not a vector of integers in ``[0, num_classes)``.
    """
    check_tensor(label, "labels")
    if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
        raise ImageError(
            f"labels are {label.dtype} of shape {tuple(label.shape)}, expected a vector of integers."
        )
    if label.numel() and not (int(label.min()) >= 0 and int(label.max()) < num_classes):
        found = f"{int(label.min())} to {int(label.max())}"
        raise ImageError(
            f"labels run from {found}, the model knows classes 0 to {num_classes - 1}."
        )
