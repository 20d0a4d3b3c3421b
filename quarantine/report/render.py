"""One door to all formats; a format's module, and the library behind it, is loaded when it is asked for."""

from quarantine.errors import UsageError
from quarantine.model import CheckResult

__all__ = ["FORMATS", "render"]

FORMATS = ("text", "json", "sarif", "junit", "markdown", "cyclonedx")


def render(form: str, result: CheckResult, *, width: int | None = None, colour: bool = False) -> str:
    """The result in one of FORMATS, ending in a newline; `width` (columns, None when piped) and `colour` are text's.

    UsageError for any other format.
    """
    match form:
        case "text":
            from quarantine.report import text  # noqa: PLC0415

            return text.render(result, width=width, colour=colour)
        case "json":
            from quarantine.report import json_verdict  # noqa: PLC0415

            return json_verdict.render(result)
        case "sarif":
            from quarantine.report import sarif  # noqa: PLC0415

            return sarif.render(result)
        case "junit":
            from quarantine.report import junit  # noqa: PLC0415

            return junit.render(result)
        case "markdown":
            from quarantine.report import markdown  # noqa: PLC0415

            return markdown.render(result)
        case "cyclonedx":
            from quarantine.report import cyclonedx  # noqa: PLC0415

            return cyclonedx.render(result)
        case _:
            raise UsageError(f"{form!a} is not a report format: expected one of {', '.join(FORMATS)}")
