"""How an optional part of this package is installed: never by a name that somebody else has on a public index."""

import re
from pathlib import Path

from quarantine.errors import install_extra

ROOT = Path(__file__).parents[2]
BY_NAME = re.compile(r"quarantine\[|(?:pip|pipx|uv tool|uvx?) (?:install|add|run) (?:-\S+ )*['\"]?quarantine\b")


def test_an_extra_comes_from_where_the_package_came_from() -> None:
    """A command that is copied from a message installs nothing of a stranger's."""
    assert install_extra("azure") == "run pip install '.[azure]' in the clone that quarantine was installed from"
    assert BY_NAME.search(install_extra("azure")) is None


def test_nothing_says_to_install_it_by_name() -> None:
    """Neither messages nor documents: the name on the public index is not ours."""
    files = [
        *ROOT.glob("quarantine/**/*.py"),
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*"),
    ]
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files if file.is_file()}

    assert BY_NAME.search("pip install 'quarantine[azure]'")
    assert BY_NAME.search("pip install --quiet quarantine")
    assert {name for name, text in texts.items() if BY_NAME.search(text)} == set()
    assert {"README.md", "docs/configuration.md", "quarantine/cli/doctor.py"} <= set(texts)
