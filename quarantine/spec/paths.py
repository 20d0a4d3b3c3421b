"""Where a path in a user's file leads, told from the text alone: to a file or folder under the root, or out of it."""

from quarantine.spec.text import quote

__all__ = ["folder_in_root", "is_remote", "path_in_root"]


def path_in_root(including: str, value: str) -> str | None:
    """The path that an include means, relative to the root; None when it leads out of the root.

    Raises ValueError where the answer would depend on the disk: `a/..` is not here if `a` is a link.
    """
    found = _steps(including, value)
    if found is None:
        return None
    steps, below = found
    if not steps or not below:
        raise ValueError(f"{quote(value)} is a folder: an include names a file")
    return "/".join(steps)


def folder_in_root(including: str, value: str) -> str | None:
    """The folder that a path in the file `including` means, relative to the root ("" for the root itself).

    None when it leads out of the root; ValueError as in `path_in_root`.
    """
    found = _steps(including, value)
    return None if found is None else "/".join(found[0])


def is_remote(value: str) -> bool:
    """Whether a text is a URL and no path; `file:` is a path."""
    scheme = value.partition(":")[0].lower()
    return scheme != "file" and ("://" in value or (":" in value and scheme in {"http", "https"}))


def _steps(including: str, value: str) -> tuple[list[str], bool] | None:
    """The segments of the path from the root, and whether it names anything below where it starts."""
    if not value:
        raise ValueError("an include without a path")
    if value.lower().startswith("file:") or value.startswith("/") or value[1:3] in {":/", ":\\"}:
        return None
    if "\\" in value:
        raise ValueError(f"a backslash in the path {quote(value)}: write '/' between folders")
    if ":" in value:
        raise ValueError(f"a ':' in the path {quote(value)}, which is neither a URL nor a drive's: rename the file")
    steps = including.split("/")[:-1]
    below = False
    for step in value.split("/"):
        if step in {"", "."}:
            continue
        if step != "..":
            steps.append(step)
            below = True
        elif below:
            raise ValueError(f"the path {quote(value)} goes down and up again: write it without '..' after a folder")
        elif not steps:
            return None
        else:
            steps.pop()
    return steps, below
