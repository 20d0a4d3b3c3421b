"""Files are read root-confined, and named as the person at the working directory would name them."""

from pathlib import Path

import pytest

from quarantine.errors import SpecError
from quarantine.pipeline.read import read_specs


def _refusal(folder: Path, *names: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_specs(map(Path, names), folder)
    return str(caught.value).splitlines()


def test_includes_are_read_from_below_the_root(tmp_path: Path) -> None:
    """A file may include what lies beside and below, and above as long as it stays in the working directory."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.txt").write_text("b\n")
    (tmp_path / "sub/more.txt").write_text("-r ../base.txt\nc\n")
    (tmp_path / "requirements.txt").write_text("-r sub/more.txt\na\n")

    (spec,) = read_specs([Path("requirements.txt")], tmp_path)

    assert [(r.name, str(r.location)) for r in spec.requirements] == [
        ("b", "base.txt:1"), ("c", "sub/more.txt:2"), ("a", "requirements.txt:2"),
    ]  # fmt: skip
    assert [source.path for source in spec.sources] == ["requirements.txt", "sub/more.txt", "base.txt"]


def test_a_file_outside_the_working_directory_is_named_as_it_was_given(tmp_path: Path) -> None:
    """Its own folder is its root then, and every place in messages can be opened from here."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (there / "requirements.txt").write_text("-r more.txt\na\n")
    (there / "more.txt").write_text("b\n")
    (there / "broken.txt").write_text("b=1\n")

    (spec,) = read_specs([Path("../there/requirements.txt")], here)

    assert spec.file == "../there/requirements.txt"
    assert [str(r.location) for r in spec.requirements] == ["../there/more.txt:1", "../there/requirements.txt:2"]
    assert _refusal(here, "../there/broken.txt")[0].startswith("../there/broken.txt:1: ")


def test_a_missing_include_is_told_at_its_line(tmp_path: Path) -> None:
    """The line that asks for the file is the one to mend."""
    (tmp_path / "requirements.txt").write_text("a\n-r none.txt\n-c also-none.txt\n")

    assert _refusal(tmp_path, "requirements.txt") == [
        "requirements.txt:2: 'none.txt' is not there",
        "requirements.txt:3: 'also-none.txt' is not there",
    ]


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    """A link inside the project to a file outside it is refused."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret.txt").write_text("a\n")
    (project / "link.txt").symlink_to(tmp_path / "secret.txt")
    (project / "requirements.txt").write_text("-r link.txt\n")

    assert _refusal(project, "requirements.txt") == [
        "requirements.txt:1: 'link.txt' leads outside the project: only files below it are read"
    ]


def test_a_spec_that_is_a_link_out_is_not_quoted(tmp_path: Path) -> None:
    """A pull request can't make a check print a file of the machine; a link to a file beside it is fine."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "netrc").write_text("machine x login me password CANARY\n")
    (project / "requirements.txt").symlink_to(tmp_path / "netrc")
    (project / "base.txt").write_text("a\n")
    (project / "link.txt").symlink_to("base.txt")

    (spec,) = read_specs([Path("link.txt")], project)

    assert [r.name for r in spec.requirements] == ["a"]
    assert _refusal(project, "requirements.txt") == [
        f"requirements.txt: is a link that leads outside {project}: name the file itself"
    ]


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    """A missing file, a folder, a device and a broken one are told in one go."""
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "broken.txt").write_text("b=1\n")

    told = _refusal(tmp_path, "none.txt", "folder.txt", "broken.txt")

    assert told[:2] == [
        "none.txt: no such file",
        "folder.txt: no environment file was found below this folder: name a file (quarantine check --help says which are read)",
    ]
    assert told[2].startswith("broken.txt:1: ")
    assert _refusal(Path("/dev"), "null") == ["null: is not a regular file: expected an environment file"]


def test_too_much_is_too_much(tmp_path: Path) -> None:
    """Files that are each within the limit are refused where all of them together are not."""
    big = b"#" * 1000 + b"\n"
    for number in range(8):
        (tmp_path / f"r{number}.txt").write_bytes(big * 9500)
    (tmp_path / "requirements.txt").write_text("".join(f"-r r{number}.txt\n" for number in range(8)))

    assert _refusal(tmp_path, "requirements.txt") == ["requirements.txt:8: more than 64 MiB are included"]
