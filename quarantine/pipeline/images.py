"""From the images and the curated environments that a spec names to the items to judge.

A registry is asked only if it is an upstream of the policy: a user's file sends no request anywhere else.
"""

from collections.abc import Callable

from msgspec.structs import replace

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import CuratedEnvironment, Ecosystem, ImageReference, Item, PackageFile, Target
from quarantine.policy.channels import upstream_of_curated, upstream_of_image
from quarantine.policy.stage import Policy
from quarantine.ports import ImageRegistry, Tell

__all__ = ["curated_item", "image_item"]


def image_item(
    reference: ImageReference,
    target: Target,
    subject: int,
    policy: Policy,
    registry: Callable[[], ImageRegistry],
    failures: dict[tuple[str, ...], UpstreamError],
    tell: Tell,
) -> Item:
    """What an image reference stands for now. A registry that fails leaves that open, and isn't waited for again."""
    upstream = upstream_of_image(policy, reference)
    base = Item(
        ecosystem=Ecosystem.OCI,
        name=reference.name,
        version=reference.tag,
        upstream=None if upstream is None else upstream.name,
        subjects=(subject,),
        targets=(target,),
        location=reference.location,
        image=reference,
        locked=reference.digest is not None,
    )
    if upstream is None:
        return base
    failed = failures.get((str(reference),))
    if failed is not None:
        return replace(base, contradiction=str(failed))
    tell(f"{reference}: asking its registry")
    try:
        found = registry().resolve(reference, tell)
    except UpstreamError as error:
        failures[(str(reference),)] = error
        return replace(base, contradiction=str(error))
    except IntegrityError as error:
        return replace(base, contradiction=str(error))
    if found is None:
        return base
    manifest = PackageFile(
        filename=reference.path.rpartition("/")[2],
        digest=found.digest,
        size=found.size,
        upload_time=None,
        url=f"https://{reference.host}/v2/{reference.path}/manifests/{found.digest}",
    )
    return replace(base, artifacts=(manifest,), platforms=tuple(sorted({platform for platform, _ in found.platforms})))


def curated_item(environment: CuratedEnvironment, target: Target, subject: int, policy: Policy) -> Item:
    """An Azure ML environment that is named: nothing but its name and version is known here."""
    upstream = upstream_of_curated(policy, environment)
    return Item(
        ecosystem=Ecosystem.AZUREML,
        name=environment.name,
        version=environment.version or environment.label,
        upstream=None if upstream is None else upstream.name,
        subjects=(subject,),
        targets=(target,),
        location=environment.location,
        curated=environment,
        locked=environment.version is not None,
    )
