"""What a verdict file says that exceptions may be asked for, and how a file that isn't as a check wrote it is refused."""

from typing import Any

import pytest
from verdict_documents import advisory, conda_item, document, encoded, item, reason

from quarantine.errors import SpecError
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem, parse_version
from quarantine.spec.asked import CondaAsked, PythonAsked
from quarantine.spec.verdict_file import MAX_BYTES, LeftOut, Refused, VerdictFile, parse_verdict

NUMPY = ExceptionFile(
    ecosystem=Ecosystem.PYPI,
    upstream="pypi",
    name="numpy",
    version="1.26.4",
    filename="numpy-1.26.4-py3-none-any.whl",
    sha256="a" * 64,
    size=100,
)
OPENSSL = ExceptionFile(
    ecosystem=Ecosystem.CONDA,
    upstream="forge",
    name="openssl",
    version="3.0.1",
    filename="openssl-3.0.1-h0_1.conda",
    sha256="b" * 64,
    subdir="linux-64",
    build="h0_1",
)


def _parsed(*items: dict[str, Any]) -> VerdictFile:
    return parse_verdict("verdict.json", encoded(document(*items)))


def test_every_refused_package_is_found() -> None:
    """The denied ones with their files and failed rules, the undecided with those that couldn't tell; the allowed aren't."""
    found = _parsed(
        item(reasons=[reason(), reason("minimum-age"), reason("yanked", "pass")]),
        item("flask", "3.0", verdict="allowed"),
        item("torch", "2.0", verdict="undecided", reasons=[reason(outcome="unknown"), reason("yanked", "pass")]),
        conda_item(),
    )

    assert found == VerdictFile(
        file="verdict.json",
        stage="production",
        refused=(
            Refused(
                asked=PythonAsked(name="numpy", version=parse_version("1.26.4")),
                upstream="pypi",
                files=(NUMPY,),
                rules=frozenset({"vulnerability", "minimum-age"}),
                line=7,
            ),
            Refused(
                asked=PythonAsked(name="torch", version=parse_version("2.0")),
                upstream="pypi",
                files=(
                    ExceptionFile(
                        ecosystem=Ecosystem.PYPI,
                        upstream="pypi",
                        name="torch",
                        version="2.0",
                        filename="torch-2.0-py3-none-any.whl",
                        sha256="a" * 64,
                        size=100,
                    ),
                ),
                rules=frozenset({"vulnerability"}),
                line=75,
                undecided=True,
            ),
            Refused(
                asked=CondaAsked(
                    name="openssl", version="3.0.1", build="h0_1", subdir="linux-64", channel="forge", kind=".conda"
                ),
                upstream="forge",
                files=(OPENSSL,),
                rules=frozenset({"vulnerability"}),
                line=109,
            ),
        ),
        left_out=(),
    )


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"artifacts": []}, "its files aren't known"),
        ({"reasons": [reason(outcome="pass")]}, "no rule could be evaluated"),
        ({"advisories": None}, "its advisories couldn't be read"),
    ],
)
def test_what_evidence_would_tell_is_no_matter_for_an_exception(changed: dict[str, Any], why: str) -> None:
    """An undecided item is left out by name where nobody has to answer for what isn't known."""
    found = _parsed(item(verdict="undecided", **({"reasons": [reason(outcome="unknown")]} | changed)))

    mend = "mend the evidence (quarantine doctor), and check again"
    assert (found.refused, found.left_out) == (
        (),
        (LeftOut(label="numpy 1.26.4", why=f"it is undecided, and {why}: {mend}"),),
    )


def test_a_void_verdict_asks_for_nothing() -> None:
    """Where a precondition wasn't met, no evidence of the check counts."""
    one = item(verdict="undecided", reasons=[reason(outcome="unknown")])
    data = encoded(document(one, preconditions=[reason("advisory-snapshot", "unknown")]))

    found = parse_verdict("verdict.json", data)

    why = "it is undecided, and a precondition of the check wasn't met: mend the evidence (quarantine doctor), and check again"
    assert (found.refused, found.left_out) == ((), (LeftOut(label="numpy 1.26.4", why=why),))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"advisories": [advisory(), advisory(malware=True)]}, "it is malware, which nobody may let in"),
        ({"reasons": [reason("malware")]}, "it is malware, which nobody may let in"),
        ({"ecosystem": "oci"}, "exceptions are for packages of PyPI and conda"),
        ({"ecosystem": "azureml"}, "exceptions are for packages of PyPI and conda"),
        (
            {"upstream": None, "artifacts": []},
            "no upstream has it: see that its name is right, or let curators add the upstream that has it",
        ),
    ],
)
def test_what_no_exception_can_be_for_is_left_out(changed: dict[str, Any], why: str) -> None:
    """Malware, images and what nobody has are told apart from what is asked for."""
    found = _parsed(item(), item("other", "1.0", **changed))

    assert [str(one.asked) for one in found.refused] == ["numpy 1.26.4"]
    assert found.left_out == (LeftOut(label="other 1.0", why=why),)


def test_a_direct_reference_is_left_out() -> None:
    """What is named by where it lies has no version and no upstream."""
    found = _parsed(item(version=None, artifacts=[]))

    why = "it is named by where it lies: an exception is for files of an upstream"
    assert found.left_out == (LeftOut(label="numpy", why=why),)


def test_a_source_counts_only_where_there_is_no_wheel() -> None:
    """Beside a wheel nobody has to build; alone it is what is asked for."""
    source = {"filename": "numpy-1.26.4.tar.gz", "digest": f"sha256:{'c' * 64}", "size": 5}
    wheel = item()["artifacts"][0]

    both, alone = _parsed(item(artifacts=[source, wheel])), _parsed(item(artifacts=[source]))

    assert [file.filename for file in both.refused[0].files] == ["numpy-1.26.4-py3-none-any.whl"]
    assert [file.filename for file in alone.refused[0].files] == ["numpy-1.26.4.tar.gz"]


FILE = {"filename": "numpy-1.26.4-py3-none-any.whl", "digest": f"sha256:{'a' * 64}", "size": 1}
ITEM = "verdict.json:7: items[0] ('pkg:pypi/numpy@1.26.4'): "


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "scipy"}, f"{ITEM}its name and version are 'scipy 1.26.4': expected those of its package URL"),
        ({"version": "1.26.5"}, f"{ITEM}its name and version are 'numpy 1.26.5': expected those of its package URL"),
        (
            {"artifacts": [FILE | {"digest": None}]},
            f"{ITEM}'numpy-1.26.4-py3-none-any.whl' has 'no digest': an exception binds the sha256",
        ),
        (
            {"artifacts": [FILE | {"digest": "md5:00"}]},
            f"{ITEM}'numpy-1.26.4-py3-none-any.whl' has 'md5:00': an exception binds the sha256",
        ),
        (
            {"artifacts": [FILE | {"filename": "evil-1.26.4-py3-none-any.whl"}]},
            f"{ITEM}'evil-1.26.4-py3-none-any.whl' is not a wheel of numpy 1.26.4",
        ),
        (
            {"artifacts": [FILE | {"filename": "../../numpy-1.26.4.tar.gz"}]},
            (
                f"{ITEM}'../../numpy-1.26.4.tar.gz': expected `str` matching regex "
                "'^[A-Za-z0-9_][A-Za-z0-9._+!-]{0,254}\\\\Z' - at `$.filename`"
            ),
        ),
        (
            {"artifacts": [FILE | {"filename": "numpy.exe"}]},
            f"{ITEM}'numpy.exe' is no file of a Python distribution",
        ),
        (
            {"purl": "pkg:pypi/numpy@1.26.4%0a##vso[x]"},
            (
                "verdict.json:7: items[0] ('pkg:pypi/numpy@1.26.4%0a##vso[x]'): 'pkg:pypi/numpy@1.26.4%0a##vso[x]' is not the URL of a "
                "package: expected NAME==VERSION, pkg:pypi/NAME@VERSION, or the pkg:conda/... URL that a verdict has"
            ),
        ),
        (
            {"ecosystem": "conda"},
            f"{ITEM}its name and version are 'numpy 1.26.4': expected those of its package URL",
        ),
        ({"verdict": "fine"}, "verdict.json:13: items[0].verdict: invalid enum value 'fine'"),
        ({"artifacts": {}}, "verdict.json:14: items[0].artifacts: expected `array`, got `object`"),
        (
            {"artifacts": [FILE | {"size": -1}]},
            "verdict.json:18: items[0].artifacts[0].size: expected `int` >= 0",
        ),
    ],
)
def test_an_item_that_is_otherwise_is_refused(changed: dict[str, Any], message: str) -> None:
    """With the line where it stands; what is inside of it is never followed."""
    with pytest.raises(SpecError) as caught:
        _parsed(item() | changed)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "verdict.json:1: not JSON: expecting value"),
        (b"[]", "verdict.json:1: the document: expected `object`, got `array`"),
        (
            b'{\n  "schema": "quarantine/verdict/2"\n}',
            "verdict.json:2: schema: invalid enum value 'quarantine/verdict/2'",
        ),
        (b'{\n"schema": 1,\n\n"schema": 2}', "verdict.json: not JSON: 'schema' stands twice in one object"),
        (b'{"a": NaN}', "verdict.json: not JSON: NaN is no number of JSON"),
        (b"[" * 65, "verdict.json:1: nested deeper than 64"),
        (b'\xff\xfe{"', "verdict.json: not UTF-8 (byte 0): expected a JSON document of this tool"),
        (b" " * (MAX_BYTES + 1), f"verdict.json: more than {MAX_BYTES} bytes: expected a document of this tool"),
        (
            b"1" * 5000,
            "verdict.json: not JSON: Exceeds the limit (4300 digits) for integer string conversion: value has 5000 ",
        ),
        (b"{}", "verdict.json:1: the document: object missing required field `schema`"),
    ],
    ids=["empty", "list", "schema", "twice", "nan", "deep", "utf-16", "large", "number", "members"],
)
def test_what_is_no_verdict_is_refused(data: bytes, message: str) -> None:
    """Whatever else a file may hold, with its line where it has one."""
    with pytest.raises(SpecError) as caught:
        parse_verdict("verdict.json", data)
    assert str(caught.value).startswith(message)
