"""Tables of pyproject.toml by which tools take packages from elsewhere, or take more than the standard tables name.

What is known to change nothing is left out; every other key of such a table is told, so that a new setting of a tool is
judged before it is trusted.
"""

from collections.abc import Iterator, Mapping

from quarantine.model import Directive, Location, Unverifiable
from quarantine.spec.redact import names_a_secret, redact
from quarantine.spec.toml import Toml

__all__ = ["origins"]

_MAX_TEXT = 200
_READ_ELSEWHERE = frozenset({"dev-dependencies", "constraint-dependencies", "workspace"})
_UV_HARMLESS = frozenset(
    {
        "add-bounds", "audit", "build-backend", "cache-dir", "cache-keys", "check-url", "compile-bytecode",
        "concurrent-builds", "concurrent-downloads", "concurrent-installs", "conflicts", "default-groups",
        "dependency-groups", "environments", "exclude-newer", "exclude-newer-package", "fork-strategy", "link-mode",
        "managed", "no-build", "no-build-package", "no-cache", "no-progress", "offline", "package", "preview",
        "publish-url", "python-downloads", "python-preference", "reinstall", "reinstall-package",
        "required-environments", "required-version", "trusted-publishing",
    }
)  # fmt: skip
_POETRY_ORIGINS = frozenset({"source", "git", "url", "path", "file"})
# tables that their own tool installs from, beside the standard ones
_ONLY_THEIR_TOOL = (
    ("poetry", "group"),
    ("poetry", "dev-dependencies"),
    ("pdm", "dev-dependencies"),
    ("pixi", "dependencies"),
    ("pixi", "pypi-dependencies"),
    ("pixi", "feature"),
    ("conda-lock",),
)


def origins(document: Toml) -> tuple[tuple[Directive, ...], tuple[Unverifiable, ...]]:
    """What the `tool` tables change about where packages come from, and what they install unseen by pip and uv."""
    tool = _table(document.value.get("tool"))
    directives = tuple(
        Directive(option=".".join(("tool", *path)), text=_text(value), location=_location(document, *path))
        for path, value in (*_uv(_table(tool.get("uv"))), *_others(tool))
    )
    unverifiable = tuple(
        Unverifiable(
            location=_location(document, *path),
            what=f"[tool.{'.'.join(path)}]",
            why=f"{path[0]} alone installs what stands there; pip and uv do not read it",
        )
        for path in _ONLY_THEIR_TOOL
        if _at(tool, path) and "project" in document.value
    )
    if _at(tool, ("uv", "workspace")):
        why = "its members have dependencies of their own: check uv.lock, which covers them all"
        place = _location(document, "uv", "workspace")
        unverifiable = (*unverifiable, Unverifiable(location=place, what="[tool.uv.workspace]", why=why))
    return directives, unverifiable


def _uv(table: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if key in _UV_HARMLESS or key in _READ_ELSEWHERE:
            continue
        if key == "sources" and isinstance(value, dict):
            for name, source in value.items():
                yield ("uv", "sources"), {name: source}
        elif key == "index" and isinstance(value, list):
            for index in value:
                yield ("uv", "index"), index
        elif key == "pip" and isinstance(value, dict):
            for option, setting in value.items():
                yield ("uv", "pip", option), setting
        else:
            yield ("uv", key), value


def _others(tool: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], object]]:
    for path in (("pip",), ("poetry", "source"), ("pdm", "source"), ("pdm", "resolution")):
        value = _at(tool, path)
        if value:
            yield path, value
    dependencies = _table(_at(tool, ("poetry", "dependencies")))
    for name, value in dependencies.items():
        if isinstance(value, dict) and not _POETRY_ORIGINS.isdisjoint(value):
            yield ("poetry", "dependencies"), {name: value}


def _at(tool: Mapping[str, object], path: tuple[str, ...]) -> object:
    value: object = tool
    for key in path:
        value = _table(value).get(key)
    return value


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _location(document: Toml, *path: str) -> Location:
    return Location(file=document.file, line=document.line("tool", *path))


def _text(value: object) -> str:
    """A value as one line, without credentials and not longer than anybody reads."""
    text = "".join(_pieces(value, 8))
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _pieces(value: object, depth: int) -> Iterator[str]:
    match value:
        case dict() if depth:
            for place, (key, inner) in enumerate(value.items()):
                yield f"{', ' if place else ''}{key} = "
                yield from ("***",) if names_a_secret(key) else _pieces(inner, depth - 1)
        case list() if depth:
            for place, inner in enumerate(value):
                yield ", " if place else ""
                yield from _pieces(inner, depth - 1)
        case str():
            yield redact(value)
        case bool():
            yield str(value).lower()
        case _:
            yield str(value) if depth else "..."
