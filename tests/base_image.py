"""A base image made of this machine's own Python, for builds where nothing can be pulled.

`python` is in it, with pip beside it, and `conda`: a stand-in for the real command, which can't be had without a conda
channel. It stands for `conda env create -p PREFIX -f conda.yml` of a file whose packages are pinned by version, build and
sha256: it takes exactly those files from the channels that the file names, holds them to their digests, unpacks them,
and gives the `pip:` section to pip as it stands. It solves nothing, and links nothing.
"""

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

__all__ = ["PYTHON", "environment", "root_archive"]

PYTHON = "/usr/local/bin/python"
_TOOLS = "/opt/tools"
_LEFT_OUT = frozenset(
    {"test", "tests", "site-packages", "dist-packages", "__pycache__", "idlelib", "tkinter", "lib2to3"}
)

_CONDA = '''\
"""Stands for `conda env create -p PREFIX -f FILE` of a fully pinned file."""
import hashlib, re, subprocess, sys, urllib.request
from pathlib import Path
import yaml
from conda_package_streaming.extract import extract

prefix, file = Path(sys.argv[sys.argv.index("-p") + 1]), sys.argv[sys.argv.index("-f") + 1]
wanted = yaml.safe_load(Path(file).read_text())
pip = [line for entry in wanted["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
prefix.mkdir(parents=True)
for spec in (entry for entry in wanted["dependencies"] if isinstance(entry, str)):
    channel, _, rest = spec.rpartition("::")
    name, _, keys = rest.partition("[")
    said = dict(re.findall(r"([a-z0-9]+)=.?[=']*([^'\\],]+)", keys))
    stem = f"{name}-{said['version'].lstrip('=')}-{said['build']}.conda"
    for url in [f"{c}/{subdir}/{stem}" for c in ([channel] if channel else wanted["channels"]) for subdir in ("linux-64", "noarch")]:
        try:
            data = urllib.request.urlopen(url).read()
        except OSError:
            continue
        break
    else:
        sys.exit(f"{stem} is in no channel")
    if hashlib.sha256(data).hexdigest() != said["sha256"]:
        sys.exit(f"{stem}: other bytes than those that were locked")
    archive = Path("/tmp") / stem
    archive.write_bytes(data)
    extract(archive, prefix)
    print("installed", stem)
if pip:
    Path("/tmp/pip.txt").write_text("\\n".join(pip) + "\\n")
    subprocess.run([sys.executable, "-m", "pip", "install", "--prefix", str(prefix), "-r", "/tmp/pip.txt"], check=True)
'''


def root_archive() -> bytes:
    """The root file system of the image, as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        seen: set[str] = set()
        for path, name in _files():
            if name not in seen:
                seen.add(name)
                tar.add(os.path.realpath(path), name.lstrip("/"), recursive=False)
        for name, data in {f"{_TOOLS}/conda.py": _CONDA.encode(), "/tmp/.keep": b"", "/etc/passwd": b""}.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _files() -> Iterator[tuple[Path, str]]:
    """Every file of this Python, with what it needs to run, and the name that it has in the image."""
    executable = Path(os.path.realpath(sys.executable))
    yield executable, PYTHON
    stdlib = Path(sysconfig.get_path("stdlib"))
    binaries = [executable]
    for path in _below(stdlib):
        yield path, str(path)
        binaries += [path] if path.suffix == ".so" else []
    for module in ("pip", "yaml", "conda_package_streaming", "backports.zstd"):
        spec = find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        folder = Path(spec.origin).parent
        for path in _below(folder):
            inside = path.relative_to(folder)
            yield path, f"{_TOOLS}/{module.replace('.', '/')}/{inside}"
            binaries += [path] if path.suffix == ".so" else []
    for library in {library for binary in binaries for library in _libraries(binary)}:
        yield Path(library), library


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _below(path)
        elif path.suffix != ".pyc":
            yield path


def _libraries(binary: Path) -> list[str]:
    """The shared libraries that a program or a module is linked to, the loader among them."""
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False)
    return re.findall(r"(/\S+)\s+\(0x", done.stdout)


def environment() -> dict[str, str]:
    """The variables that the image's programs need: where Python's library is, where its tools are, and no index."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    return {
        "PATH": "/usr/local/bin",
        "PYTHONHOME": str(stdlib.parent.parent),
        "PYTHONPATH": _TOOLS,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/wheels",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
