"""Dataclasses as JSON objects: written by their fields, read back with patience for damage and for other versions."""

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
_WRONG: Any = object()
"""Stands for a value that does not have the type of its field."""


def to_json(record: Any) -> dict[str, object]:
    """The fields of a dataclass by their names. One that is None is left out if None is its default."""
    return {
        field.name: _plain(value)
        for field in fields(record)
        if (value := getattr(record, field.name)) is not None or field.default is MISSING
    }


def from_json(kind: type[Record], raw: object, strictly: bool = False) -> Record:
    """A dataclass from what JSON holds. Keys that it does not have are ignored.

    A value that is missing or of a wrong type becomes the field's default; without a default None where that is
    allowed, else the empty value of its type. strictly: raise ValueError instead.
    """
    given = raw if isinstance(raw, dict) else {}
    values = {}
    for name, read, default in _fields(kind):  # type: ignore[arg-type]
        value = read(given[name]) if name in given else _WRONG
        is_left_out = name not in given and default() is None  # as `to_json` leaves it out
        if value is _WRONG and strictly and not is_left_out:
            raise ValueError(f"{name} is missing, or of a wrong type")
        values[name] = default() if value is _WRONG else value
    return kind(**values)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return {key: _plain(each) for key, each in value.items()} if isinstance(value, dict) else value


@cache
def _fields(kind: Any) -> tuple[tuple[str, Callable[[object], Any], Callable[[], Any]], ...]:
    """(name, how to read its value, how to make its default) of each field."""
    hints = get_type_hints(kind)
    return tuple((field.name, _reader(hints[field.name]), _default(field, hints[field.name])) for field in fields(kind))


def _default(field: Any, hint: Any) -> Callable[[], Any]:
    if field.default_factory is not MISSING:
        return field.default_factory  # type: ignore[no-any-return]
    if field.default is not MISSING or type(None) in get_args(hint):
        return lambda: None if field.default is MISSING else field.default
    if is_dataclass(hint):
        return lambda: from_json(hint, {})  # type: ignore[arg-type]
    if get_origin(hint) is Literal:
        return lambda: get_args(hint)[0]
    empty: Callable[[], Any] = get_origin(hint) or hint  # int, str, tuple ...
    return empty


def _reader(hint: Any) -> Callable[[object], Any]:
    """A function that returns a value of this type as it is to be kept, or _WRONG."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return lambda value: value
    if hint is int:
        return _whole_number
    if hint is float:
        return lambda value: value if isinstance(value, int | float) and not isinstance(value, bool) else _WRONG
    if origin is Literal:
        return lambda value: value if isinstance(value, str) and value in args else _WRONG
    if origin in (Union, types.UnionType):
        return _first_of([_reader(arg) for arg in args])
    if origin in (tuple, list):
        read, length = _reader(args[0]), None if origin is list or args[-1] is ... else len(args)
        return lambda value: _items(read, origin, length, value) if isinstance(value, list | tuple) else _WRONG
    if origin in (dict, Mapping):
        read = _reader(args[1])
        return lambda value: _entries(read, value) if isinstance(value, dict) else _WRONG
    if is_dataclass(hint):
        return lambda value: from_json(hint, value) if isinstance(value, dict) else _WRONG  # type: ignore[arg-type]
    return lambda value: value if isinstance(value, hint) else _WRONG


def _whole_number(value: object) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _WRONG


def _first_of(readers: list[Callable[[object], Any]]) -> Callable[[object], Any]:
    return lambda value: next((found for read in readers if (found := read(value)) is not _WRONG), _WRONG)


def _items(read: Callable[[object], Any], kind: type[Any], length: int | None, value: Iterable[object]) -> Any:
    """The items that have their type, as a tuple or list; _WRONG if these are not as many as `length`."""
    items = kind(item for each in value if (item := read(each)) is not _WRONG)
    return items if length in (None, len(items)) else _WRONG


def _entries(read: Callable[[object], Any], value: dict[str, object]) -> dict[str, Any]:
    return {key: entry for key, each in value.items() if (entry := read(each)) is not _WRONG}
