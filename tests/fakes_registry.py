"""An `ImageRegistry` in memory, to which images are pushed as to a real one."""

from registries import Made

from quarantine.errors import UpstreamError
from quarantine.model import Digest, ImageReference
from quarantine.ports import ResolvedImage, Tell


class FakeRegistry:
    """Holds what was pushed under its hosts; a tag is resolved once. `broken` ones answer every question with a failure.

    An image whose configuration names no platform is no answer, either.
    Every reference that is asked for is kept in `asked`.
    """

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.broken = False
        self.asked: list[ImageReference] = []
        self._images: dict[str, Made] = {}
        self._known: dict[str, ResolvedImage | None] = {}

    def push(self, path: str, made: Made, *tags: str) -> Digest:
        """Puts an image or an index there with its children, under its digest and these tags."""
        for child in made.children:
            self.push(path, child)
        for host in self.hosts:
            self._images[f"{host}/{path}@{made.digest}"] = made
            self._images |= {f"{host}/{path}:{tag}": made for tag in tags}
        return made.digest

    def resolve(self, reference: ImageReference, tell: Tell) -> ResolvedImage | None:
        """What the reference stands for; None where there is no such image."""
        self.asked.append(reference)
        asked = f":{reference.tag or 'latest'}" if reference.digest is None else f"@{reference.digest}"
        name = reference.name + asked
        if name in self._known:
            return self._known[name]
        if reference.host not in self.hosts:
            raise UpstreamError(f"{name}: {reference.host} is no configured upstream, and is not asked")
        if self.broken:
            raise UpstreamError(f"{name}: its registry does not answer")
        tell(f"asking {reference.host}")
        made = self._images.get(name)
        if made is not None and "unknown" in made.platform.values():
            raise UpstreamError(f"{name}: its configuration doesn't say its platform")
        self._known[name] = None if made is None else made.resolved
        return self._known[name]
