"""The verdict as a CycloneDX 1.6 bill of materials: what was judged, where it comes from, what is known against it.

The same result always gives the same document: its serial number is derived from the content, its time is the result's.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, UUID, uuid5

from quarantine import __version__
from quarantine.model import CheckResult, Digest, Ecosystem, Finding, Item, JudgedItem, PackageFile, Purl
from quarantine.report import json_verdict
from quarantine.report.escape import ascii_json, escape_prose, public_url, well_formed
from quarantine.report.view import pinned, timestamp, troubles

if TYPE_CHECKING:
    from cyclonedx.model import ExternalReference, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.vulnerability import Vulnerability
    from packageurl import PackageURL

__all__ = ["render"]

_ROOT = "quarantine:subject"
# An Azure ML environment that is named is an image too, of which only the name is known.
_PACKAGES = frozenset({Ecosystem.PYPI, Ecosystem.CONDA})
_References = Mapping[int, str]  # by the item's place in the result, its bom-ref


def render(result: CheckResult) -> str:
    """The JSON document, indented, ending in a newline."""
    from cyclonedx.output.json import JsonV1Dot6  # noqa: PLC0415

    return ascii_json(JsonV1Dot6(_bom(result)).output_as_string(indent=2)) + "\n"


def _bom(result: CheckResult) -> "Bom":
    from cyclonedx.model.bom import Bom, BomMetaData  # noqa: PLC0415
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415
    from cyclonedx.model.tool import ToolRepository  # noqa: PLC0415

    references = _references(result)
    files = ", ".join(dict.fromkeys(well_formed(subject.file) for subject in result.subjects))
    root = Component(
        name=well_formed(result.project) or files or "nothing", type=ComponentType.APPLICATION, bom_ref=_ROOT
    )
    tool = Component(name="quarantine", version=__version__, type=ComponentType.APPLICATION, bom_ref="quarantine:tool")
    facts = [("files", files), ("policy", well_formed(result.policy_sha256)), ("stage", well_formed(result.stage))]
    return Bom(
        serial_number=_serial_number(result),
        metadata=BomMetaData(
            timestamp=result.now,
            tools=ToolRepository(components=[tool]),
            component=root,
            properties=_properties([("verdict", result.verdict.value), *facts]),
        ),
        components=[_component(judged, references[place]) for place, judged in enumerate(result.items)],
        dependencies=_dependencies(result, references),
        vulnerabilities=_vulnerabilities(result, references),
    )


def _serial_number(result: CheckResult) -> UUID:
    return uuid5(uuid5(NAMESPACE_URL, json_verdict.SCHEMA), json_verdict.render(result))


def _references(result: CheckResult) -> _References:
    """A package URL each; what has one in common (the same name from several places) is numbered."""
    seen: dict[str, int] = {}
    references = {}
    for place, judged in enumerate(result.items):
        purl = well_formed(judged.item.purl)
        seen[purl] = seen.get(purl, 0) + 1
        references[place] = purl if seen[purl] == 1 else f"{purl}#{seen[purl]}"
    return references


def _component(judged: JudgedItem, reference: str) -> "Component":
    from cyclonedx.model.component import Component, ComponentType  # noqa: PLC0415

    item = judged.item
    hashes = [found for artifact in item.artifacts for found in _hashes(artifact.digest)]
    properties = [("verdict", judged.verdict.value)]
    properties += [] if item.upstream is None else [("upstream", well_formed(item.upstream))]
    properties += [("advisories", "unknown")] if judged.findings is None else []
    properties += [("holds", "unknown")] if item.holds is None else []
    properties += [("platform", well_formed(platform)) for platform in item.platforms]
    properties += (
        [] if (reference_by_digest := pinned(item)) is None else [("pinned", well_formed(reference_by_digest))]
    )
    if judged.exception is not None:
        properties += [
            ("exception", well_formed(judged.exception.exception)),
            ("exception_until", timestamp(judged.exception.until)),
            *(("exception_waives", escape_prose(key)) for key in judged.exception.waives),
        ]
    properties += [
        (f"reason:{escape_prose(outcome.rule)}", escape_prose(outcome.message)) for outcome in troubles(judged.outcomes)
    ]
    return Component(
        name=well_formed(item.name),
        version=None if item.version is None else well_formed(str(item.version)),
        type=ComponentType.LIBRARY if item.ecosystem in _PACKAGES else ComponentType.CONTAINER,
        bom_ref=reference,
        purl=_purl(item.purl),
        # a scanner that knows advisories of PyPI finds what is inside by its own package URL
        components=[
            Component(
                name=well_formed(package.name),
                version=str(package.version),
                type=ComponentType.LIBRARY,
                bom_ref=f"{reference}#{well_formed(package.purl)}",
                purl=_purl(package.purl),
            )
            for package in item.holds or ()
        ],
        # a component's hashes are those of one thing; where several files may be installed each has its own below
        hashes=hashes if len(item.artifacts) == 1 else [],
        external_references=[found for artifact in item.artifacts for found in _distribution(artifact)],
        properties=_properties(properties),
    )


def _purl(purl: Purl) -> "PackageURL | None":
    from packageurl import PackageURL  # noqa: PLC0415

    try:
        return PackageURL.from_string(well_formed(purl))
    except ValueError:
        return None


def _hashes(digest: Digest | None) -> Iterator["HashType"]:
    from cyclonedx.model import HashAlgorithm, HashType  # noqa: PLC0415

    if digest is not None and digest.algorithm == "sha256":
        try:
            yield HashType(alg=HashAlgorithm.SHA_256, content=Digest.sha256(digest.hex).hex)
        except ValueError:
            return


def _distribution(artifact: PackageFile) -> Iterator["ExternalReference"]:
    from cyclonedx.exception.model import InvalidUriException  # noqa: PLC0415
    from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri  # noqa: PLC0415

    url = public_url(artifact.url)
    if url is None:
        return
    try:
        uri = XsUri(well_formed(url))
    except InvalidUriException:
        return
    yield ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=uri,
        comment=well_formed(artifact.filename),
        hashes=_hashes(artifact.digest),
    )


def _properties(pairs: list[tuple[str, str]]) -> list["Property"]:
    from cyclonedx.model import Property  # noqa: PLC0415

    return [Property(name=f"quarantine:{name}", value=value) for name, value in pairs]


def _dependencies(result: CheckResult, references: _References) -> list["Dependency"]:
    from cyclonedx.model.bom_ref import BomRef  # noqa: PLC0415
    from cyclonedx.model.dependency import Dependency  # noqa: PLC0415

    places: dict[Purl, list[int]] = {}
    for place, judged in enumerate(result.items):
        places.setdefault(judged.item.purl, []).append(place)
    needs: dict[str, set[str]] = {_ROOT: set(), **{reference: set() for reference in references.values()}}
    for place, judged in enumerate(result.items):
        requirers = list(_requirers(judged.item, places, result))
        for requirer in requirers:
            needs[references[requirer]].add(references[place])
        if judged.item.location is not None or not requirers:
            needs[_ROOT].add(references[place])
    return [
        Dependency(BomRef(reference), [Dependency(BomRef(other)) for other in sorted(others - {reference})])
        for reference, others in needs.items()
    ]


def _requirers(item: Item, places: Mapping[Purl, list[int]], result: CheckResult) -> Iterator[int]:
    """The places of the items that require it, for a subject that both belong to."""
    for purl in item.required_by:
        for place in places.get(purl, ()):
            if set(result.items[place].item.subjects) & set(item.subjects):
                yield place


def _vulnerabilities(result: CheckResult, references: _References) -> list["Vulnerability"]:
    affected: dict[Finding, list[str]] = {}
    for place, judged in enumerate(result.items):
        for finding in judged.findings or ():
            affected.setdefault(finding, []).append(references[place])
    return [
        _vulnerability(finding, of, number)
        for number, (finding, of) in enumerate(sorted(affected.items(), key=lambda pair: pair[0].ids), start=1)
    ]


def _vulnerability(finding: Finding, affected: list[str], number: int) -> "Vulnerability":
    from cyclonedx.model.vulnerability import (  # noqa: PLC0415
        BomTarget,
        Vulnerability,
        VulnerabilityRating,
        VulnerabilitySeverity,
    )

    properties = [("alias", escape_prose(alias)) for alias in finding.aliases]
    properties += [("malware", "true")] if finding.malware else []
    fixed = ", ".join(map(escape_prose, finding.fixed))
    rating = VulnerabilityRating(score=_score(finding.score), severity=VulnerabilitySeverity(finding.severity.value))
    return Vulnerability(
        bom_ref=f"quarantine:vulnerability:{number}",
        id=escape_prose(finding.id),
        ratings=[rating],
        description=escape_prose(finding.summary) or None,
        recommendation=f"update to {fixed}" if fixed else None,
        affects=[BomTarget(ref=reference) for reference in affected],
        properties=_properties(properties),
    )


def _score(text: str | None) -> Decimal | None:
    """A CVSS score; None for what is no number between 0 and 10."""
    if text is None:
        return None
    try:
        score = Decimal(text)
    except InvalidOperation:
        return None
    return score if score.is_finite() and 0 <= score <= 10 else None
