"""Hash-checking mode of requirements files: when a file is a lock, and what its compiler noted about who needs what.

pip: "hash-checking mode is all or nothing": one `--hash` asks for a pin and a hash on every requirement.
"""

from collections.abc import Sequence

from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.model import LockedPackage, Requirement, parse_name, parse_version
from quarantine.spec.text import Problems

__all__ = ["as_lock"]


def as_lock(
    requirements: Sequence[Requirement], via: Sequence[tuple[str, ...]], problems: Problems, *, required: bool
) -> tuple[LockedPackage, ...] | None:
    """The packages that fully hashed requirements lock; None when nothing is hashed.

    `via` are the comments behind each requirement. What pip refuses in this mode is added to `problems`. Direct
    references stay in the lock, hashed or not, for the policy to judge.
    """
    named = [requirement for requirement in requirements if requirement.reference is None]
    if not named or not (required or any(requirement.digests for requirement in named)):
        return None
    versions: list[Version | None] = []
    for requirement in requirements:
        versions.append(_pin(requirement))
        if requirement.reference is not None:
            if requirement.name is None:
                _add(problems, requirement, "a reference without a name among hashed requirements: write 'NAME @ ...'")
            continue
        if not requirement.digests:
            why = "--require-hashes stands in this file" if required else "others have one"
            _add(
                problems,
                requirement,
                f"{requirement.name} has no --hash, but {why}: pip wants one on every requirement",
            )
        elif versions[-1] is None:
            _add(problems, requirement, f"{requirement.name} has a --hash but no version: pin it with '=='")
    requires = _requires(requirements, via)
    return tuple(
        LockedPackage(
            name=requirement.name,
            version=version,
            marker=requirement.marker,
            digests=requirement.digests,
            requires=requires.get(requirement.name, ()),
            reference=requirement.reference,
            location=requirement.location,
        )
        for requirement, version in zip(requirements, versions, strict=True)
        if requirement.name is not None
    )


def _pin(requirement: Requirement) -> Version | None:
    """The one version that the requirement takes, None where it takes several."""
    specifiers = list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator not in {"==", "==="}:
        return None
    try:
        return parse_version(specifiers[0].version)
    except ValueError:
        return None


def _requires(
    requirements: Sequence[Requirement], via: Sequence[tuple[str, ...]]
) -> dict[NormalizedName, tuple[NormalizedName, ...]]:
    """Who requires what, by the `# via` notes that pip-compile and uv leave behind a requirement."""
    locked = {requirement.name for requirement in requirements}
    requires: dict[NormalizedName, set[NormalizedName]] = {}
    for requirement, notes in zip(requirements, via, strict=True):
        if requirement.name is None:
            continue
        for requirer in _requirers(notes):
            if requirer in locked and requirer != requirement.name:
                requires.setdefault(requirer, set()).add(requirement.name)
    return {requirer: tuple(sorted(names)) for requirer, names in requires.items()}


def _requirers(notes: tuple[str, ...]) -> set[NormalizedName]:
    found: set[NormalizedName] = set()
    inside = False
    for note in notes:
        # `# via a, b` on one line, or `# via` with one name on each of the next lines
        if note == "via" or note.startswith("via "):
            inside = True
            note = note.removeprefix("via")  # noqa: PLW2901
        if inside:
            for part in note.split(","):
                try:
                    found.add(parse_name(part.strip().partition("[")[0]))
                except ValueError:
                    continue  # a file (`-r requirements.in`) or prose, no package
    return found


def _add(problems: Problems, requirement: Requirement, message: str) -> None:
    problems.add(requirement.location.file, requirement.location.line, message)
