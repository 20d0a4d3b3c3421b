"""Whatever an Azure ML YAML holds, it is read, refused with a place, or asks for files under the root."""

from hypothesis import given
from hypothesis import strategies as st

from quarantine.document import Document
from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec import azureml
from quarantine.spec.recognise import recognise

_KEYS = st.sampled_from(
    [
        "$schema",
        "name",
        "type",
        "image",
        "build",
        "conda_file",
        "environment",
        "jobs",
        "component",
        "trial",
        "task",
        "path",
        "os_type",
        "endpoint_name",
        "tags",
    ]
)
_TEXTS = st.sampled_from(
    [
        "", "x", "./a.yml", "../../a.yml", "file:/etc/passwd", "file:./a.yml", "/etc/passwd", "azureml:x:1", "azureml:",
        "azureml://registries/r/environments/x/versions/1", "https://u:canary@example.org/x", "{{x}}", "$X", "a/../b",
        "https://azuremlschemas.azureedge.net/latest/environment.schema.json", "git@example.org:x", "\u212a.yml", "pipeline",
    ]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_nothing_breaks_the_reader(value: object) -> None:
    """A document of any shape gives a spec, a list of files below the root, or problems of one printable line each."""
    document = Document("envs/x.yml", value, {})
    answer: EnvironmentSpec | Needs | None = None
    told: list[str] = []
    try:
        answer = azureml.read("envs/x.yml", {"envs/x.yml": b""}, document)
    except SpecError as error:
        told = str(error).split("\n")

    assert all(line.startswith("envs/x.yml:") and line.isascii() and line.isprintable() for line in told)
    assert "canary" not in repr(answer) + "".join(told)
    if isinstance(answer, Needs):
        assert not [path for path in answer.paths if path.startswith(("/", "..")) or "/../" in path]


@given(_VALUES)
def test_anything_is_told_or_is_none(value: object) -> None:
    """Telling what a document is never fails."""
    assert recognise(Document("x.yml", value, {})) in {None, "azureml", "conda-environment", "conda-lock", "python-env"}
