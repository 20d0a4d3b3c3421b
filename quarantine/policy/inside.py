"""Rules about what is inside a conda package or an image, as far as that can be known before anything is built."""

from typing import assert_never

from quarantine.model import Ecosystem, Outcome, Target
from quarantine.policy.case import Case, failed, listing, not_applicable, passed, unknown
from quarantine.policy.files import Action

__all__ = ["native", "platform"]


def native(case: Case) -> Outcome:
    """A conda package without a Python distribution, of which no advisory speaks, is what its channel may give."""
    rule, item = "native", case.item
    if item.ecosystem is not Ecosystem.CONDA:
        return not_applicable(rule, "only conda packages may be native")
    if not case.located:
        return not_applicable(rule, f"no channel was found to have {item.name}")
    if item.holds is None:
        message = f"{case.label}: its file list can't be read, so whether it is native is not known: {item.unread}"
        return unknown(rule, message)
    if item.holds:
        inside = listing(f"{package.name} {package.version}" for package in item.holds)
        return not_applicable(rule, f"{case.label} holds a Python distribution: {inside}")
    message = f"{case.label} is native: it holds no Python distribution, so no advisory was held against it"
    match action := case.stage.native(item.upstream):
        case Action.DENY:
            advice = (
                f"expected none of that from {item.upstream} in {case.stage.name}; leave it out, or file an exception"
            )
            return failed(rule, f"{message}: {advice}", channel=item.upstream)
        case Action.REVIEW:
            return unknown(rule, f"{message}: somebody has to look at it", channel=item.upstream)
        case Action.TOLERATE:
            message = f"{message}: tolerated from {item.upstream} in {case.stage.name}"
            return passed(rule, message, channel=item.upstream)
        case _:
            assert_never(action)


def platform(case: Case) -> Outcome:
    """There is an image for every target, and the one that the file asks for is one that was judged."""
    rule, item = "platform", case.item
    if item.ecosystem is not Ecosystem.OCI:
        return not_applicable(rule, "only images are for a platform")
    asked = None if item.image is None else item.image.platform
    others = tuple(str(t) for t in item.targets if asked is not None and not _is(asked, t))
    if others:
        message = (
            f"{case.label} is asked for as {asked}, but judged for {', '.join(others)}: "
            "leave the platform out, or name its target in quarantine.yaml"
        )
        return failed(rule, message, platform=asked, targets=others)
    if not item.artifacts:
        return not_applicable(rule, f"no registry was found to have {case.label}")
    if not item.platforms:
        return unknown(rule, f"{case.label}: its platform is not known")
    if not item.targets:
        return unknown(rule, f"{case.label}: no target is known to run it on")
    missing = tuple(
        dict.fromkeys(t.oci_platform for t in item.targets if not any(_is(known, t) for known in item.platforms))
    )
    if missing:
        is_single = len(item.platforms) == 1
        message = (
            f"{case.label} is for {item.platforms[0]} only: take one for {', '.join(missing)}, or another target"
            if is_single
            else f"{case.label} has no image for {', '.join(missing)}, only for {listing(item.platforms)}: "
            "take one that has, or another target"
        )
        return failed(rule, message, missing=missing, platforms=item.platforms)
    return passed(rule, f"{case.label} has an image for every target", platforms=item.platforms)


_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}


def _is(platform: str, target: Target) -> bool:
    """Whether a platform is the target's, by whichever of its names and in whichever variant ("linux/arm64/v8")."""
    system, _, machine = platform.lower().partition("/")
    architecture = machine.partition("/")[0]
    return f"{system}/{_SAME.get(architecture, architecture)}" == target.oci_platform
