"""Hashes of everything that results depend on: values by content, functions and classes by code."""

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
# packages identified by their version
LIBRARIES = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "scipy"}
# module attributes without effect on an audit: it sets evaluation mode, a warning changes no
# output, and the noise generator exists only within a context
BOOKKEEPING = ("training", "_has_warned", "noise_generator")
INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def fingerprint(value: object) -> str:
    """Hash a value and the code that it uses.

    Tensors and arrays are hashed by content, objects by class and attributes. Functions and classes
    are hashed by their code and, recursively, by the functions, classes and constants that this
    code uses from the same package or from the user's files. PyTorch, NumPy, SciPy and Python are
    hashed by their version. A value that cannot be compared, such as an open file, gets a new hash
    each time, so that nothing stale is read.

    >>> from condgen.attacks import CarliniWagner
    >>> attack = fingerprint(CarliniWagner())
    >>> attack == fingerprint(CarliniWagner()) != fingerprint(CarliniWagner(steps=3))
    True
    """
    found = _Fingerprint()
    return _sha256(found.of(value), *found.code())


class _Fingerprint:
    """The fingerprint of one value, and the code found in it."""

    def __init__(self) -> None:
        self.met: dict[int, FunctionType | type] = {}

    def of(self, value: object, above: frozenset[int] = frozenset()) -> str:
        """Hash a value without its code.

        ``above`` holds the ids of the values that contain this one, to detect cycles.
        """
        if id(value) in above:
            return _sha256("itself")
        within = above | {id(value)}
        return _sha256(*self._parts(value, lambda part: self.of(part, within)))

    def code(self) -> list[str]:
        """The hashes of the functions and classes found, and of those that they use."""
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
        """Hash the globals that a function uses; :meth:`code` hashes functions and classes."""
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
            code = _unwrapped(held)
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
        held = {name: _unwrapped(value) for name, value in vars(kind).items()}
        functions = {name: value for name, value in held.items() if isinstance(value, FunctionType)}
        constants = {
            name: value
            for name, value in held.items()
            if name[:2] != "__" and _is_constant(name, value)
        }
        return _sha256(_name(kind), self.of([kind.__bases__, functions, constants]))


def _attributes(module: nn.Module) -> dict[str, object]:
    """The attributes that a module's outputs depend on.

    Hooks are listed without their keys, which count all hooks of the process. The model settings
    are left out: they only describe how the other attributes were built.
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
    except Exception:  # the object's method may raise anything; it cannot be compared
        return [secrets.token_bytes()]
    if isinstance(made, str):
        return [type(value), made]
    return [list(part) if isinstance(part, Iterator) else part for part in made]


def _unwrapped(value: object) -> object:
    """The function inside a property, method or cache; other values unchanged."""
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
    """Whether a global is a constant: a number, string, tensor, array or network.

    A private name such as ``_count`` is taken for program state.
    """
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
    """The names that a function's code and its nested code look up."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _name(value: FunctionType | type) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _package(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_own(module: str | None) -> bool:
    """Whether a module is a file of the user, not an installed package."""
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
