"""The policy in force: the local folder's on the embedded default, else what curators published last.

Who checks is not who judges: with a central policy the local folder may only tighten. Upstreams, their order, names and
exceptions are the central one's alone; whatever the local one has against something counts beside it.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from quarantine.audit.record import EVIDENCE
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import Identity, PolicyPublished, State
from quarantine.model import Digest, Receipt
from quarantine.policy.artifacts import CLOCK_SKEW
from quarantine.policy.load import Policy, load, policy_sha256
from quarantine.ports import ArtifactStore, AuditLog

__all__ = ["InForce", "bundle_of", "publish_policy", "published_policy"]


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that judges. With a central one, `published` is its entry, and `local` a policy that may only tighten it.

    `state` is what was read of all exceptions on the way to it, None where nothing was.
    """

    policy: Policy
    local: Policy | None = None
    published: PolicyPublished | None = None
    state: State | None = None


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """For which project and stage something runs. `stage` is None where nothing proves one, and a flag may choose."""

    project: str
    stage: str | None = None


def publish_policy(
    files: Mapping[str, bytes],
    by: Identity,
    reason: str,
    project: str,
    now: datetime,
    entry_id: str,
    log: AuditLog,
    store: ArtifactStore,
) -> tuple[PolicyPublished, Receipt]:
    """Puts the files of a policy in force: its bytes into the evidence store, then the entry that names them.

    The caller has read them as a policy before. UpstreamError, IntegrityError.
    """
    from quarantine.audit.events import DECISIONS, policy_draft  # noqa: PLC0415  # only this writes an entry

    bundle = store.put(EVIDENCE, bundle_of(files))
    published = PolicyPublished(time=now, by=by, sha256=policy_sha256(files), bundle=bundle.hex, reason=reason)
    (receipt,) = log.append(f"{DECISIONS}/decisions-{now:%Y-%m}", [policy_draft(published, project, entry_id)])
    return published, receipt


def published_policy(state: State, store: ArtifactStore, now: datetime) -> tuple[Policy, PolicyPublished]:
    """What curators published last. UpstreamError when that is nothing, or can't be had; IntegrityError; ConfigError."""
    if not state.policies:
        raise UpstreamError(
            "no policy is in force: none was published in the store yet; a curator does that with "
            "`quarantine allowlist publish --reason WHY`"
        )
    # one that a wrong clock put into the future isn't in force yet
    past = [published for published in state.policies if published.time <= now + CLOCK_SKEW]
    if not past:
        raise UpstreamError(
            "no policy is in force yet: what was published is of a time to come; see whose clock is wrong"
        )
    last = past[-1]
    files = _decode(store.get(EVIDENCE, Digest.sha256(last.bundle)))
    if policy_sha256(files) != last.sha256:
        raise IntegrityError(
            f"the policy that was published on {last.time:%Y-%m-%d} is {policy_sha256(files)}, and its entry says "
            f"{last.sha256}: stop and look who changed it"
        )
    return replace(load(files, now=now, folder="published policy"), central=True), last


def bundle_of(files: Mapping[str, bytes]) -> bytes:
    """The bytes that stand for the files: the same files have the same bytes."""
    texts = {name: base64.b64encode(data).decode("ascii") for name, data in files.items()}
    return msgspec.json.encode(texts, order="sorted")


def _decode(data: bytes) -> dict[str, bytes]:
    try:
        texts = msgspec.json.decode(data, type=dict[str, str])
        return {name: base64.b64decode(text, validate=True) for name, text in texts.items()}
    except (msgspec.MsgspecError, binascii.Error) as error:
        raise IntegrityError(f"the bundle of the published policy is none: {error}") from error
