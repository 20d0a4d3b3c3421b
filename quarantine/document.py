"""YAML text to typed values, within limits, with the place of every value for messages.

The loader makes plain mappings, sequences and scalars only. Anchors and aliases, custom tags, duplicate keys, deep
nesting and very large documents are refused, so that a hostile file costs neither memory nor surprise.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Protocol, TypeGuard, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

from quarantine.errors import ConfigError, Problem


class _Mark(Protocol):
    """A place in the text, as both of PyYAML's parsers give it; lines and columns count from 0."""

    line: int
    column: int


__all__ = ["MAX_BYTES", "Document", "load_yaml"]

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 200_000

_COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_ODD_ENDS = re.compile("[\x85\u2028\u2029]")
T = TypeVar("T")
Step = str | int
_Fail = Callable[[str, "_Mark | None"], ConfigError]
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Document:
    """A YAML document as plain values, and where each of them stands."""

    __slots__ = ("_marks", "file", "value")

    def __init__(self, file: str, value: object, marks: dict[tuple[Step, ...], tuple[int, int]]) -> None:
        self.file = file
        self.value = value
        self._marks = marks

    def problem(self, path: tuple[Step, ...], message: str) -> Problem:
        """A problem at the value that the path leads to, or at the nearest one above it."""
        while path and path not in self._marks:
            path = path[:-1]
        line, column = self._marks.get(path, (1, 1))
        return Problem(file=self.file, line=line, column=column, message=message)

    def line(self, path: tuple[Step, ...]) -> int:
        """The line of the value that the path leads to."""
        return self.problem(path, "").line or 1

    def to(self, type_: type[T]) -> T:
        """The document as a value of a msgspec type, raising ConfigError with the place of what doesn't fit."""
        try:
            return msgspec.convert(self.value, type_, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(self._problems(type_, self.value, (), error)) from None

    def _problems(
        self, type_: Any, value: object, path: tuple[Step, ...], error: msgspec.ValidationError
    ) -> list[Problem]:
        """Everything that doesn't fit, not only the first: looks into each part by itself."""
        where = "" if not path else f" ({'.'.join(map(str, path))})"
        found = [self.problem((*path, key), message + where) for key, message in _wrong_keys(type_, value)]
        for step, child_type, child in _children(type_, value):
            try:
                msgspec.convert(child, child_type, strict=True)
            except msgspec.ValidationError as inner:
                found += self._problems(child_type, child, (*path, step), inner)
        if not found:
            message = _plain(str(error).partition(" - at `")[0]) + _choices(type_)
            found = [self.problem(path, message + where)]
        return found


def _bare(type_: Any, value: object) -> Any:
    """The type without its annotations and without "or nothing"."""
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if get_origin(type_) in (Union, UnionType) and value is not None:
        options = [option for option in get_args(type_) if option is not NoneType]
        if len(options) == 1:
            return _bare(options[0], value)
    return type_


def _is_struct(type_: Any) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _wrong_keys(type_: Any, value: object) -> Iterator[tuple[str, str]]:
    """The keys of a mapping that are unknown or missing, each with what to say of it."""
    type_ = _bare(type_, value)
    if not _is_struct(type_) or not isinstance(value, dict):
        return
    fields = msgspec.structs.fields(type_)
    known = {field.encode_name for field in fields}
    if type_.__struct_config__.forbid_unknown_fields:
        for key in value:
            if key not in known:
                yield key, f"unknown key {key!a}"
    for field in fields:
        if field.required and field.encode_name not in value:
            yield field.encode_name, f"missing key `{field.encode_name}`"


def _children(type_: Any, value: object) -> Iterator[tuple[Step, Any, object]]:
    """The parts of a value that have types of their own."""
    type_ = _bare(type_, value)
    if _is_struct(type_) and isinstance(value, dict):
        for field in msgspec.structs.fields(type_):
            if field.encode_name in value:
                yield field.encode_name, field.type, value[field.encode_name]
    elif get_origin(type_) in (tuple, list) and isinstance(value, list):
        for index, child in enumerate(value):
            yield index, get_args(type_)[0], child
    elif get_origin(type_) in (dict, Mapping) and isinstance(value, dict):
        for key, child in value.items():
            yield key, get_args(type_)[1], child


def _choices(type_: Any) -> str:
    """What could stand there instead, where that can be listed."""
    type_ = _bare(type_, "")
    if get_origin(type_) is Literal:
        choices = [str(choice) for choice in get_args(type_)]
    elif isinstance(type_, type) and issubclass(type_, Enum):
        choices = [str(member.value) for member in type_]
    else:
        return ""
    return f": expected {' or '.join(filter(None, (', '.join(choices[:-1]), choices[-1])))}"


def load_yaml(file: str, data: bytes) -> Document:
    """The document in `data`, raising ConfigError with line and column for whatever is not plain YAML."""

    def fail(message: str, mark: _Mark | None) -> ConfigError:
        line, column = (None, None) if mark is None else (mark.line + 1, mark.column + 1)
        return ConfigError([Problem(file=file, line=line, column=column, message=message)])

    if len(data) > MAX_BYTES:
        raise fail(f"more than {MAX_BYTES} bytes: expected a file that people write", None)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fail(f"not UTF-8 (byte {error.start}): expected a YAML file", None) from None
    if (odd := _ODD_ENDS.search(text)) is not None:
        line = len(text[: odd.start()].splitlines()) or 1
        name = f"U+{ord(odd[0]):04X}"
        message = f"holds {name}, which some readers of YAML take for the end of a line, and others don't: remove it"
        raise ConfigError([Problem(file=file, line=line, message=message)])
    loader = _Loader(text)
    try:
        _guard_events(text, fail)
        node = loader.get_single_node()
        if node is None:
            raise fail("empty: expected a YAML mapping", None)
        marks: dict[tuple[Step, ...], tuple[int, int]] = {}
        value = _build(loader, node, (), marks, fail)
    except yaml.MarkedYAMLError as error:
        raise fail(f"not YAML: {error.problem or error.context or 'unreadable'}", error.problem_mark) from None
    except (yaml.YAMLError, ValueError) as error:
        raise fail(f"not YAML: {str(error).splitlines()[0]}", None) from None
    except RecursionError:
        raise fail(f"nested deeper than {MAX_DEPTH}", None) from None
    finally:
        loader.dispose()
    return Document(file, value, marks)


def _guard_events(text: str, fail: _Fail) -> None:
    """Walks the flat stream of events, so that depth, size and aliases are bounded before any tree is built."""
    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=_Loader)):
        match event:
            case yaml.AliasEvent():
                raise fail("an alias (*name): write the value out", event.start_mark)
            case yaml.CollectionStartEvent():
                depth += 1
            case yaml.CollectionEndEvent():
                depth -= 1
            case _:
                pass
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            what = f"nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else f"more than {MAX_NODES} values"
            raise fail(what, event.start_mark)


def _build(
    loader: yaml.SafeLoader,
    node: yaml.Node,
    path: tuple[Step, ...],
    marks: dict[tuple[Step, ...], tuple[int, int]],
    fail: _Fail,
) -> object:
    marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTION_TAGS:
        raise fail(f"a tag of its own ({node.tag!a}): expected plain YAML", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise fail("a key that is not text", key_node.start_mark)
            if key in mapping:
                raise fail(f"{key!a} stands twice", key_node.start_mark)
            mapping[key] = _build(loader, value_node, (*path, key), marks, fail)
            marks[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, child, (*path, index), marks, fail) for index, child in enumerate(node.value)]
    try:
        return loader.construct_object(node)
    except ValueError as error:
        # 2027-02-29 looks like a date to YAML and is none
        raise fail(f"{node.value!a} is no value: {error}", node.start_mark) from None


def _plain(message: str) -> str:
    """The library's sentence in the words of somebody who writes YAML."""
    for theirs, ours in (
        ("`object`", "a mapping"),
        ("`array`", "a list"),
        ("`str`", "text"),
        ("`int`", "a whole number"),
    ):
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:]
