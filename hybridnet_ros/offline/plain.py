"""Dataclasses as plain dicts, lists and numbers, and back again with every type checked; and JSON files of them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Callable, Mapping
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
    if isinstance(value, (float, int, str)) or value is None:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return [to_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


_T = TypeVar("_T")
_Reader = Callable[[Any, str], Any]
"""Turns plain data into a value; the text says where the data is."""


def from_plain(kind: type[_T], data: Any, place: str = "") -> _T:
    """The `kind` that `to_plain` made `data` of; unknown keys are left out, fields with a default may be missing.

    Raises:
        PlainError: a key is missing or of another type; says where.
    """
    return typing.cast(_T, _reader(typing.cast(Any, kind))(data, place))


@cache
def _reader(kind: Any) -> _Reader:
    """Made once for each type: an evaluation has a hundred numbers a frame."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _optional(_reader(inside[0]))
    if origin is tuple:
        every = inside[-1] is Ellipsis
        return _tuple(_reader(inside[0]) if every else None, [] if every else [_reader(each) for each in inside])
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        every_field = dataclasses.fields(kind)
        needed = {field.name for field in every_field if field.default is dataclasses.MISSING}
        return _object(kind, {field.name: _reader(hints[field.name]) for field in every_field}, needed)
    return _scalar(kind)


def _optional(inside: _Reader) -> _Reader:
    return lambda data, place: None if data is None else inside(data, place)


def _tuple(every: _Reader | None, each: list[_Reader]) -> _Reader:
    def read(data: Any, place: str) -> tuple[Any, ...]:
        if not isinstance(data, (list, tuple)):
            raise PlainError(f"{place}: expected a list, got {data!r}")
        readers = [every] * len(data) if every is not None else each
        if len(readers) != len(data):
            raise PlainError(f"{place}: expected {len(readers)} values, got {len(data)}")
        return tuple([reader(item, place) for reader, item in zip(readers, data, strict=True)])

    return read


def _object(kind: Any, readers: dict[str, _Reader], needed: set[str]) -> _Reader:
    def read(data: Any, place: str) -> Any:
        if not isinstance(data, Mapping):
            raise PlainError(f"{place}: expected an object, got {data!r}")
        if missing := [name for name in readers if name in needed and name not in data]:
            raise PlainError(f"{place or 'top level'}: {', '.join(missing)} missing")
        start = f"{place}." if place else ""
        return kind(**{name: reader(data[name], start + name) for name, reader in readers.items() if name in data})

    return read


def _scalar(kind: type) -> _Reader:
    def read(data: Any, place: str) -> Any:
        if type(data) is kind:
            return data
        if kind is float and type(data) is int:
            return float(data)
        raise PlainError(f"{place}: expected {kind.__name__}, got {data!r}")

    return read
