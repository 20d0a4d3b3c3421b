"""What kind of environment a YAML document describes, told by its keys alone.

Cheap, and wrong only towards reading too much: a file that conda or Azure ML would take is never passed over because it
looks odd; its reader says what is wrong with it.
"""

from collections.abc import Mapping
from typing import Literal

from quarantine.document import Document

__all__ = ["Kind", "mapping", "recognise"]

Kind = Literal["conda-environment", "conda-lock", "python-env", "azureml"]

_SCHEMAS = ("azuremlschemas", "azureml")
_AZUREML_TYPES = frozenset(
    {"command", "pipeline", "sweep", "parallel", "spark", "pipeline_component", "batch", "online"}
)
_BESIDE_ENVIRONMENT = frozenset(
    {"command", "code", "code_configuration", "component", "compute", "distribution", "endpoint_name", "task", "trial"}
)
_BESIDE_ENDPOINT = frozenset({"model", "environment", "instance_type", "code_configuration", "component", "compute"})
_ELSEWHERE = frozenset(
    {"apiVersion", "environment", "galaxy_info", "importers", "lockfileVersion", "packages", "settings"}
)
_CONDA_KEYS = frozenset({"name", "channels", "dependencies", "prefix", "variables", "platforms", "category"})


def recognise(document: Document) -> Kind | None:
    """The kind of environment that the document describes, None where it describes none."""
    value = mapping(document.value)
    if value is None:
        return None
    schema = value.get("$schema")
    if isinstance(schema, str) and schema.lower().endswith(".schema.json") and any(s in schema for s in _SCHEMAS):
        return "azureml"
    if {"version", "metadata", "package"} <= value.keys() and isinstance(value["package"], list):
        return "conda-lock"
    if _is_azureml(value):
        return "azureml"
    if "python" in value and value.keys() & {"build_dependencies", "dependencies"}:
        return "python-env"
    return "conda-environment" if _is_conda(value) else None


def mapping(value: object) -> Mapping[str, object] | None:
    """The value as a mapping, None where it is none; a document's keys are text."""
    return value if isinstance(value, dict) else None


def _is_azureml(value: Mapping[str, object]) -> bool:
    """Whether it is an Azure ML environment, job, component or deployment that doesn't name its schema."""
    if "conda_file" in value:
        return True
    if "name" in value and ("image" in value or mapping(value.get("build")) is not None) and "channels" not in value:
        return not value.keys() & {"services", "stages", "steps", "apiVersion"}
    if isinstance(value.get("environment"), str | dict) and value.keys() & _BESIDE_ENVIRONMENT:
        return True
    if "endpoint_name" in value and value.keys() & _BESIDE_ENDPOINT:
        return True
    return str(value.get("type")) in _AZUREML_TYPES and isinstance(value.get("jobs"), dict)


def _is_conda(value: Mapping[str, object]) -> bool:
    """Whether conda would read it as an environment: by its dependencies, or by holding none but conda's keys."""
    listed = value.get("dependencies")
    if isinstance(listed, list) and any(isinstance(i, str) or "pip" in (mapping(i) or ()) for i in listed):
        return True
    if value.keys() & _ELSEWHERE:
        return False  # charts, roles and packages of other languages have their dependencies under the same key
    if listed == [] or isinstance(listed, dict):
        return True
    return bool(value.keys() & {"channels", "dependencies", "prefix"}) and value.keys() <= _CONDA_KEYS
