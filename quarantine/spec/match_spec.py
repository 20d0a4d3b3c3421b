"""Conda's MatchSpec: which package, of which channel, in which versions and builds.

The solver's own parser takes nearly everything ("bad spec!!" is the build "!!" of version "spec"), so that every spec is
validated here first, by conda's grammar. What conda and the solver read differently is refused with the way out.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from quarantine.model import Digest, Location, MatchSpec, Reference, ReferenceKind
from quarantine.spec.conda_version import (
    check_build,
    check_version,
    parse_version_and_build,
    parse_version_expression,
)
from quarantine.spec.redact import redact
from quarantine.spec.text import only_ascii, quote

__all__ = ["channel_name", "hide_token", "parse_match_spec"]

MAX_SPEC = 1024
MAX_CHANNEL = 512
_PACKAGES = (".conda", ".tar.bz2")
_SUBDIRS = frozenset(
    {
        "noarch", "emscripten-wasm32", "freebsd-64", "linux-32", "linux-64", "linux-aarch64", "linux-armv6l",
        "linux-armv7l", "linux-ppc64", "linux-ppc64le", "linux-riscv32", "linux-riscv64", "linux-s390x", "osx-64",
        "osx-arm64", "wasi-wasm32", "win-32", "win-64", "win-arm64", "zos-z",
    }
)  # fmt: skip
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_CHANNEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+-]*://[A-Za-z0-9._~:/?@!$&()*+,;=%-]+")
_PATH = re.compile(r"(?:~|\.{1,2})?[/\\][^\"'\[\]]*|[A-Za-z]:[/\\][^\"'\[\]]*|\.{1,2}")
# conda takes what stands behind "/t/" for a token, wherever it stands in the URL
_TOKEN = re.compile(r"(/t/)[^/\s]+")
_END_OF_NAME = re.compile(r"[ =<>!~]")
_PAIR = re.compile(r"""([A-Za-z0-9_-]+)=(?:'([^'"]*)'|"([^'"]*)"|([^'", ]+))(?:[, ] *|$)""")
_EXTRAS = re.compile(r"[A-Za-z0-9._-]+(?: *, *[A-Za-z0-9._-]+)*")
_MD5 = re.compile(r"[0-9a-f]{32}")
_READ = frozenset({"version", "build", "build_string", "channel", "subdir", "sha256", "md5"})
_ONLY_CONDA = {
    "build_number": "name the whole build instead",
    "url": "write the URL itself in place of the spec",
    "fn": "name version and build instead",
    "name": "the name stands before the brackets",
    "track_features": "name the package that has them",
    "features": "name the package that has them",
    "license": "a license selects no package",
    "license_family": "a license selects no package",
}


def parse_match_spec(text: str, location: Location) -> MatchSpec:
    """The package that a spec of conda asks for, raising ValueError that says what is wrong with it.

    Every form of conda: `name`, `name=1.2`, `name 1.2 build`, `name >=1.2,<2`, `channel/subdir::name[key=value]`, and
    the URL or path of a package file, which becomes a `reference`.
    """
    spec = text.strip(" ")
    _check_characters(spec)
    _check_not_pip(spec)
    if spec.partition("#")[0].rstrip(" ").partition("?")[0].lower().endswith(_PACKAGES):
        return _package_file(spec, location)
    _check_not_more(spec)
    bare, keys = _split_brackets(spec)
    prefix, colons, bare = bare.rpartition("::")
    place, subdir = _split_channel(prefix) if colons else (None, None)
    end = _END_OF_NAME.search(bare)
    name, rest = _name(bare if end is None else bare[: end.start()]), "" if end is None else bare[end.start() :]
    _refuse_twice(keys, version=bool(rest), channel=bool(colons), subdir=subdir is not None)
    if "channel" in keys:
        place, of_channel = _split_channel(keys["channel"])
        _refuse_twice(keys, subdir=of_channel is not None)
        subdir = subdir or of_channel
    version, build = parse_version_and_build(rest) if rest else ("", "")
    if "version" in keys:
        version = parse_version_expression(keys["version"])
    if "build" in keys or "build_string" in keys:
        if build or {"build", "build_string"} <= keys.keys():
            raise ValueError("two builds: name one")
        build = check_build(keys.get("build") or keys.get("build_string") or "")
    return MatchSpec(
        name=name,
        version=version,
        build=build,
        channel=place,
        subdir=subdir if "subdir" not in keys else _subdir(keys["subdir"]),
        sha256=Digest.sha256(keys["sha256"]) if "sha256" in keys else None,
        md5=_md5(keys["md5"]) if "md5" in keys else "",
        location=location,
    )


def channel_name(text: str) -> str:
    """A channel as a file names it, without credentials, raising ValueError for what names none.

    A name ("conda-forge", "nvidia/label/cuda-12.1"), a URL, or a path; a slash at the end of a URL is left out.
    """
    bare = text.strip(" ")
    if not bare:
        raise ValueError("an empty channel: expected a name or a URL")
    if len(bare) > MAX_CHANNEL:
        raise ValueError(f"a channel of {len(bare)} characters: at most {MAX_CHANNEL} are read")
    if not bare.isascii() or not bare.isprintable():
        only_ascii(bare)
        raise ValueError(f"{_quote(bare)} holds a character that can't be seen: a channel is a name or a URL")
    if "://" in bare:
        if _URL.fullmatch(bare) is None:
            raise ValueError(f"{_quote(bare)} is not a URL: expected one like https://host/channel")
        return hide_token(redact(bare)).rstrip("/")
    if not _CHANNEL.fullmatch(bare) and not _PATH.fullmatch(bare):
        raise ValueError(f"{_quote(bare)} is not a channel: expected a name like conda-forge, or a URL")
    return hide_token(bare)


def hide_token(url: str) -> str:
    """A channel or URL without the token that conda takes in its path (`/t/TOKEN/`)."""
    return _TOKEN.sub(r"\1***", url) if "/t/" in url else url


# --- parts ------------------------------------------------------------------------------------------------------------


def _check_characters(spec: str) -> None:
    if not spec:
        raise ValueError("an empty spec: expected the name of a package")
    if len(spec) > MAX_SPEC:
        raise ValueError(f"a spec of {len(spec)} characters: at most {MAX_SPEC} are read")
    only_ascii(spec)
    if not spec.isprintable():
        strange = next(character for character in spec if not character.isprintable())
        raise ValueError(f"{_quote(spec)} holds U+{ord(strange):04X}: only visible characters and blanks may be used")


def _check_not_pip(spec: str) -> None:
    """Nothing, raising ValueError for what is pip's."""
    if spec.startswith(("-", "git+", "hg+", "svn+", "bzr+")) or re.match(r"[\w.-]+(?:\[[^\]]*\])? *@ ", spec):
        raise ValueError(f"{_quote(spec)} is pip's, not conda's: move it below `pip:`")


def _check_not_more(spec: str) -> None:
    """Nothing, raising ValueError for what conda drops or knows beside specs."""
    if "#" in spec:
        raise ValueError(
            f"{_quote(spec)} holds a '#', where conda takes a comment to begin: write it behind the quotes"
        )
    if spec.endswith("@"):
        raise ValueError(f"{_quote(spec)} asks for a feature, not for a package: name the package that has it")
    if ";" in spec:
        raise ValueError(
            f"{_quote(spec)} holds a ';': conditions are pip's, conda has none; move it below `pip:`, or write a file for "
            "each platform"
        )
    bare = spec.partition("[")[0]
    if "::" not in spec and ("://" in bare or bare.startswith(("/", "./", "../", "~/"))):
        raise ValueError(
            f"{_quote(spec)} is not the file of a conda package: expected one that ends in {_or(_PACKAGES)}"
        )
    if re.search(r" if ", spec):
        raise ValueError(f"{_quote(spec)} has a condition, which conda drops: write a file for each platform")


def _split_brackets(spec: str) -> tuple[str, Mapping[str, str]]:
    """What stands before the brackets at the end, and the keys inside them."""
    before, bracket, inside = spec.partition("[")
    if not bracket:
        return spec, {}
    if not inside.endswith("]") or "[" in inside:
        if _EXTRAS.fullmatch(inside.partition("]")[0]):
            raise ValueError(_extras(spec))
        raise ValueError(f"{_quote(spec)}: brackets stand at the end, once, as in numpy[version='>=1.8',build=py38_0]")
    inside = inside[:-1].strip(" ")
    if _EXTRAS.fullmatch(inside):
        raise ValueError(_extras(spec))
    keys: dict[str, str] = {}
    place = 0
    while place < len(inside):
        found = _PAIR.match(inside, place)
        if found is None:
            raise ValueError(
                f"{_quote(inside[place:])} in the brackets: expected KEY=VALUE, with quotes around a value that holds ',' "
                "or a blank"
            )
        key, value = found[1].lower(), found[2] or found[3] or found[4] or ""
        _check_key(key, value, keys)
        keys[key] = value.strip(" ")
        place = found.end()
    if not keys:
        raise ValueError(f"{_quote(spec)}: nothing stands in the brackets")
    return before.rstrip(" "), keys


def _check_key(key: str, value: str, keys: Mapping[str, str]) -> None:
    if key in keys:
        raise ValueError(f"{quote(key)} stands twice in the brackets")
    if key in _ONLY_CONDA:
        raise ValueError(f"{quote(key)} in the brackets is not read: {_ONLY_CONDA[key]}")
    if key not in _READ:
        raise ValueError(f"unknown key {quote(key)} in the brackets: expected one of {', '.join(sorted(_READ))}")
    if not value.strip(" "):
        raise ValueError(f"{quote(key)} in the brackets is empty")


def _extras(spec: str) -> str:
    return f"{_quote(spec)} has extras, which are pip's: move it below `pip:`, or name the conda packages that it means"


def _refuse_twice(keys: Mapping[str, str], **said: bool) -> None:
    """Nothing, raising ValueError where the brackets say once more what stands outside; conda takes theirs silently."""
    for key, is_said in said.items():
        if is_said and key in keys:
            raise ValueError(f"two {key}s, one of them in the brackets: write one")


def _name(text: str) -> str:
    """The name in lower case, as conda has it."""
    name = text.strip(" ").lower()
    if not name:
        raise ValueError("no name: expected the name of a package before the version")
    if "*" in name:
        raise ValueError(f"{quote(text)} is a pattern: name the package itself")
    if not _NAME.fullmatch(name):
        if name[0] in "\"'":
            raise ValueError(f"{_quote(text)} begins with a quote: write the spec without quotes inside of it")
        raise ValueError(
            f"{_quote(text)} is not the name of a package: only letters, digits, '.', '-' and '_' may be used"
        )
    return name


def _split_channel(text: str) -> tuple[str, str | None]:
    """The channel that stands before `::`, and the subdir behind its last slash, where it is one."""
    channel, _, last = text.strip(" ").rpartition("/")
    channel, subdir = (channel, last) if channel and last in _SUBDIRS else (text, None)
    name = channel_name(channel)
    if channel.strip(" ").rstrip("/") != name.rstrip("/"):
        raise ValueError(f"{quote(name)} carries a login: remove it, and let conda find it where it keeps logins")
    return name, subdir


def _subdir(text: str) -> str:
    if text not in _SUBDIRS:
        raise ValueError(f"{quote(text)} is not a platform of conda: expected one like linux-64 or noarch")
    return text


def _md5(text: str) -> str:
    if not _MD5.fullmatch(text.lower()):
        raise ValueError(f"{quote(text)} is not an md5: 32 hexadecimal digits expected")
    return text.lower()


def _package_file(spec: str, location: Location) -> MatchSpec:
    """The reference to a package file, whose name says name, version and build; a digest may stand behind `#`."""
    place, _, fragment = spec.partition("#")
    place = place.rstrip(" ")
    filename = unquote(place.partition("?")[0].replace("\\", "/").rpartition("/")[2])
    stem = filename[: -next(len(suffix) for suffix in _PACKAGES if filename.lower().endswith(suffix))]
    parts = stem.rsplit("-", 2)
    if len(parts) != 3 or not filename.isascii() or "*" in filename:
        raise ValueError(f"{_quote(filename)} is not the name of a package file: expected NAME-VERSION-BUILD.conda")
    name, version, build = parts
    digest = fragment.lower().removeprefix("sha256:")
    kind = ReferenceKind.URL if "://" in place and not place.lower().startswith("file:") else ReferenceKind.PATH
    return MatchSpec(
        name=_name(name),
        version=f"=={check_version(version)}",
        build=check_build(build),
        sha256=Digest.sha256(digest) if len(digest) == 64 else None,
        md5=digest if _MD5.fullmatch(digest) else "",
        reference=Reference(kind=kind, text=hide_token(redact(place))),
        location=location,
    )


def _quote(text: str) -> str:
    return quote(hide_token(text))


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)
