"""The commands that install nothing, and those that only run others: what is in neither list is not known.

A command is harmless here when its arguments can't make it fetch a package, run a program or write a file: so `sed`,
`awk`, `tar`, `xargs` and `git` are not, which all can. Of those that could by some option, others alone are known.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from quarantine.spec.shell_words import Field

__all__ = [
    "BUILTINS", "HARMLESS", "INSTALLERS", "environment_effect", "harmless", "name_of", "of_one_word", "unwrapped", "why_unread",
]  # fmt: skip

HARMLESS = frozenset(
    """
    : [ addgroup adduser basename cat cd chgrp chmod chown cmp chpasswd chsh cp cut date df diff dirname du echo egrep exit
    export false fgrep free getent grep groupadd groupdel groupmod groups head hostname id ln
    locale locale-gen logout ls lsb_release md5sum mkdir mv nproc passwd printenv printf ps pwd readlink
    realpath rm rmdir seq set sha1sum sha256sum sha512sum shopt sleep stat sum sync tac tail tee test touch tr
    true truncate type ulimit umask uname unlink unset userdel wait wc which who whoami yes nvidia-smi
    """.split()  # noqa: SIM905
)
BUILTINS = frozenset({"cd", "export", "unset"})
# commands of which these words alone are known to write and run nothing
_WORDS: Mapping[str, re.Pattern[str]] = {
    "file": re.compile(r"[^-].*|-[bhiLN]+"),
    "hash": re.compile(r"-r"),
    "ldconfig": re.compile(r"-v"),
    "mktemp": re.compile(r"-d|-q|-u"),
    "printf": re.compile(r"(?!-v).*", re.DOTALL),
    "sort": re.compile(r"-[bcdfghiMnRrsuVz]+|-k[0-9.,a-z]*|[0-9][0-9.,a-z]*"),
    "uniq": re.compile(r"-[cdDiuz]+"),
    "useradd": re.compile(r"(?!-[A-Za-z]*k|--sk).*", re.DOTALL),
    "usermod": re.compile(r"(?!-[A-Za-z]*k|--sk).*", re.DOTALL),
    "virtualenv": re.compile(r"[^-].*|-[pq]|--python(?:=.*)?|--system-site-packages|--clear|--quiet"),
}
INSTALLERS = frozenset(
    {"pip", "pip3", "python", "python3", "uv", "uvx", "pipx", "conda", "mamba", "micromamba", "conda-lock", "poetry"}
)
_PACKAGE_MANAGERS = {
    # manager -> the subcommands of it that install nothing
    "apt-get": ("update", "clean", "autoclean", "autoremove", "remove", "purge", "check"),
    "apt": ("update", "clean", "autoclean", "autoremove", "remove", "purge", "list", "show"),
    "apt-cache": ("search", "show", "policy", "madison", "depends"),
    "apt-mark": ("auto", "manual", "hold", "unhold", "showmanual", "showauto"),
    "apk": ("update", "del", "info"),
    "yum": ("clean", "makecache", "remove", "erase", "autoremove", "list", "info"),
    "dnf": ("clean", "makecache", "remove", "erase", "autoremove", "list", "info"),
    "microdnf": ("clean", "makecache", "remove", "autoremove"),
    "zypper": ("clean", "refresh", "remove"),
    "npm": ("cache",),
    "yarn": ("cache",),
    "dpkg": ("-l", "--list", "-L", "-s", "--print-architecture", "--configure"),
}
_WHY = {
    "apt-get": "what the package manager installs is known only when it runs",
    "curl": "what it downloads isn't known before it runs",
    "wget": "what it downloads isn't known before it runs",
    "git": "what it fetches isn't known before it runs",
    "npm": "packages of Node.js aren't read",
    "yarn": "packages of Node.js aren't read",
    "pnpm": "packages of Node.js aren't read",
    "npx": "packages of Node.js aren't read",
    "R": "packages of R aren't read",
    "Rscript": "packages of R aren't read",
    "cargo": "packages of Rust aren't read",
    "go": "modules of Go aren't read",
    "gem": "packages of Ruby aren't read",
    "make": "what a build installs is known only when it runs",
    "cmake": "what a build installs is known only when it runs",
    "poetry": "poetry.lock isn't read: export it to requirements.txt",
    "pipenv": "Pipfile.lock isn't read: export it to requirements.txt",
    "uvx": "it installs and runs a tool at once",
    "eval": "what it evaluates isn't read",
    "source": "what the script does isn't read",
    ".": "what the script does isn't read",
    "sed": "what the edited files then hold isn't read",
    "tar": "what it unpacks isn't read",
    "unzip": "what it unpacks isn't read",
    "xargs": "what it runs isn't known before it runs",
}
_TOLD_VERSION = frozenset(
    {"node", "npm", "git", "R", "java", "gcc", "make", "curl", "wget", "cargo", "go", "rustc", "nvcc", "poetry"}
)
_MANAGER_OPTIONS = frozenset({"-o", "-c", "-t", "--option", "--config-file", "--root", "--repository", "-X"})
_SAFE_EXEC = frozenset({"rm", "chmod", "chown", "chgrp", "ls", "echo", "rmdir"})
_ACTIVATIONS = ("/activate", "/conda.sh", "/mamba.sh", "/micromamba.sh")
_HARMLESS_VARIABLES = frozenset(
    """
    PIP_NO_CACHE_DIR PIP_NO_CACHE PIP_DISABLE_PIP_VERSION_CHECK PIP_DEFAULT_TIMEOUT PIP_TIMEOUT PIP_RETRIES
    PIP_ROOT_USER_ACTION PIP_BREAK_SYSTEM_PACKAGES PIP_PROGRESS_BAR PIP_CACHE_DIR PIP_NO_COLOR PIP_QUIET PIP_VERBOSE
    PIP_NO_INPUT PIP_USER PIP_COMPILE PIP_NO_COMPILE PIP_REQUIRE_VIRTUALENV PIP_NO_WARN_SCRIPT_LOCATION PIP_ONLY_BINARY
    PIP_PREFER_BINARY PIP_REQUIRE_HASHES PIP_EXISTS_ACTION PIP_LOG PIP_NO_PYTHON_VERSION_WARNING PIP_UPGRADE_STRATEGY PIP_VERSION
    PIP_TARGET PIP_PREFIX PIP_SRC PIP_NO_DEPS PIP_NO_DEPENDENCIES PIP_IGNORE_INSTALLED PIP_YES PIP_ISOLATED PIP_KEYRING_PROVIDER
    PIP_TOOLS_VERSION PIP_NO_BUILD_ISOLATION
    UV_COMPILE_BYTECODE UV_LINK_MODE UV_PYTHON_DOWNLOADS UV_SYSTEM_PYTHON UV_PROJECT_ENVIRONMENT UV_CACHE_DIR UV_NO_CACHE
    UV_HTTP_TIMEOUT UV_PYTHON UV_BREAK_SYSTEM_PACKAGES UV_LOCKED UV_FROZEN UV_NO_DEV UV_TOOL_DIR UV_TOOL_BIN_DIR UV_VERSION
    UV_CONCURRENT_DOWNLOADS UV_CONCURRENT_BUILDS UV_CONCURRENT_INSTALLS UV_PYTHON_INSTALL_DIR UV_PYTHON_PREFERENCE
    UV_PYTHON_BIN_DIR UV_NO_PROGRESS UV_NO_SYNC UV_NO_EDITABLE UV_REQUIRE_HASHES UV_VERIFY_HASHES UV_NO_BUILD UV_OFFLINE
    UV_NATIVE_TLS UV_SYSTEM_CERTS UV_NO_CONFIG UV_EXCLUDE_NEWER UV_HTTP_RETRIES UV_INSTALL_DIR UV_UNMANAGED_INSTALL
    UV_MANAGED_PYTHON UV_NO_MANAGED_PYTHON UV_KEYRING_PROVIDER UV_NO_MODIFY_PATH UV_ENV_FILE UV_NO_BUILD_ISOLATION
    """.split()  # noqa: SIM905
)
_JUDGED_VARIABLES = frozenset(
    """
    CONDARC MAMBARC CONDA_CHANNELS CONDA_DEFAULT_CHANNELS CONDA_CHANNEL_ALIAS CONDA_CUSTOM_CHANNELS CONDA_SSL_VERIFY
    CONDA_CUSTOM_MULTICHANNELS CONDA_MIGRATED_CHANNEL_ALIASES CONDA_PINNED_PACKAGES CONDA_SUBDIR CONDA_REPODATA_FNS
    MAMBA_CHANNELS MAMBA_DEFAULT_CHANNELS MAMBA_CHANNEL_ALIAS MAMBA_SSL_VERIFY CONDA_TRACK_FEATURES CONDA_CREATE_DEFAULT_PACKAGES
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    """.split()  # noqa: SIM905
)
_RUN_FIRST = frozenset(
    """
    BASH_ENV ENV LD_PRELOAD LD_AUDIT PYTHONSTARTUP PYTHONHOME PYTHONUSERBASE PROMPT_COMMAND PWD XDG_CONFIG_HOME
    XDG_CONFIG_DIRS
    """.split()  # noqa: SIM905
)
# variables that base images set to one word
_ONE_WORD = frozenset(
    {"CONDA_PREFIX", "CONDA_DIR", "CONDA_DEFAULT_ENV", "MAMBA_ROOT_PREFIX", "HOME", "PATH", "PWD", "USER", "VIRTUAL_ENV"}
)  # fmt: skip


def of_one_word(word: Field) -> bool:
    """Whether a word that isn't known is at least one word, and not several."""
    return not word.several or set(word.unknown) <= _ONE_WORD


def name_of(word: Field) -> str | None:
    """The name of a command as it is looked up: a path in a folder of programs counts as its last part.

    What then lies at that path is for the caller to tell.
    """
    if word.known is None or not word.text:
        return None
    folder, slash, name = word.text.rpartition("/")
    if not slash:
        return word.text
    return name if folder.rpartition("/")[2] in {"bin", "sbin", "condabin"} else word.text


def environment_effect(name: str) -> str:
    """What setting an environment variable does: "judged", "runs" (a file before each command), or nothing."""
    if name in _RUN_FIRST:
        return "runs"
    if name in _JUDGED_VARIABLES or name.startswith(("PIP_CONFIG_", "CONDA_OVERRIDE_", "POETRY_REPOSITORIES_")):
        return "judged"
    return "judged" if name.startswith(("PIP_", "UV_")) and name not in _HARMLESS_VARIABLES else ""


def harmless(name: str, words: Sequence[Field]) -> bool:
    """Whether a command with these arguments installs nothing."""
    texts = [word.text for word in words]
    if name in _PACKAGE_MANAGERS:
        return _subcommand(words) in _PACKAGE_MANAGERS[name]
    if name == "find":
        return not any(word.several or word.text in {"$", ""} for word in words) and _find(texts)
    if name in {".", "source"}:
        # the scripts of virtual environments and of conda set variables, and install nothing
        return (
            bool(words) and words[0].known is not None and (texts[0] == "activate" or texts[0].endswith(_ACTIVATIONS))
        )
    if name == "command":
        return texts[:1] in (["-v"], ["-V"])
    if name in _WORDS:
        known = all(of_one_word(word) for word in words)
        return known and all(_WORDS[name].fullmatch(text) is not None for text in texts)
    if name in _TOLD_VERSION:
        return texts == ["--version"]
    return name in HARMLESS


def why_unread(name: str) -> str:
    """Why a command that isn't harmless can't be verified."""
    if name in _PACKAGE_MANAGERS and name not in _WHY:
        name = "apt-get"
    if name.endswith(".sh") or "/" in name:
        return "what the script does isn't read"
    return _WHY.get(name, "what it does is known only when it runs")


def _subcommand(words: Sequence[Field]) -> str:
    place = 0
    while place < len(words):
        text = words[place].text
        if text in {"-l", "-L", "-s", "--list", "--print-architecture", "--configure"}:
            return text
        if not text.startswith("-"):
            return words[place].known or ""
        place += 2 if text in _MANAGER_OPTIONS else 1
    return "update" if any(word.text == "--version" for word in words) else ""


def _find(texts: Sequence[str]) -> bool:
    """Whether `find` only looks, or removes: what it runs is among the harmless."""
    for place, text in enumerate(texts):
        if text.startswith(("-fprint", "-fls")):
            return False
        if text.startswith(("-exec", "-ok")) and not (
            text == "-exec" and texts[place + 1 : place + 2] and texts[place + 1] in _SAFE_EXEC
        ):
            return False
    return True


# --- commands that run others -----------------------------------------------------------------------------------------

_NO_OPTION = re.compile(r"(?!)")
_WRAPPERS: Mapping[str, tuple[re.Pattern[str], frozenset[str]]] = {
    # command -> its options that are known, and those of them that have a value
    "sudo": (re.compile(r"-[EHSkn]+|--preserve-env|--set-home"), frozenset({"-u", "--user", "-g", "--group"})),
    "env": (re.compile(r"--unset=.*"), frozenset({"-u"})),
    "exec": (_NO_OPTION, frozenset()),
    "nice": (re.compile(r"-[0-9]+|-n[0-9]+"), frozenset({"-n"})),
    "nohup": (_NO_OPTION, frozenset()),
    "command": (_NO_OPTION, frozenset()),
    "builtin": (_NO_OPTION, frozenset()),
    "timeout": (
        re.compile(r"--preserve-status|--foreground|--signal=.*|--kill-after=.*"),
        frozenset({"-k", "-s", "--kill-after", "--signal"}),
    ),
    "time": (re.compile(r"-p"), frozenset()),
    "gosu": (_NO_OPTION, frozenset()),
}
_FIRST_IS_NO_COMMAND = frozenset({"timeout", "gosu"})
_CONDA_RUN = (
    re.compile(r"--no-capture-output|--live-stream|--(?:name|prefix|root-prefix)=.*"),
    frozenset({"-n", "--name", "-p", "--prefix", "-r", "--root-prefix"}),
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """What a command that only runs another runs: the variables it sets, and the other's words.

    `clears` is whether the other doesn't see the variables that are set already.
    """

    variables: tuple[tuple[str, Field], ...]
    words: Sequence[Field]
    clears: bool


def unwrapped(words: Sequence[Field]) -> Wrapped | None:
    """What a command runs that only runs another, None where it is none.

    An option whose effect isn't read leaves the command as it is, and so unread.
    """
    name = name_of(words[0]) if words else None
    if name is not None and name in _WRAPPERS:
        place = _past_options(words, 1, *_WRAPPERS[name])
    elif name in {"conda", "mamba", "micromamba"} and len(words) > 1 and words[1].known == "run":
        place = _past_options(words, 2, *_CONDA_RUN)
    else:
        return None
    if place is None:
        return None
    variables: list[tuple[str, Field]] = []
    if name in {"sudo", "env"}:
        while place < len(words) and "=" in words[place].text:
            variable = words[place].text.partition("=")[0]
            if _VARIABLE.fullmatch(variable) is None or words[place].several:
                return None
            variables.append((variable, words[place]))
            place += 1
    if name in _FIRST_IS_NO_COMMAND:
        if words[place : place + 1] and (words[place].several or words[place].text.startswith("-")):
            return None
        place += 1
    if place >= len(words) or words[place].text.startswith("-"):
        return None
    return Wrapped(variables=tuple(variables), words=words[place:], clears=name in {"sudo", "gosu"})


def _past_options(words: Sequence[Field], place: int, known: re.Pattern[str], valued: frozenset[str]) -> int | None:
    """The place of the first word that is no option, None where there is one that isn't known."""
    while place < len(words) and words[place].text.startswith("-"):
        text = words[place].text
        if text == "--" and words[place].known is not None:
            return place + 1
        if text in valued:
            if not words[place + 1 : place + 2] or not of_one_word(words[place + 1]):
                return None
            place += 2
        elif known.fullmatch(text) is not None and of_one_word(words[place]):
            place += 1
        else:
            return None
    return place
