"""Dataclasses as plain dicts, lists and numbers, and back again with every type checked; and JSON files of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar


class PlainError(ValueError):
    """Plain data is not what a dataclass was made into; the message says where."""


def write_json(path: Path, plain: Any) -> None:
    """Write JSON so that no reader, and no crash, ever leaves half of it at `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1, ensure_ascii=False, allow_nan=False)
            file.write("\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def known(value: float) -> float | None:
    """`value`, None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def to_plain(value: Any) -> Any:
    """A dataclass as dicts, lists and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


_T = TypeVar("_T")


def from_plain(kind: type[_T], data: Any, place: str = "") -> _T:
    """The `kind` that `to_plain` made `data` of; unknown keys are left out.

    Raises:
        PlainError: a key is missing or of another type; says where.
    """
    return typing.cast(_T, _decode(kind, data, place))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode(kind: Any, data: Any, place: str) -> Any:
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _decode(inside[0], data, place)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise PlainError(f"{place}: expected a list, got {data!r}")
        kinds = inside[:1] * len(data) if inside[-1] is Ellipsis else inside
        if len(kinds) != len(data):
            raise PlainError(f"{place}: expected {len(kinds)} values, got {len(data)}")
        return tuple(
            _decode(each, item, f"{place}[{i}]") for i, (each, item) in enumerate(zip(kinds, data, strict=True))
        )
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, Mapping):
            raise PlainError(f"{place}: expected an object, got {data!r}")
        make: Any = kind  # mypy takes it for an instance
        hints = _hints(make)
        missing = [field.name for field in dataclasses.fields(kind) if field.name not in data]
        if missing:
            raise PlainError(f"{place or 'top level'}: {', '.join(missing)} missing")
        return make(**{name: _decode(hints[name], data[name], f"{place}.{name}".lstrip(".")) for name in hints})
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise PlainError(f"{place}: expected {kind.__name__}, got {data!r}")
    return data
