"""Tiny images made on the fly, and a real registry on loopback to push them to."""

import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from parts import missing
from servers import Answer, Asked, WebServer

from quarantine.model import Digest
from quarantine.ports import ResolvedImage

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
START_SECONDS = 30
LOGIN = ("reader", "s3cret")
_HTPASSWD = "reader:$2b$04$LP.bKs01C35Xdki.atbUEOuP1iAxHgJ5Di1jE4uf.2tt6LDXVih6S\n"


def sha256(data: bytes) -> Digest:
    """The digest of some bytes."""
    return Digest.sha256(hashlib.sha256(data).hexdigest())


# --- images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Made:
    """An image or an index: its manifest's bytes, the blobs it needs, and the manifests that an index lists.

    `platform` is what its configuration and an index say of it; `platforms` are those of an index, without attestations.
    """

    media_type: str
    manifest: bytes
    blobs: Mapping[Digest, bytes] = field(default_factory=dict, repr=False)
    children: tuple["Made", ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[tuple[str, Digest], ...] = ()

    @property
    def digest(self) -> Digest:
        """What it is known by."""
        return sha256(self.manifest)

    @property
    def resolved(self) -> ResolvedImage:
        """What a registry must resolve a reference to it to."""
        own = (("/".join(self.platform.values()), self.digest),)
        platforms = self.platforms if self.children else own
        return ResolvedImage(
            digest=self.digest, media_type=self.media_type, size=len(self.manifest), platforms=platforms
        )


def made_image(
    files: Mapping[str, bytes] | None = None,
    *,
    os: str = "linux",
    architecture: str = "amd64",
    variant: str | None = None,
    docker: bool = False,
    env: tuple[str, ...] = (),
) -> Made:
    """An image of one layer with these files, which an engine can pull; the same bytes for the same arguments."""
    layer = _layer({"hello.txt": b"hello\n"} if files is None else files)
    platform = {"os": os, "architecture": architecture, **({} if variant is None else {"variant": variant})}
    config = _json(
        {
            **platform,
            "config": {"Env": list(env)},
            "rootfs": {"type": "layers", "diff_ids": [str(sha256(layer))]},
            "history": [{"created_by": "tests"}],
        }
    )
    packed = gzip.compress(layer, mtime=0)
    kinds = (
        ("application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar.gzip")
        if docker
        else ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
    )
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": kinds[0], "digest": str(sha256(config)), "size": len(config)},
        "layers": [{"mediaType": kinds[1], "digest": str(sha256(packed)), "size": len(packed)}],
    }
    return Made(
        media_type=media_type,
        manifest=_json(manifest),
        blobs={sha256(config): config, sha256(packed): packed},
        platform=platform,
    )


def made_attestation() -> Made:
    """What BuildKit puts into an index beside an image: a manifest that no machine pulls."""
    made = made_image({"predicate.json": b"{}"}, os="unknown", architecture="unknown")
    annotations = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": "sha256:" + "0" * 64,
    }
    return Made(
        media_type=made.media_type,
        manifest=made.manifest,
        blobs=made.blobs,
        platform=made.platform,
        annotations=annotations,
    )


def made_index(*children: Made, docker: bool = False) -> Made:
    """An index of images."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    listed = [
        {
            "mediaType": child.media_type,
            "digest": str(child.digest),
            "size": len(child.manifest),
            "platform": dict(child.platform),
            **({"annotations": dict(child.annotations)} if child.annotations else {}),
        }
        for child in children
    ]
    return Made(
        media_type=media_type,
        manifest=_json({"schemaVersion": 2, "mediaType": media_type, "manifests": listed}),
        children=children,
        platforms=tuple(("/".join(c.platform.values()), c.digest) for c in children if not c.annotations),
    )


def _layer(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# --- the registry -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DockerRegistry:
    """A running registry. `host` is how an engine names it ("127.0.0.1:PORT"), `url` how a client asks it."""

    host: str
    login: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}"

    def push(self, path: str, made: Made, *tags: str) -> Digest:
        """Puts an image or an index there with all that belongs to it, under its digest and these tags."""
        for child in made.children:
            self.push(path, child)
        for digest, data in made.blobs.items():
            upload = self._send("POST", f"{self.url}/v2/{path}/blobs/uploads/").headers["Location"]
            self._send("PUT", f"{upload}{'&' if '?' in upload else '?'}digest={digest}", data)
        for name in (str(made.digest), *tags):
            self._send("PUT", f"{self.url}/v2/{path}/manifests/{name}", made.manifest, made.media_type)
        return made.digest

    def delete(self, path: str, digest: Digest) -> None:
        """Takes a manifest away, with the tags that lead to it."""
        self._send("DELETE", f"{self.url}/v2/{path}/manifests/{digest}")

    def _send(
        self, method: str, url: str, data: bytes | None = None, kind: str = "application/octet-stream"
    ) -> "urllib.request._UrlopenRet":
        request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind})
        if self.login is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(self.login).encode()).decode())
        # a proxy of the environment has nothing to do with loopback
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            answer.read()
            return answer


class TokenService(WebServer):
    """Gives out the tokens that a real registry takes, each for what it is asked for; signed by a key of its own.

    With `login` only to those who have it.
    """

    def __init__(self, folder: Path, *, login: tuple[str, str] | None = None) -> None:
        super().__init__(self._token)
        self._login = None if login is None else "Basic " + base64.b64encode(":".join(login).encode()).decode()
        self._key, self.certificate = folder / "key.pem", folder / "certificate.pem"
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=tests"]
        subprocess.run(
            [*made, "-keyout", str(self._key), "-out", str(self.certificate)], check=True, capture_output=True
        )

    def _token(self, asked: Asked) -> Answer:
        if asked.headers["Authorization"] != self._login:
            return Answer(status=401)
        query = parse_qs(urlsplit(asked.path).query)
        kind, name, actions = query["scope"][0].split(":")
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": "",
            "aud": query["service"][0],
            "nbf": now - 60,
            "exp": now + 300,
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        certificate = "".join(self.certificate.read_text().splitlines()[1:-1])
        signed = b".".join(map(_urlsafe, ({"typ": "JWT", "alg": "RS256", "x5c": [certificate]}, claims)))
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(sign, input=signed, check=True, capture_output=True).stdout
        token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
        return Answer(headers={"Content-Type": "application/json"}, body=_json({"token": token}))


def _urlsafe(value: object) -> bytes:
    return base64.urlsafe_b64encode(_json(value)).rstrip(b"=")


def docker_registry_binary() -> str:
    """Where Debian's docker-registry is. Without it CI fails; elsewhere the tests that need it are skipped."""
    found = shutil.which("docker-registry")
    if found is None:
        missing("docker-registry is missing: apt-get install docker-registry")
    return found


@contextmanager
def docker_registry(
    folder: Path, *, with_login: bool = False, tokens: TokenService | None = None
) -> Iterator[DockerRegistry]:
    """A real registry whose data lies in a folder, on a port of its own choosing.

    With a login it wants `LOGIN`; with `tokens`, one of these.
    """
    binary = docker_registry_binary()
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "version: 0.1",
        "log: {level: info}",
        "storage:",
        f"  filesystem: {{rootdirectory: {json.dumps(str(folder / 'data'))}}}",
        "  delete: {enabled: true}",
        "http: {addr: '127.0.0.1:0', secret: tests}",
    ]
    if with_login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {json.dumps(str(folder / 'htpasswd'))}}}}}")
    if tokens is not None:
        said = {"realm": f"{tokens.origin}/token", "service": "tests", "issuer": "tests"}
        lines.append("auth: " + json.dumps({"token": {**said, "rootcertbundle": str(tokens.certificate)}}))
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen([binary, "serve", str(folder / "config.yml")], stdout=stream, stderr=stream)
    try:
        yield DockerRegistry(host=_address(process, log), login=LOGIN if with_login else None)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where it listens, as it says itself, once it answers there."""
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        said = re.search(r"listening on (127\.0\.0\.1:[0-9]+)", log.read_text("utf-8", "replace"))
        if said is not None:
            _await_answer(said[1], ends)
            return said[1]
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry did not start: {log.read_text('utf-8', 'replace')[-2000:]}")


def _await_answer(host: str, ends: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(f"http://{host}/v2/", timeout=5):
                return
        except urllib.error.HTTPError as error:  # 401 is an answer, too
            error.close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
