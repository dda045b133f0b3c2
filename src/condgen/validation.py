"""Checks on what users pass in; each is made once, at the public door."""

import math
from numbers import Integral

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
        raise CondgenError(f"the model is a {name}; make it a subclass of condgen.ClassConditionalDensity.")
    classes, shape = (getattr(density, key, None) for key in ("num_classes", "event_shape"))
    if not _counts(classes):
        raise CondgenError(f"{name}.num_classes is {classes!r}, expected a whole number from 1 on; set it in the class.")
    if not isinstance(shape, tuple) or not all(map(_counts, shape)):
        raise CondgenError(f"{name}.event_shape is {shape!r}, expected a tuple such as (1, 28, 28); set it in the class.")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no number of things.

    Raises:
        CondgenError: If it is no whole number from ``least`` on.
    """
    if not _counts(value, least):
        raise CondgenError(f"{name} is {value!r}, expected a whole number from {least} on.")


def _counts(value: object, least: int = 1) -> bool:
    return isinstance(value, Integral) and int(value) >= least  # NumPy's whole numbers too


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


def check_tensor(value: object, name: str) -> None:
    """Refuse arrays and lists, which only look as if they would do.

    Raises:
        ImageError: Naming what to write.
    """
    if not isinstance(value, Tensor):
        raise ImageError(f"{name}: found a {type(value).__name__}, expected a tensor; torch.as_tensor({name}) makes one.")


def check_images(x: Tensor, density: ClassConditionalDensity) -> None:
    """Refuse what no model should be asked about.

    Raises:
        ImageError: If ``x`` is no tensor, is not floating point, has another shape than the model, holds a NaN, or leaves
            ``bounds``.
    """
    check_tensor(x, "images")
    if not x.is_floating_point():
        advice = f"divide stored values by {density.pixel_levels - 1}" if density.pixel_levels else "convert them"
        raise ImageError(f"images are {x.dtype}, expected floating point; {advice}.")
    if x.shape[1:] != density.event_shape or x.ndim != 1 + len(density.event_shape):
        expected = ", ".join(map(str, ("N", *density.event_shape)))
        raise ImageError(f"images have shape {tuple(x.shape)}, the model expects ({expected}).")
    if x.numel() == 0:
        return
    low, high = torch.tensor(density.bounds, dtype=x.dtype).tolist()  # a bound may be no number of that precision
    least, most = torch.stack(x.detach().aminmax()).tolist()  # one wait for the device, not four
    if math.isnan(least) or math.isnan(most):
        raise ImageError("images hold a NaN; remove or repair them first.")
    if least < low or most > high:
        found = f"[{least:.4g}, {most:.4g}]"
        raise ImageError(f"images span {found}, expected [{low:g}, {high:g}]; rescale or clamp them.")


def check_labels(label: Tensor, num_classes: int) -> None:
    """Refuse labels that name no class of the model.

    Raises:
        ImageError: If ``label`` is not a vector of integers in ``[0, num_classes)``.
    """
    check_tensor(label, "labels")
    if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
        raise ImageError(f"labels are {label.dtype} of shape {tuple(label.shape)}, expected a vector of integers.")
    if label.numel() and not (int(label.min()) >= 0 and int(label.max()) < num_classes):
        found = f"{int(label.min())} to {int(label.max())}"
        raise ImageError(f"labels run from {found}, the model knows classes 0 to {num_classes - 1}.")
