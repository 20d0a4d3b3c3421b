"""`quarantine init`: a project to start from."""

import os
import shlex
from pathlib import Path

import click

from quarantine.cli.session import Session
from quarantine.errors import UsageError
from quarantine.report.escape import escape

__all__ = ["command"]

_CONFIG = """\
# quarantine: what is checked, for which targets, and where evidence comes from.
# Every key: quarantine allowlist schema
version: 1
project: {project}
allowlists: allowlists        # the policy and the curated lists, reviewed like code
store: .quarantine            # the audit log and the advisory database; keep it out of git

targets:                      # every environment is judged for each of these
  - python: "{python}"
    platform: {platform}

advisories:
  {source}
  max_age_hours: 48           # older advisories make every verdict undecided: run `quarantine advisories sync`

# With several people, exceptions need a store that they share and a way to know them; see docs/configuration.md.
# store: {{account: https://NAME.blob.core.windows.net}}
# policy: central             # what curators publish (`quarantine allowlist publish`) judges; this folder may only tighten it
# identity: {{kind: entra, tenant: TENANT-ID, audience: api://quarantine}}
# notify: [{{name: team, url: env:QUARANTINE_NOTIFY_TEAM}}]
"""


@click.command("init", short_help="Start a project.")
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--project", metavar="NAME", help="What verdicts are filed under [default: the folder's name].")
@click.option(
    "--advisories", metavar="SOURCE", help="A URL, zip or folder to sync advisories from [default: OSV's export]."
)
@click.pass_obj
def command(session: Session, folder: Path, project: str | None, advisories: str | None) -> int:
    """Write a configuration, the starting allowlists and an example environment into FOLDER; nothing is overwritten.

    \b
    Examples:
      quarantine init my-project
      cd my-project && quarantine advisories sync && quarantine check requirements.txt
    """
    from quarantine.adapters.local_store import write_file  # noqa: PLC0415  # --help needs none of it
    from quarantine.config import default_settings, shipped  # noqa: PLC0415

    defaults = default_settings(Path(os.path.realpath(folder)), session.environment)
    target = defaults.targets[0]
    source = "# source: the OSV export; a URL, a zip or a folder may stand here instead"
    files = {
        "quarantine.yaml": _CONFIG.format(
            project=_quoted(project or defaults.project),
            python=target.python,
            platform=target.platform,
            source=source if advisories is None else f"source: {_quoted(_absolute(advisories))}",
        ).encode(),
        "requirements.txt": (shipped("examples") / "requirements.txt").read_bytes(),
        ".quarantine/.gitignore": b"*\n",
    }
    files |= {
        f"allowlists/{path.name}": path.read_bytes()
        for path in sorted(shipped("allowlists").iterdir())
        if path.suffix == ".yaml"
    }
    if os.path.lexists(folder / "requirements.txt"):
        del files["requirements.txt"]  # an example is no use where there is something to check
    there = [name for name in files if os.path.lexists(folder / name)]
    if there:
        raise UsageError(f"{folder / there[0]} is there already: choose another folder, or move it away")
    for name, data in files.items():
        write_file(folder / name, data, private=name.startswith(".quarantine/"))
    session.write("".join(f"wrote {escape(str(folder / name))}\n" for name in files))
    step = "" if folder == Path() else f"cd {shlex.quote(escape(str(folder)))} && "
    session.say(f"next: {step}quarantine advisories sync && quarantine check requirements.txt")
    return 0


def _absolute(source: str) -> str:
    """A source as it can be found from anywhere: the configuration's own folder is another one than this."""
    return source if "://" in source else os.path.realpath(source)


def _quoted(text: str) -> str:
    """The text as a YAML scalar: JSON's quoting is YAML's too."""
    import json  # noqa: PLC0415  # only here

    return json.dumps(text)
