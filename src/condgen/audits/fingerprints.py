"""Hashes of what results depend on: values by content, functions and classes by code."""

import functools
import hashlib
import secrets
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from condgen.config import ModelSettings

PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
LIBRARIES = frozenset(sys.stdlib_module_names) | {
    "torch",
    "numpy",
    "scipy",
}  # known by their version
# of modules: evaluation mode is the audit's own, a warning changes no answer, and a generator of noise is there within a
# context only
BOOKKEEPING = ("training", "_has_warned", "noise_generator")
INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def fingerprint(value: object) -> str:
    """A hash of what a value is made of.

    Tensors and arrays count by content, objects by class and attributes. Functions and classes count by their code, with the
    functions, classes and constants of the same package or of the user's own files that this code uses, in turn; PyTorch,
    NumPy, SciPy and Python count by their version. What cannot be compared, such as an open file, is unlike itself the next
    time, so that nothing stale is read.

    >>> from condgen.attacks import CarliniWagner
    >>> fingerprint(CarliniWagner()) == fingerprint(CarliniWagner()) != fingerprint(CarliniWagner(steps=3))
    True
    """
    found = _Fingerprint()
    return _sha256(found.of(value), *found.code())


class _Fingerprint:
    """One value, and all code that it meets."""

    def __init__(self) -> None:
        self.met: dict[int, FunctionType | type] = {}

    def of(self, value: object, above: frozenset[int] = frozenset()) -> str:
        """The hash of a value without code; ``above`` are the values that this one is a part of, which may be a part of it."""
        if id(value) in above:
            return _sha256("itself")
        within = above | {id(value)}
        return _sha256(*self._parts(value, lambda part: self.of(part, within)))

    def code(self) -> list[str]:
        """The hashes of the functions and classes that were met, and of those that they use."""
        done: dict[int, FunctionType | type] = {}
        hashes = set()
        while self.met:
            key, value = self.met.popitem()
            if key not in done:
                done[key] = value
                hashes.add(
                    self._of_function(value)
                    if isinstance(value, FunctionType)
                    else self._of_class(value)
                )
        return sorted(hashes)

    def _parts(self, value: Any, part: Callable[[object], str]) -> list[str | bytes]:
        match value:
            case Tensor():
                dense = (
                    (value.to_dense() if value.layout != torch.strided else value)
                    .detach()
                    .cpu()
                    .contiguous()
                )
                return [
                    str(dense.shape),
                    str(dense.dtype),
                    dense.flatten().view(torch.uint8).numpy().tobytes(),
                ]
            case np.ndarray() if not value.dtype.hasobject:
                return [str(value.shape), str(value.dtype), value.tobytes()]
            case list() | tuple():
                return ["sequence", *map(part, value)]
            case set() | frozenset():
                return ["set", *sorted(map(part, value))]
            case dict():
                return ["dict", *sorted(part(item) for item in value.items())]
            case FunctionType():
                self.met[id(value)] = value
                return [
                    _name(value),
                    part([value.__defaults__, value.__kwdefaults__, list(_closure(value))]),
                ]
            case MethodType() | BuiltinFunctionType():
                return [
                    value.__name__,
                    part(value.__self__),
                    part(getattr(value, "__func__", None)),
                ]
            case ModuleType():
                return ["module", value.__name__]
            case type():
                self.met[id(value)] = value
                return ["class", _name(value)]
            case nn.Module():
                return [part(type(value)), part(_attributes(value))]
            case _ if isinstance(value, PLAIN):
                return [type(value).__name__, repr(value)]
            case _:
                return ["object", *map(part, _reduced(value))]

    def _of_function(self, function: FunctionType) -> str:
        if _package(function.__module__) in LIBRARIES:
            return _sha256(_name(function), _version(function.__module__))
        return _sha256(_name(function), *self._of_code(function.__code__), *self._used(function))

    def _of_code(self, code: CodeType) -> list[str | bytes]:
        inner = [
            _sha256(*self._of_code(held)) for held in code.co_consts if isinstance(held, CodeType)
        ]
        return [
            code.co_code,
            repr(code.co_names),
            *inner,
            *(self.of(c) for c in code.co_consts if not isinstance(c, CodeType)),
        ]

    def _used(self, function: FunctionType) -> Iterator[str]:
        """The constants of a function's module that it uses; functions and classes are met."""
        names = set(_names(function.__code__))
        used = {name: function.__globals__[name] for name in names if name in function.__globals__}
        for module in [
            held
            for held in used.values()
            if isinstance(held, ModuleType) and _is_own(held.__name__)
        ]:
            used |= {
                f"{module.__name__}.{name}": vars(module)[name]
                for name in names
                if name in vars(module)
            }
        for name, held in sorted(used.items()):
            code = _behind(held)
            if isinstance(code, FunctionType | type):
                if _is_own(code.__module__) or _package(code.__module__) == _package(
                    function.__module__
                ):
                    yield f"{name} {self.of(code)}"
            elif _is_constant(name, held):
                yield f"{name} {self.of(held)}"

    def _of_class(self, kind: type) -> str:
        if _package(kind.__module__) in LIBRARIES:
            return _sha256(_name(kind), _version(kind.__module__))
        held = {name: _behind(value) for name, value in vars(kind).items()}
        functions = {name: value for name, value in held.items() if isinstance(value, FunctionType)}
        constants = {
            name: value
            for name, value in held.items()
            if name[:2] != "__" and _is_constant(name, value)
        }
        return _sha256(_name(kind), self.of([kind.__bases__, functions, constants]))


def _attributes(module: nn.Module) -> dict[str, object]:
    """The attributes that a module's answers depend on; hooks without their keys, which number all hooks of the process.

    The settings of a family are what built the rest.
    """
    own = vars(module).items()
    held = {
        name: kept
        for name, kept in own
        if name not in BOOKKEEPING and not isinstance(kept, ModelSettings)
    }
    hooks = {
        name: list(kept.values())
        for name, kept in held.items()
        if name.endswith("_hooks") and isinstance(kept, dict)
    }
    return held | hooks


def _reduced(value: object) -> list[object]:
    """The parts from which :mod:`copy` and :mod:`pickle` would rebuild the object."""
    try:
        made = value.__reduce_ex__(2)
    except Exception:  # whatever an object's own method raises: it cannot be compared
        return [secrets.token_bytes()]
    if isinstance(made, str):
        return [type(value), made]
    return [list(part) if isinstance(part, Iterator) else part for part in made]


def _behind(value: object) -> object:
    """The function of a property or method of a class, or of a cache."""
    match value:
        case staticmethod() | classmethod():
            return value.__func__
        case property():
            return value.fget
        case functools.cached_property():
            return value.func
        case _:
            return (
                value
                if isinstance(value, FunctionType | type)
                else getattr(value, "__wrapped__", value)
            )


def _is_constant(name: str, value: object) -> bool:
    """Numbers, texts, tensors and networks; a name such as ``_count`` is taken for the state of a program."""
    private = name.rpartition(".")[2].startswith("_") and not name.isupper()
    return not private and (isinstance(value, Tensor | np.ndarray | nn.Module) or _is_plain(value))


def _is_plain(value: object) -> bool:
    match value:
        case list() | tuple() | set() | frozenset():
            return all(map(_is_plain, value))
        case dict():
            return all(map(_is_plain, (*value.keys(), *value.values())))
        case _:
            return isinstance(value, PLAIN)


def _closure(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            yield None


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function's code and the code within it look up."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _name(value: FunctionType | type) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_own(module: str | None) -> bool:
    """Whether a module belongs to the user and is not installed."""
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return _package(module) not in LIBRARIES and not (
        file and any(map(Path(file).is_relative_to, INSTALLED))
    )


def _version(module: str) -> str:
    return str(getattr(sys.modules.get(_package(module)), "__version__", sys.version_info[:2]))


def _sha256(*parts: str | bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(f"{len(raw)} ".encode())
        found.update(raw)
    return found.hexdigest()
