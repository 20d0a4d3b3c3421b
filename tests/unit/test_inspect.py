"""What held files say when they are looked into: each check has its answer, and hostile ones are told from plain ones."""

import base64
import bz2
import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Mapping

import msgspec
import pytest
from conda_archives import conda, index_json, paths_json, tar, tar_bz2, tar_of, zst
from packaging.tags import parse_tag
from zips import Part, built

from quarantine.archive.inspect import inspect
from quarantine.archive.inspection import CHECKS, Found
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem, Licences, OutcomeKind

METADATA = b"Metadata-Version: 2.4\nName: app\nVersion: 1.0\nLicense-Expression: MIT\nRequires-Dist: lib<2\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
INFO = "app-1.0.dist-info"


def asked(filename: str = "app-1.0-py3-none-any.whl") -> ExceptionFile:
    ecosystem = Ecosystem.CONDA if filename.endswith((".conda", ".tar.bz2")) else Ecosystem.PYPI
    return ExceptionFile(
        ecosystem=ecosystem,
        upstream="main",
        name="app",
        version="1.0",
        filename=filename,
        sha256="0" * 64,
        subdir="noarch" if ecosystem is Ecosystem.CONDA else "",
        build="0" if ecosystem is Ecosystem.CONDA else "",
    )


def record(files: Mapping[str, bytes]) -> bytes:
    """The lines of RECORD for the files, and that of itself."""
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for name, data in files.items()
    ]
    return "\n".join([*lines, f"{INFO}/RECORD,,", ""]).encode()


def wheel(
    files: Mapping[str, bytes] | None = None, *, metadata: bytes = METADATA, described: bytes = WHEEL
) -> dict[str, bytes]:
    """The members of a wheel that is right in every part."""
    members = {"app.py": b"x = 1\n", **(files or {}), f"{INFO}/METADATA": metadata, f"{INFO}/WHEEL": described}
    return members | {f"{INFO}/RECORD": record(members)}


def looked(members: Mapping[str, bytes], filename: str = "app-1.0-py3-none-any.whl") -> Found:
    data = built(Part(name=name.encode(), data=data, method=8) for name, data in members.items())
    return inspect(asked(filename), io.BytesIO(data))


def said(found: Found, rule: str) -> tuple[OutcomeKind, str]:
    (outcome,) = [outcome for outcome in found.outcomes if outcome.rule == rule]
    return outcome.kind, outcome.message


def evidence(found: Found, rule: str) -> dict[str, object]:
    (outcome,) = [outcome for outcome in found.outcomes if outcome.rule == rule]
    return dict(outcome.evidence)


# --- wheels -----------------------------------------------------------------------------------------------------------


def test_a_plain_wheel_passes() -> None:
    """Every check has an answer, in order, and what it declares is handed on."""
    found = looked(wheel())

    assert [(outcome.rule, outcome.kind, outcome.message) for outcome in found.outcomes] == [
        ("archive", OutcomeKind.PASS, "a plain zip file of 4 members"),
        ("metadata", OutcomeKind.PASS, f"file name, {INFO}, METADATA and WHEEL agree"),
        ("record", OutcomeKind.PASS, "RECORD lists all 4 files with their digests"),
        ("contents", OutcomeKind.PASS, "it installs 1 name at the top level"),
        ("pickle", OutcomeKind.PASS, "it has no pickles"),
    ]
    assert (found.metadata, found.requires, found.licences) == (METADATA, ("lib<2",), Licences(expression="MIT"))


def test_a_refused_archive_answers_every_check() -> None:
    """Nothing that was not looked at passes."""
    found = inspect(asked(), io.BytesIO(b"nothing"))

    assert [(outcome.rule, outcome.kind) for outcome in found.outcomes] == [
        ("archive", OutcomeKind.FAIL),
        *((rule, OutcomeKind.UNKNOWN) for rule in CHECKS[1:]),
    ]
    assert said(found, "archive") == (OutcomeKind.FAIL, "it doesn't end as a zip file does")
    assert said(found, "record")[1] == "app-1.0-py3-none-any.whl was not looked into: its archive is refused"


def without(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: data for key, data in members.items() if key != name}


def rerecorded(old: bytes, new: bytes) -> dict[str, bytes]:
    members = wheel()
    changed = members[f"{INFO}/RECORD"].replace(old, new)
    assert changed != members[f"{INFO}/RECORD"]
    return members | {f"{INFO}/RECORD": changed}


def line_of(name: str) -> bytes:
    (line,) = [line for line in wheel()[f"{INFO}/RECORD"].splitlines() if line.startswith(name.encode())]
    return line


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (wheel() | {"app.py": b"x = 2\n"}, "RECORD has another sha256 of 'app.py'"),
        (wheel() | {"evil.py": b""}, "RECORD leaves out 'evil.py', which is there"),
        (without(wheel(), "app.py"), "RECORD lists 'app.py', which isn't there"),
        (without(wheel(), f"{INFO}/RECORD"), f"it has no {INFO}/RECORD"),
        (rerecorded(b"app.py,", b"../app.py,"), "RECORD leaves out 'app.py', which is there; RECORD lists '../app.py', which isn't there"),
        (rerecorded(b"app.py,", b"app.py,sha256=x,1,"), "RECORD has a line of 5 fields, expected path, hash and size; RECORD leaves out 'app.py', which is there"),
        (rerecorded(line_of("app.py"), line_of("app.py") + b"\n" + line_of("app.py")), "RECORD lists 'app.py' twice"),
        (rerecorded(line_of("app.py"), b"app.py,,"), "RECORD has no hash of 'app.py', expected sha256 or a stronger one"),
        (rerecorded(line_of("app.py"), b"app.py,md5=aaaa,6"), "RECORD has the hash 'md5' of 'app.py', expected sha256 or a stronger one"),
        (rerecorded(line_of("app.py"), b"app.py,sha256=!,6"), "RECORD has a hash of 'app.py' that can't be read"),
        (rerecorded(line_of("app.py"), line_of("app.py") + b"0"), "RECORD says that 'app.py' has 60 bytes, it has 6"),
        (rerecorded(line_of("app.py"), line_of("app.py")[:-1] + b"-6"), "RECORD has the size '-6' of 'app.py'"),
        (rerecorded(b"app.py", b"app\xff"), "RECORD can't be read: 'utf-8' codec can't decode byte 0xff in position 3: invalid start byte"),
    ],
)  # fmt: skip
def test_a_forged_record_fails(members: dict[str, bytes], expected: str) -> None:
    """What it leaves out, invents, repeats, or has another digest of."""
    kind, message = said(looked(members), "record")

    assert (kind, message.partition("; and")[0].split("; RECORD can't")[0][: len(expected)]) == (
        OutcomeKind.FAIL,
        expected,
    )


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (wheel(metadata=METADATA.replace(b"app", b"evil")), "METADATA says that it is evil, expected app"),
        (wheel(metadata=METADATA.replace(b"1.0", b"2.0")), "METADATA says that it is version 2.0, expected 1.0"),
        (wheel(metadata=b"Version: 1.0\n"), "METADATA can't be read: Name: '' is not a package name"),
        (without(wheel(), f"{INFO}/METADATA"), "it has no METADATA"),
        (without(wheel(), f"{INFO}/WHEEL"), "it has no WHEEL"),
        (wheel(described=b"Root-Is-Purelib: true\nTag: py3-none-any\n"), "WHEEL is of version '', expected 1.x"),
        (wheel(described=WHEEL.replace(b"1.0", b"2.0")), "WHEEL is of version '2.0', expected 1.x"),
        (wheel(described=WHEEL.replace(b"true", b"?")), "WHEEL doesn't say whether its root is purelib"),
        (wheel(described=b"nothing"), "WHEEL has a line without a colon"),
        (wheel(described=b"\xff"), "WHEEL is not UTF-8"),
        (
            wheel(described=WHEEL.replace(b"py3-none-any", b"cp311-cp311-linux_x86_64")),
            "WHEEL has the tags cp311-cp311-linux_x86_64; its file name says py3-none-any",
        ),
        (
            {name.replace("app-1.0.d", "app-2.0.d"): data for name, data in wheel().items()},
            "its folder 'app-2.0.dist-info' is not that of app 1.0",
        ),
        (
            {name.replace("app-1.0.d", "app.d"): data for name, data in wheel().items()},
            "its folder 'app.dist-info' is not that of app 1.0",
        ),
    ],
)
def test_a_wheel_of_another_package_fails(members: dict[str, bytes], expected: str) -> None:
    """File name, folder, METADATA and WHEEL must all tell of what was asked for."""
    assert said(looked(members), "metadata") == (OutcomeKind.FAIL, expected)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"app.py": b""}, "expected one .dist-info folder, found none"),
        (
            wheel({"b-2.dist-info/METADATA": b""}),
            "expected one .dist-info folder, found 'app-1.0.dist-info', 'b-2.dist-info'",
        ),
        (
            wheel(metadata=METADATA + b"x" * (1024 * 1024)),
            f"its member '{INFO}/METADATA' has {len(METADATA) + 1024 * 1024} bytes, at most 1048576 are read",
        ),
    ],
)
def test_a_wheel_that_cannot_be_told_is_refused(members: dict[str, bytes], expected: str) -> None:
    """Two packages in one, none, or metadata without end."""
    assert said(looked(members), "archive") == (OutcomeKind.FAIL, expected)


def test_tags_that_multiply_are_compared_one_by_one() -> None:
    """A file name in its short form, WHEEL with a line for each."""
    described = WHEEL.replace(b"Tag: py3-none-any", b"Tag: py2-none-any\nTag: py3-none-any")

    found = looked(wheel(described=described), "app-1.0-py2.py3-none-any.whl")

    assert said(found, "metadata")[0] is OutcomeKind.PASS


@pytest.mark.parametrize(
    ("tag", "named", "kind"),
    [
        ("cp310-cp310-linux_x86_64", "cp310-cp310-manylinux1_x86_64", OutcomeKind.PASS),
        ("py3-none-linux_aarch64", "py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64", OutcomeKind.PASS),
        ("cp310-abi3-linux_x86_64", "cp310-abi3-musllinux_1_2_x86_64", OutcomeKind.PASS),
        ("cp310-cp310-linux_x86_64", "cp310-cp310-manylinux1_i686", OutcomeKind.FAIL),
        ("cp310-cp310-linux_x86_64", "cp311-cp310-manylinux1_x86_64", OutcomeKind.FAIL),
        ("cp310-cp310-linux_x86_64", "cp310-abi3-manylinux1_x86_64", OutcomeKind.FAIL),
        ("cp310-cp310-linux_x86_64", "cp310-cp310-win_amd64", OutcomeKind.FAIL),
        ("cp310-cp310-win_amd64", "cp310-cp310-manylinux1_x86_64", OutcomeKind.FAIL),
        ("cp310-cp310-manylinux1_x86_64", "cp310-cp310-linux_x86_64", OutcomeKind.FAIL),
        ("cp310-cp310-manylinux1_x86_64", "cp310-cp310-manylinux2014_x86_64", OutcomeKind.FAIL),
    ],
)  # fmt: skip
def test_a_wheel_that_was_renamed_for_many_linuxes_passes_with_a_note(tag: str, named: str, kind: OutcomeKind) -> None:
    """As those of big projects are: the interpreter, the ABI and the machine must be the same."""
    found = looked(wheel(described=WHEEL.replace(b"py3-none-any", tag.encode())), f"app-1.0-{named}.whl")

    differs = f"WHEEL has the tags {tag}; its file name says {', '.join(sorted(map(str, parse_tag(named))))}"
    if kind is OutcomeKind.PASS:
        assert said(found, "metadata") == (
            kind,
            f"file name, {INFO}, METADATA and WHEEL agree but for the kind of Linux",
        )
        assert evidence(found, "metadata") == {
            "note": f"{differs}: the same but for the kind of Linux, as where a wheel was renamed after it was built"
        }
    else:
        assert said(found, "metadata") == (kind, differs)


def test_what_a_wheel_installs_is_noted() -> None:
    """Names beside its own, programs, data."""
    found = looked(
        wheel(
            {
                "numpy/evil.py": b"",
                "app-1.0.data/platlib/more/x.py": b"",
                "app-1.0.data/scripts/run": b"#!python\n",
                "app-1.0.data/data/etc/x": b"",
                "app-1.0.data/data/share/jupyter/kernels/app/kernel.json": b"",
                "app-1.0.data/headers/app.h": b"",
            }
        )
    )

    assert said(found, "contents") == (OutcomeKind.PASS, "it installs 3 names at the top level, 1 program")
    assert evidence(found, "contents") == {
        "top_level": ("app.py", "numpy", "more"),
        "beside": ("numpy", "more"),
        "scripts": ("app-1.0.data/scripts/run",),
        "data": ("app-1.0.data/data/etc/x", "app-1.0.data/data/share/jupyter/kernels/app/kernel.json"),
        "headers": ("app-1.0.data/headers/app.h",),
    }


DATA = "app-1.0.data"
RUNS_ALWAYS = "Python runs it whenever it starts"
RUNS = "Python reads it whenever it starts, and it runs code"
PATHS_ONLY = "Python reads it whenever it starts, and it only adds paths"
PYTHONS = "it has the name of a module of Python's own"
SPEAKS = "it speaks for a distribution, as its own .dist-info alone may"
OUTSIDE = "that is outside of share/, etc/, include/, man/ and doc/"
ENTERS = "it is run to enter an environment"


@pytest.mark.parametrize(
    ("member", "place", "why"),
    [
        ("sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        ("usercustomize.pyc", "site-packages/usercustomize.pyc", RUNS_ALWAYS),
        ("sitecustomize/__init__.py", "site-packages/sitecustomize", RUNS_ALWAYS),
        ("sitecustomize.cpython-311-x86_64-linux-gnu.so", "site-packages/sitecustomize.cpython-311-x86_64-linux-gnu.so", RUNS_ALWAYS),
        (f"{DATA}/purelib/sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        (f"{DATA}/platlib/sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        (f"{DATA}/data/lib/python3.11/site-packages/sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        (f"{DATA}/data/lib64/python3.13t/site-packages/sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        (f"{DATA}/data/Lib/site-packages/SiteCustomize.py", "site-packages/SiteCustomize.py", RUNS_ALWAYS),
        (f"{DATA}/data/local/lib/python3.11/dist-packages/sitecustomize.py", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        ("pip/__init__.py", "site-packages/pip", "that belongs to pip"),
        ("PIP/_vendor/certifi/cacert.pem", "site-packages/PIP", "that belongs to pip"),
        ("setuptools/x.py", "site-packages/setuptools", "that belongs to setuptools"),
        ("pkg_resources.py", "site-packages/pkg_resources.py", "that belongs to setuptools"),
        ("_distutils_hack/__init__.py", "site-packages/_distutils_hack", "that belongs to setuptools"),
        ("wheel/__init__.py", "site-packages/wheel", "that belongs to wheel"),
        ("_virtualenv.py", "site-packages/_virtualenv.py", "that belongs to virtualenv"),
        ("json/__init__.py", "site-packages/json", PYTHONS),
        ("imp.py", "site-packages/imp.py", PYTHONS),
        ("annotationlib.abi3.so", "site-packages/annotationlib.abi3.so", PYTHONS),
        ("__pycache__/six.cpython-311.pyc", "site-packages/__pycache__/six.cpython-311.pyc", "Python runs it in the place of another package's module"),
        ("b-2.egg-info", "site-packages/b-2.egg-info", SPEAKS),
        (f"{DATA}/purelib/b-2.dist-info/METADATA", "site-packages/b-2.dist-info", SPEAKS),
        (f"{DATA}/platlib/{INFO}/entry_points.txt", f"site-packages/{INFO}", SPEAKS),
        (f"{DATA}/data/lib/python3.11/site-packages/b-2.dist-info/RECORD", "site-packages/b-2.dist-info", SPEAKS),
        (f"{DATA}/scripts/python3", "bin/python3", "it is Python itself"),
        (f"{DATA}/scripts/Python.exe", "bin/Python.exe", "it is Python itself"),
        (f"{DATA}/data/bin/python3.11", "bin/python3.11", "it is Python itself"),
        (f"{DATA}/data/Scripts/pip3.exe", "bin/pip3.exe", "it is an installer"),
        (f"{DATA}/scripts/pip", "bin/pip", "it is an installer"),
        (f"{DATA}/scripts/uv", "bin/uv", "it is an installer"),
        (f"{DATA}/scripts/activate", "bin/activate", ENTERS),
        (f"{DATA}/scripts/Activate.ps1", "bin/Activate.ps1", ENTERS),
        (f"{DATA}/scripts/activate_this.py", "bin/activate_this.py", ENTERS),
        (f"{DATA}/scripts/bash", "bin/bash", "it is a program of the system"),
        (f"{DATA}/scripts/sh", "bin/sh", "it is a program of the system"),
        (f"{DATA}/scripts/ksh", "bin/ksh", "it is a program of the system"),
        (f"{DATA}/data/lib/python3.11/os.py", "lib/python3.11", "that is where Python's own modules are"),
        (f"{DATA}/data/Lib/os.py", "Lib", "that is where Python's own modules are"),
        (f"{DATA}/data/lib/libssl.so.3", "lib", OUTSIDE),
        (f"{DATA}/data/pip.conf", "pip.conf", OUTSIDE),
        (f"{DATA}/data/pyvenv.cfg", "pyvenv.cfg", OUTSIDE),
        (f"{DATA}/data/conda-meta/history", "conda-meta", OUTSIDE),
        (f"{DATA}/data/etc/conda/activate.d/x.sh", "etc/conda/activate.d/x.sh", "it is run, or read, to enter an environment"),
        (f"{DATA}/data/etc/jupyter/jupyter_server_config.py", "etc/jupyter/jupyter_server_config.py", "Jupyter runs it whenever it starts"),
        (f"{DATA}/data/etc/ipython/startup/x.ipy", "etc/ipython/startup/x.ipy", "Jupyter runs it whenever it starts"),
        (f"{DATA}/data/etc/ipython/ipython_config.json", "etc/ipython/ipython_config.json", "it says what IPython runs whenever it starts"),
        ("app.start", "site-packages/app.start", RUNS),
    ],
)  # fmt: skip
def test_what_lands_where_a_package_has_no_business_fails(member: str, place: str, why: str) -> None:
    """Modules that Python imports by itself or that install others, programs, other distributions, Python's own files."""
    assert said(looked(wheel({member: b""})), "contents") == (
        OutcomeKind.FAIL,
        f"its member {member!r} lands at {place!r}: {why}",
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"import os; os.system('x')\n", RUNS),
        (b"# x\nimport\tos\n", RUNS),
        (b"\xef\xbb\xbfimport os\n", RUNS),
        (b"x\x0cimport os\n", RUNS),
        (b"x\rimport os\r", RUNS),
        (b"  import os\n", RUNS),
        (b"x\n" * 40_000, RUNS),
        (b"../x\n/opt/import\n", PATHS_ONLY),
        (b"", PATHS_ONLY),
    ],
)
@pytest.mark.parametrize(
    "folder", ["", f"{DATA}/purelib/", f"{DATA}/platlib/", f"{DATA}/data/lib/python3.11/site-packages/"]
)
def test_a_file_that_python_reads_at_its_start_fails(folder: str, data: bytes, why: str) -> None:
    """A `.pth` file runs code or adds paths: which of the two is said, and where nobody can tell it runs code."""
    found = looked(wheel({f"{folder}app.pth": data}))

    assert said(found, "contents") == (
        OutcomeKind.FAIL,
        f"its member '{folder}app.pth' lands at 'site-packages/app.pth': {why}",
    )
    assert evidence(found, "contents")["pth"] == (f"{folder}app.pth{' (runs code)' if why == RUNS else ''}",)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("[console_scripts]\npip3 = app:main", "its entry points make 'bin/pip3': it is an installer"),
        ("[ gui_scripts ]\n  python : app:main", "its entry points make 'bin/python': it is Python itself"),
        ("[console_scripts]\n../../x = app:main", "its entry points make 'bin/../../x': that is no name of a program"),
    ],
)
def test_programs_that_the_installer_makes_are_held_to_the_same(lines: str, expected: str) -> None:
    """Entry points are programs, too."""
    found = looked(wheel({f"{INFO}/entry_points.txt": f"[x]\npip = app:main\n{lines}\n".encode()}))

    assert said(found, "contents") == (OutcomeKind.FAIL, expected)


def test_everything_that_has_no_business_there_is_told_the_worst_first() -> None:
    """However many files there are: those of one folder are told together."""
    found = looked(
        wheel(
            {
                f"{DATA}/data/x": b"",
                f"{DATA}/scripts/pip": b"",
                "app.pth": b"x\n",
                **{f"pip/{number}.py": b"" for number in range(60)},
                "usercustomize.py": b"",
            }
        )
    )
    problems = (
        "its member 'pip/0.py' and 59 more land in 'site-packages/pip': that belongs to pip",
        f"its member 'usercustomize.py' lands at 'site-packages/usercustomize.py': {RUNS_ALWAYS}",
        f"its member 'app.pth' lands at 'site-packages/app.pth': {PATHS_ONLY}",
        f"its member '{DATA}/scripts/pip' lands at 'bin/pip': it is an installer",
        f"its member '{DATA}/data/x' lands at 'x': {OUTSIDE}",
    )

    assert said(found, "contents") == (OutcomeKind.FAIL, f"{'; '.join(problems[:3])}; and 2 more")
    assert evidence(found, "contents")["problems"] == problems


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("pip", {"pip/__init__.py": b"", f"{INFO}/entry_points.txt": b"[console_scripts]\npip3 = pip:main\n"}),
        ("setuptools", {"_distutils_hack/x.py": b"", "distutils-precedence.pth": b"import os\n", "pkg_resources/x.py": b""}),
        ("wheel", {"wheel/x.py": b"", f"{INFO}/entry_points.txt": b"[console_scripts]\nwheel = wheel:main\n"}),
        ("uv", {f"{DATA}/scripts/uvx": b""}),
        ("app", {"pip_audit/x.py": b"", "jsonlib.py": b"", "test/x.py": b"", "json/data.txt": b"", "typing.pyi": b""}),
        ("app", {f"{DATA}/scripts/pip-compile": b"", f"{DATA}/scripts/activate-global-app": b"", f"{DATA}/scripts/ipython3": b""}),
        ("app", {"__pycache__/app.cpython-311.pyc": b"", "app/json/x.py": b"", "app/x.pth": b"import os"}),
    ],
)  # fmt: skip
def test_what_is_a_packages_own_passes(name: str, members: dict[str, bytes]) -> None:
    """Installers install themselves, and names that only sound alike are nobody's."""
    renamed = {key.replace("app-1.0", f"{name}-1.0"): data for key, data in members.items()}
    plain = {
        key.replace("app-1.0", f"{name}-1.0"): data.replace(b"Name: app", f"Name: {name}".encode())
        for key, data in wheel().items()
    }
    data = built(Part(name=key.encode(), data=data) for key, data in (plain | renamed).items())
    found = inspect(msgspec.structs.replace(asked(f"{name}-1.0-py3-none-any.whl"), name=name), io.BytesIO(data))

    assert said(found, "contents")[0] is OutcomeKind.PASS


@pytest.mark.parametrize(
    ("name", "program"), [("pip3", "pip3"), ("python", "python"), ("conda", "activate"), ("git2", "git")]
)
def test_a_name_that_anybody_may_take_gives_no_right_to_a_program(name: str, program: str) -> None:
    """On an index `pip3` and `python` are packages like any other."""
    data = built(
        [Part(name=f"{name}-1.0.dist-info/x".encode()), Part(name=f"{name}-1.0.data/scripts/{program}".encode())]
    )
    found = inspect(msgspec.structs.replace(asked(f"{name}-1.0-py3-none-any.whl"), name=name), io.BytesIO(data))

    assert said(found, "contents")[0] is OutcomeKind.FAIL
    assert f"lands at 'bin/{program}'" in said(found, "contents")[1]


def test_python_itself_passes_as_a_conda_package() -> None:
    """There it is one, with its modules and its programs."""
    more = {"bin/python3.11": b"", "lib/python3.11/os.py": b"", "python.exe": b""}
    info = {"info/index.json": index_json(name="python"), "info/paths.json": digested(more)}
    file = msgspec.structs.replace(asked("python-1.0-0.tar.bz2"), name="python")

    found = inspect(file, io.BytesIO(tar_bz2(info | more)))

    assert said(found, "contents") == (OutcomeKind.PASS, "nothing of it is run by itself")


def test_a_data_folder_of_another_name_fails() -> None:
    """Some installers know it by its ending, others by the wheel's name."""
    assert said(looked(wheel({"b-2.data/scripts/x": b""})), "contents") == (
        OutcomeKind.FAIL,
        "its folder 'b-2.data' is not 'app-1.0.data': installers differ in where it goes",
    )


def test_a_place_that_does_not_exist_fails() -> None:
    """Installers differ in what they make of it."""
    found = looked(wheel({"app-1.0.data/elsewhere/x": b""}))

    assert said(found, "contents") == (
        OutcomeKind.FAIL,
        "its member 'app-1.0.data/elsewhere/x' goes to a place that doesn't exist",
    )


# --- pickles ----------------------------------------------------------------------------------------------------------


class Evil:
    """What a pickle of it does when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("true",)


class Odd:
    """A class that nobody has said anything of."""


EVIL = pickle.dumps(Evil())
CALLS = "calls 'posix.system', which can do harm as soon as it is loaded"


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def array(kind: str, rest: bytes) -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + rest


@pytest.mark.parametrize(
    ("name", "data", "inner"),
    [
        ("m.pkl", EVIL, "m.pkl"),
        ("m.pkl", pickle.dumps(Evil(), 0), "m.pkl"),
        ("m.joblib", EVIL, "m.joblib"),
        ("m.bin", EVIL, "m.bin"),
        ("m.dat", pickle.dumps(Evil(), 0), "m.dat"),
        ("m.txt", EVIL, "m.txt"),
        ("m.pkl.gz", gzip.compress(EVIL, mtime=0), "m.pkl.gz"),
        ("m.joblib", bz2.compress(EVIL), "m.joblib"),
        ("m.npy", array("|O", EVIL), "m.npy"),
        ("m.npy", array("object", EVIL), "m.npy"),
        ("m.npy", array("|\\x4f", EVIL), "m.npy"),
        ("m.pt", zipped({"m/data.pkl": EVIL}), "m.pt/m/data.pkl"),
        ("m.pth", zipped({"m/data.pkl": EVIL}), "m.pth/m/data.pkl"),
        ("m.npz", zipped({"x.npy": array("|O", EVIL)}), "m.npz/x.npy"),
        ("m.zip", zipped({"n.zip": zipped({"m.pickle": EVIL})}), "m.zip/n.zip/m.pickle"),
        ("m.pkl", EVIL[:-1] + b"garbage", "m.pkl"),
    ],
)
def test_a_dangerous_pickle_fails(name: str, data: bytes, inner: str) -> None:
    """Under any name, packed, inside a model or an array, or broken behind what does the harm."""
    found = looked(wheel({f"app/{name}": data}))

    assert said(found, "pickle") == (OutcomeKind.FAIL, f"'app/{inner}' {CALLS}")


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("m.pkl", b"\x80\x04nonsense", "a pickle could not be read: app/m.pkl ("),
        ("m.pkl", pickle.dumps(Odd()), "'app/m.pkl' calls '"),
        ("m.zip", zipped({"m.pkl": EVIL})[:-5], "a pickle could not be read: app/m.zip is a zip file that can't be"),
        (
            "a.zip",
            zipped({"b.zip": zipped({"c.zip": zipped({"d.zip": zipped({"e.zip": zipped({"m.pkl": EVIL})})})})}),
            "a pickle could not be read: app/a.zip/b.zip/c.zip/d.zip/e.zip lies in more than 3 files inside each other",
        ),
    ],
)
def test_what_cannot_be_told_of_a_pickle_is_unknown(name: str, data: bytes, expected: str) -> None:
    """Names that nobody knows, and bytes that can't be read, are no innocence."""
    kind, message = said(looked(wheel({f"app/{name}": data})), "pickle")

    assert (kind, message[: len(expected)]) == (OutcomeKind.UNKNOWN, expected)


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("m.pkl", pickle.dumps({"a": [1, 2]}), 1),
        ("m.npy", array("<f8", bytes(8)), 0),
        ("m.bin", b"\0\1\2\3" * 100, 0),
        ("m.pth", b"../somewhere\n", 0),
        ("m.pt", zipped({"m/data.pkl": pickle.dumps([1]), "m/version": b"3"}), 1),
    ],
)
def test_harmless_data_pass(name: str, data: bytes, count: int) -> None:
    """Pickles of plain values, arrays of numbers, and files that only sound like models."""
    found = looked(wheel({f"app/{name}": data}))

    assert (said(found, "pickle")[0], evidence(found, "pickle")) == (OutcomeKind.PASS, {"scanned": count})


# --- source distributions ---------------------------------------------------------------------------------------------

SDIST = {"app-1.0/PKG-INFO": METADATA, "app-1.0/setup.py": b"raise SystemExit"}


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "", data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, to, len(data)
    return made, data


def sdist(*more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    own = [member(name, data=data) for name, data in SDIST.items()]
    return gzip.compress(tar_of([*own, *more]), mtime=0)


def of_sdist(data: bytes) -> Found:
    return inspect(asked("app-1.0.tar.gz"), io.BytesIO(data))


def test_a_plain_source_distribution_passes() -> None:
    """With links inside it; what it installs nobody knows before it is built."""
    found = of_sdist(sdist(member("app-1.0/x", tarfile.SYMTYPE, "setup.py"), member("app-1.0/y", tarfile.DIRTYPE)))

    assert [(outcome.rule, outcome.kind, outcome.message) for outcome in found.outcomes] == [
        ("archive", OutcomeKind.PASS, "a plain tar.gz file of 4 members"),
        ("metadata", OutcomeKind.PASS, "file name, folder and PKG-INFO agree"),
        ("record", OutcomeKind.NOT_APPLICABLE, "source distributions have no list of their files"),
        ("contents", OutcomeKind.NOT_APPLICABLE, "what it installs is only known once it is built"),
        ("pickle", OutcomeKind.PASS, "it has no pickles"),
    ]
    assert (found.metadata, found.licences) == (METADATA, Licences(expression="MIT"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not a readable tar.gz file (it is cut)"),
        (
            b"nothing",
            "not a readable tar.gz file (zlib error: Error -3 while decompressing data: incorrect header check)",
        ),
        (sdist()[:-20], "not a readable tar.gz file (it is cut)"),
        (sdist() + b"x", "there are bytes behind its packed data"),
        (sdist() + sdist(), "there are bytes behind its packed data"),
        (gzip.compress(tar(SDIST) + tar(SDIST), mtime=0), "there are bytes behind its last member"),
        (sdist(member("/etc/passwd")), "its member '/etc/passwd' has an absolute path"),
        (sdist(member("../x")), "its member '../x' leads out of its folder"),
        (sdist(member("app-1.0/../../x")), "its member 'app-1.0/../../x' leads out of its folder"),
        (sdist(member("app-1.0/x", tarfile.SYMTYPE, "../../x")), "its link 'app-1.0/x' leads out of it, to '../../x'"),
        (sdist(member("app-1.0/x", tarfile.SYMTYPE, "/etc")), "its link 'app-1.0/x' leads out of it, to '/etc'"),
        (
            sdist(member("app-1.0/x", tarfile.SYMTYPE, "."), member("app-1.0/x/y")),
            "its member 'app-1.0/x/y' would be written through a link",
        ),
        (
            sdist(member("app-1.0/x", tarfile.LNKTYPE, "/etc/passwd")),
            "its link 'app-1.0/x' leads to '/etc/passwd', no file before it",
        ),
        (
            sdist(member("app-1.0/x", tarfile.LNKTYPE, "app-1.0/y"), member("app-1.0/y")),
            "its link 'app-1.0/x' leads to 'app-1.0/y', no file before it",
        ),
        (sdist(member("app-1.0/x", tarfile.CHRTYPE)), "its member 'app-1.0/x' is neither a file, a folder nor a link"),
        (sdist(member("app-1.0/x", tarfile.BLKTYPE)), "its member 'app-1.0/x' is neither a file, a folder nor a link"),
        (sdist(member("app-1.0/x", tarfile.FIFOTYPE)), "its member 'app-1.0/x' is neither a file, a folder nor a link"),
        (
            sdist(member("app-1.0/Setup.py")),
            "its members 'app-1.0/setup.py' and 'app-1.0/Setup.py' have the same name",
        ),
        (sdist(member("app-1.0/setup.py/x")), "its member 'app-1.0/setup.py' is a file and a folder"),
        (
            gzip.compress(bytes(100 * 1024 * 1024), mtime=0),
            "it unpacks to more than 50 times its size",
        ),
        (
            sdist(member("app-1.0/zeros", data=bytes(100 * 1024 * 1024))),
            "it unpacks to more than 50 times its size",
        ),
    ],
)
def test_a_hostile_source_distribution_is_refused(data: bytes, expected: str) -> None:
    """Members that would be written elsewhere, through links, over each other; devices and bombs."""
    assert said(of_sdist(data), "archive") == (OutcomeKind.FAIL, expected)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"app-1.0/setup.py": b""}, "it has no PKG-INFO"),
        (SDIST | {"other/x": b""}, "its members lie in 'app-1.0', 'other', expected one folder of its name"),
        (
            {name.replace("app-1.0", "app-2.0"): data for name, data in SDIST.items()},
            "its members lie in 'app-2.0', expected one folder of its name",
        ),
        (
            SDIST | {"app-1.0/PKG-INFO": METADATA.replace(b"app", b"evil")},
            "PKG-INFO says that it is evil, expected app",
        ),
    ],
)
def test_a_source_distribution_of_another_package_fails(members: dict[str, bytes], expected: str) -> None:
    """File name, folder and PKG-INFO must tell of what was asked for."""
    assert said(of_sdist(gzip.compress(tar(members), mtime=0)), "metadata")[1].startswith(expected)


def test_a_zip_file_is_a_source_distribution_too() -> None:
    """Read by the same rules as a wheel."""
    data = built(Part(name=name.encode(), data=data) for name, data in SDIST.items())

    found = inspect(asked("app-1.0.zip"), io.BytesIO(data))

    assert said(found, "archive") == (OutcomeKind.PASS, "a plain zip file of 2 members")
    assert said(found, "metadata") == (OutcomeKind.PASS, "file name, folder and PKG-INFO agree")


# --- conda packages ---------------------------------------------------------------------------------------------------

FILES = {"site-packages/app.py": b"x = 1\n", "site-packages/app-1.0.dist-info/METADATA": METADATA}


def digested(files: Mapping[str, bytes]) -> bytes:
    """`info/paths.json` with digests."""
    entries = [
        {
            "_path": name,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        for name, data in files.items()
    ]
    return json.dumps({"paths": entries, "paths_version": 1}).encode()


def index() -> bytes:
    return json.dumps(json.loads(index_json()) | {"license": "BSD-3-Clause", "depends": ["python >=3.9"]}).encode()


def described(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {"info/index.json": index(), "info/paths.json": digested(files)}


def of_conda(listed: Mapping[str, bytes], there: Mapping[str, bytes], kind: str = ".conda") -> Found:
    parts = tar(described(listed)), tar(there)
    data = conda(*parts) if kind == ".conda" else tar_bz2(described(listed) | dict(there))
    return inspect(asked(f"app-1.0-0{kind}"), io.BytesIO(data))


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_a_plain_conda_package_passes(kind: str) -> None:
    """Of either kind, and what it declares is handed on."""
    found = of_conda(FILES, FILES, kind)

    assert [(outcome.rule, outcome.kind, outcome.message) for outcome in found.outcomes] == [
        ("archive", OutcomeKind.PASS, "a plain conda package of 4 members"),
        ("metadata", OutcomeKind.PASS, "info/index.json and the file list agree with what was asked for"),
        ("record", OutcomeKind.PASS, "info/paths.json lists all 2 files with their digests"),
        ("contents", OutcomeKind.PASS, "nothing of it is run by itself"),
        ("pickle", OutcomeKind.PASS, "it has no pickles"),
    ]
    assert (found.requires, found.licences, found.holds, found.index) == (
        ("python >=3.9",),
        Licences(text="BSD-3-Clause"),
        ("app==1.0",),
        index().decode(),
    )


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (FILES | {"site-packages/app.py": b"x = 2\n"}, "info/paths.json has another sha256 of 'site-packages/app.py'"),
        (FILES | {"bin/evil": b""}, "info/paths.json leaves out 'bin/evil', which is there"),
        (
            {name: data for name, data in FILES.items() if "METADATA" in name},
            "info/paths.json lists 'site-packages/app.py', which isn't there",
        ),
    ],
)
def test_files_that_the_list_does_not_have_fail(kind: str, there: dict[str, bytes], expected: str) -> None:
    """Changed, added and missing ones."""
    assert said(of_conda(FILES, there, kind), "record") == (OutcomeKind.FAIL, expected)


def test_a_list_without_digests_is_unknown() -> None:
    """It says what is there, and not what it must be."""
    data = conda(
        tar({"info/index.json": index(), "info/paths.json": paths_json(FILES)}), tar(dict.fromkeys(FILES, b""))
    )
    found = inspect(asked("app-1.0-0.conda"), io.BytesIO(data))

    assert said(found, "record") == (OutcomeKind.UNKNOWN, "info/paths.json has no sha256 of 2 of 2 files")


def test_what_runs_by_itself_is_noted() -> None:
    """Link scripts, activation scripts and .pth files that Python doesn't read."""
    more = FILES | {"bin/.app-post-link.sh": b"", "etc/conda/activate.d/app.sh": b"", "share/app.pth": b""}
    found = of_conda(more, more)

    assert said(found, "contents") == (
        OutcomeKind.PASS,
        "parts of it are run by themselves, at installing or starting: 1 link scripts, 1 activation, 1 pth",
    )


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize(
    ("name", "data", "place", "why"),
    [
        ("site-packages/app.pth", b"import os\n", "site-packages/app.pth", RUNS),
        ("lib/python3.11/site-packages/app.pth", b"x\n", "site-packages/app.pth", PATHS_ONLY),
        ("site-packages/sitecustomize.py", b"", "site-packages/sitecustomize.py", RUNS_ALWAYS),
        ("Lib/site-packages/pip/__init__.py", b"", "site-packages/pip", "that belongs to pip"),
        ("lib/python3.11/os.py", b"", "lib/python3.11", "that is where Python's own modules are"),
        ("python.exe", b"", "python.exe", "it is Python itself"),
        ("python-scripts/pip", b"", "bin/pip", "it is an installer"),
        ("bin/activate", b"", "bin/activate", ENTERS),
    ],
)
def test_what_a_conda_package_puts_where_it_has_no_business_fails(
    kind: str, name: str, data: bytes, place: str, why: str
) -> None:
    """The same places as of a wheel, under the names that they have in conda packages."""
    more = FILES | {name: data, "site-packages/b-2.dist-info/METADATA": METADATA, "lib/libssl.so": b""}

    assert said(of_conda(more, more, kind), "contents") == (
        OutcomeKind.FAIL,
        f"its member {name!r} lands at {place!r}: {why}",
    )


def test_a_link_where_a_conda_package_has_no_business_fails() -> None:
    """What it leads to is what runs; nobody looks there for code."""
    link = member("site-packages/app.pth", tarfile.SYMTYPE, "app.py")
    data = conda(tar(described(FILES)), tar_of([*(member(name, data=text) for name, text in FILES.items()), link]))

    assert said(inspect(asked("app-1.0-0.conda"), io.BytesIO(data)), "contents") == (
        OutcomeKind.FAIL,
        f"its member 'site-packages/app.pth' lands at 'site-packages/app.pth': {RUNS}",
    )


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (
            b'{"noarch": {"type": "python", "entry_points": ["python3 = app:main"]}}',
            "its entry points make 'bin/python3': it is Python itself",
        ),
        (b"{", "info/link.json can't be read: Input data was truncated"),
    ],
)
def test_programs_that_conda_makes_are_held_to_the_same(link: bytes, expected: str) -> None:
    """They are listed in `info/link.json`."""
    data = conda(tar(described(FILES) | {"info/link.json": link}), tar(FILES))

    assert said(inspect(asked("app-1.0-0.conda"), io.BytesIO(data)), "contents") == (OutcomeKind.FAIL, expected)


def test_a_pickle_in_a_conda_package_fails() -> None:
    """It is read as those of a wheel are."""
    more = FILES | {"share/m.pkl": EVIL}

    assert said(of_conda(more, more), "pickle") == (OutcomeKind.FAIL, f"'share/m.pkl' {CALLS}")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member("../x")], "its member '../x' is no path inside a package"),
        ([member("bin/x", tarfile.SYMTYPE, "../../etc")], "its link 'bin/x' leads out of it, to '../../etc'"),
        ([member("bin/x", tarfile.LNKTYPE, "bin/y")], "its link 'bin/x' leads to 'bin/y', no file before it"),
        ([member("bin/x", tarfile.CHRTYPE)], "its member 'bin/x' is neither a file, a folder nor a link"),
        ([member("bin/x"), member("bin/x")], "it has 'bin/x' twice"),
        ([member("d", tarfile.SYMTYPE, "bin"), member("d/x")], "its member 'd/x' would be written through a link"),
    ],
)
def test_a_hostile_conda_package_is_refused(members: list[tuple[tarfile.TarInfo, bytes]], expected: str) -> None:
    """Members that would be written elsewhere, through links, over each other; devices."""
    data = conda(tar(described(FILES)), tar_of(members))

    assert said(inspect(asked("app-1.0-0.conda"), io.BytesIO(data)), "archive") == (OutcomeKind.FAIL, expected)


def test_a_conda_package_of_another_name_fails() -> None:
    """Its own index must say what was asked for."""
    info = {"info/index.json": index_json(name="evil"), "info/paths.json": digested(FILES)}
    found = inspect(asked("app-1.0-0.conda"), io.BytesIO(conda(tar(info), tar(FILES))))

    assert said(found, "metadata") == (
        OutcomeKind.FAIL,
        "info/index.json says it is 'evil' '1.0' '0', the channel lists it as 'app' '1.0' '0'",
    )


def test_a_conda_package_whose_zip_is_odd_is_refused() -> None:
    """Its zip file is read as strictly as a wheel's."""
    data = conda(tar(described(FILES)), tar(FILES)) + b"x"

    assert said(inspect(asked("app-1.0-0.conda"), io.BytesIO(data)), "archive") == (
        OutcomeKind.FAIL,
        "it doesn't end as a zip file does: a comment or other bytes follow its directory, or it is cut",
    )


def test_a_damaged_part_of_a_conda_package_is_refused() -> None:
    """The part that is installed is held to its checksum, too: here bytes that unpack to the same."""
    data = bytearray(conda(tar(described(FILES)), tar(FILES)))
    at = data.index(zst(tar(FILES)))
    # the checksum of the pkg part, in both of its headers
    crc = zlib.crc32(zst(tar(FILES))).to_bytes(4, "little")
    assert data.count(crc) == 2
    assert data.index(crc) < at
    forged = bytes(data).replace(crc, bytes(4))

    assert said(inspect(asked("app-1.0-0.conda"), io.BytesIO(forged)), "archive") == (
        OutcomeKind.FAIL,
        "the bytes of its member 'pkg-app-1.0-0.tar.zst' don't have their checksum",
    )
