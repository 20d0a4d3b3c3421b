"""What an exception may be asked for by name, and how everything else is refused."""

import pytest

from quarantine.model import parse_version
from quarantine.spec.asked import CondaAsked, PythonAsked, parse_asked

EXAMPLES = "expected NAME==VERSION, pkg:pypi/NAME@VERSION, or the pkg:conda/... URL that a verdict has"
NUMPY = PythonAsked(name="numpy", version=parse_version("1.26.4"))
CONDA = CondaAsked(name="numpy", version="1.26.4", build="py311h_0", subdir="linux-64", channel="forge", kind=".conda")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("numpy==1.26.4", NUMPY),
        ("NumPy == 1.26.4", NUMPY),
        ("pkg:pypi/numpy@1.26.4", NUMPY),
        ("pkg:PyPI/Num_Py@2.0%2Bcpu", PythonAsked(name="num-py", version=parse_version("2.0+cpu"))),
        ("torch==1!2.0rc1", PythonAsked(name="torch", version=parse_version("1!2.0rc1"))),
        ("pkg:conda/numpy@1.26.4?build=py311h_0&channel=forge&subdir=linux-64&type=conda", CONDA),
        (
            "pkg:conda/numpy@1.26.4?subdir=noarch&build=0",
            CondaAsked(name="numpy", version="1.26.4", build="0", subdir="noarch"),
        ),
    ],
)
def test_one_version_of_one_package(text: str, expected: object) -> None:
    """A name with its version, or a package URL, is read as what it names."""
    assert parse_asked(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("numpy", f"'numpy' is not exactly one version: {EXAMPLES}"),
        ("numpy>=1.26", f"'numpy>=1.26' is not exactly one version: {EXAMPLES}"),
        ("numpy==1.*", f"'numpy==1.*' is not exactly one version: {EXAMPLES}"),
        ("numpy==1.0,!=1.1", f"'numpy==1.0,!=1.1' is not exactly one version: {EXAMPLES}"),
        ("numpy===1.0", f"'numpy===1.0' is not exactly one version: {EXAMPLES}"),
        (
            "numpy[extra]==1.0",
            f"'numpy[extra]==1.0' has an extra, a marker or a URL, which an exception can't be for: {EXAMPLES}",
        ),
        (
            "numpy==1.0; python_version > '3'",
            f"\"numpy==1.0; python_version > '3'\" has an extra, a marker or a URL, which an exception can't be for: {EXAMPLES}",
        ),
        (
            "numpy @ https://example.org/numpy-1.0-py3-none-any.whl",
            (
                "'numpy @ https://example.org/numpy-1.0-py3-none-any.whl' names a package by where it lies, and an exception is "
                f"for files of an upstream: {EXAMPLES}"
            ),
        ),
        (
            "./numpy-1.0-py3-none-any.whl",
            (
                "'./numpy-1.0-py3-none-any.whl' names a package by where it lies, and an exception is for files of an upstream: "
                f"{EXAMPLES}"
            ),
        ),
        ("pkg:pypi/numpy", f"'pkg:pypi/numpy' doesn't name one version: {EXAMPLES}"),
        ("pkg:pypi/numpy@1.0?build=1", f"'pkg:pypi/numpy@1.0': a Python distribution has no build: {EXAMPLES}"),
        ("pkg:pypi/numpy@1.0#sub", f"'pkg:pypi/numpy@1.0#sub' is not the URL of a package: {EXAMPLES}"),
        (
            "pkg:oci/python@sha256:00",
            f"'pkg:oci/python@sha256:00' is no package of PyPI or conda, and exceptions are for those alone: {EXAMPLES}",
        ),
        (
            "pkg:conda/numpy@1.0?subdir=noarch",
            "'pkg:conda/numpy@1.0' doesn't name one build: expected build and subdir, as a verdict has them",
        ),
        (
            "pkg:conda/numpy@1.0?subdir=noarch&build=py*",
            f"'pkg:conda/numpy@1.0': 'py*' is more than one build: {EXAMPLES}",
        ),
        (
            "pkg:conda/numpy@1.0?subdir=../x&build=0",
            f"'pkg:conda/numpy@1.0' is not the URL of a conda package: {EXAMPLES}",
        ),
        (
            "pkg:conda/numpy@1.0?subdir=noarch&build=0&type=exe",
            "'pkg:conda/numpy@1.0': type is 'exe': expected conda or tar.bz2",
        ),
        (
            "pkg:conda/numpy@1.0?subdir=noarch&build=0&build=1",
            ("'pkg:conda/numpy@1.0': 'build=1' qualifies no package: expected build, channel, subdir, type"),
        ),
        (
            "\u212aeras==1.0",
            "'\\u212aeras==1.0' holds KELVIN SIGN (U+212A): only ASCII letters, digits, '.', '-' and '_' may be used in names",
        ),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    """What is no package, or more than one version of one, is refused with what is expected."""
    with pytest.raises(ValueError) as caught:
        parse_asked(text)
    assert str(caught.value) == message


def test_a_long_text_is_not_read() -> None:
    """Nothing that is longer than any name and version is looked at."""
    with pytest.raises(ValueError, match="is longer than 1024 characters"):
        parse_asked("a" * 1025 + "==1")
