"""Approved files beside what the owners of their names list: by digest, for one project and stage.

An approved file joins the page of the upstream that it was approved for. A name that no upstream has, or that is kept to
the mirror, is the mirror's own; a name that somebody else has is never. What is here judges nothing: the rules see which
exception stands behind a file.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from packaging.utils import NormalizedName

from quarantine.archive.metadata import parse_metadata
from quarantine.exceptions import MIRROR, Grant, Grants
from quarantine.model import MIRRORED, Artifact, Digest, Ecosystem, IndexPage, Target, parse_version, parse_wheel_name
from quarantine.ports import OverlayFile

__all__ = ["Overlay"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Overlay:
    """The wheels that exceptions let in and that the mirror has. `read` gives core metadata by digest, None where it isn't there.

    `reserved` says which upstream alone may have a name. `let_in` are the digests of all files that exceptions let in,
    wherever they are to be had.
    """

    def __init__(
        self,
        grants: Grants | None,
        read: Callable[[Digest], bytes | None],
        reserved: Callable[[NormalizedName], str | None],
    ) -> None:
        self.let_in = frozenset(() if grants is None else grants.live)
        self._read = read
        self._reserved = reserved
        self._known: dict[Digest, bytes | None] = {}
        self._grants: dict[NormalizedName, list[Grant]] = {}
        for grant in sorted(() if grants is None else grants.live.values(), key=lambda one: one.file.filename):
            # nobody may install a source distribution, and what isn't published yet isn't to be had
            if (
                grant.file.ecosystem is Ecosystem.PYPI
                and not grant.file.is_source
                and _SHA256.fullmatch(grant.metadata)
            ):
                self._grants.setdefault(NormalizedName(grant.file.name), []).append(grant)

    def __bool__(self) -> bool:
        return bool(self._grants)

    def page(self, name: NormalizedName, page: IndexPage | None) -> IndexPage | None:
        """The owner's page with the approved files that it doesn't list; the mirror's, where the name is its own."""
        grants = self._grants.get(name)
        if grants is None:
            return page
        if page is None:
            files = tuple(self._artifacts(grants)) if self._reserved(name) in (None, MIRROR) else ()
            return IndexPage(upstream=MIRROR, name=name, artifacts=files) if files else None
        missing = [
            grant
            for grant in grants
            if grant.file.upstream in (page.upstream, MIRROR)
            and not page.of_version(parse_version(grant.file.version), {grant.file.digest})
        ]
        files = tuple(self._artifacts(missing))
        return page.joined(files) if files else page

    def metadata(self, artifacts: Iterable[Artifact]) -> Mapping[str, bytes]:
        """By filename, the core metadata of those of the files that are the mirror's."""
        wanted = {artifact.digest: artifact.filename for artifact in artifacts if artifact.is_mirrored}
        every = (grant for grants in self._grants.values() for grant in grants if grant.file.digest in wanted)
        found = {wanted[grant.file.digest]: self._metadata(grant) for grant in every} if wanted else {}
        return {filename: text for filename, text in found.items() if text is not None}

    def files(self, target: Target) -> tuple[OverlayFile, ...]:
        """What a resolver may take for the target besides what the owners list."""
        return tuple(
            OverlayFile(
                name=artifact.name,
                version=artifact.version,
                filename=artifact.filename,
                digest=grant.file.digest,
                metadata=text,
            )
            for grant, text, artifact in self._all
            # an older patch release than it asks for wouldn't take it; a newer machine than the target stands for might
            if artifact.may_fit(target)
            and (artifact.requires_python is None or f"{target.python}.0" in artifact.requires_python)
        )

    @cached_property
    def _all(self) -> tuple[tuple[Grant, bytes, Artifact], ...]:
        return tuple(
            (grant, text, artifact)
            for grants in self._grants.values()
            for grant in grants
            for text, artifact in self._made(grant)
        )

    def _artifacts(self, grants: Iterable[Grant]) -> Iterator[Artifact]:
        return (artifact for grant in grants for _, artifact in self._made(grant))

    def _metadata(self, grant: Grant) -> bytes | None:
        digest = Digest("sha256", grant.metadata)
        if digest not in self._known:
            self._known[digest] = self._read(digest)
        return self._known[digest]

    def _made(self, grant: Grant) -> Iterator[tuple[bytes, Artifact]]:
        """The file as a page would list it; nothing while its metadata isn't published."""
        file, text = grant.file, self._metadata(grant)
        if text is None:
            return
        name, version, _, tags = parse_wheel_name(file.filename)
        yield (
            text,
            Artifact(
                name=name,
                version=version,
                filename=file.filename,
                digest=file.digest,
                size=file.size,
                upload_time=grant.published_at,
                url=f"{MIRRORED}files/{file.sha256}/{file.filename}",
                requires_python=parse_metadata(file.filename, text).requires_python,
                metadata_digest=Digest("sha256", grant.metadata),
                tags=tags,
            ),
        )
