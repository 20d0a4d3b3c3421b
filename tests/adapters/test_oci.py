"""Registries over HTTP: who is asked, who gets a login or a token, and what becomes of hostile answers."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from registries import made_image, made_index, sha256
from servers import Answer, Asked, WebServer

from quarantine.adapters.oci import OciRegistry
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import Digest, ImageReference, Location

HOST = "registry.example"
SECRET = "s3cr3t-canary"
TOKEN = "t0ken-canary"
LOGIN = {HOST: ("joe", SECRET)}
BASIC = "Basic " + base64.b64encode(f"joe:{SECRET}".encode()).decode()
MADE = made_index(made_image(), made_image(architecture="arm64"))
PATH = "/v2/azureml/x/manifests/1.0"
SINGLE = made_image(architecture="arm64")
CONFIG = next(iter(SINGLE.blobs))
BLOB = f"/v2/azureml/x/blobs/{CONFIG}"


def manifest(body: bytes = MADE.manifest, *, digest: str | None = None) -> Answer:
    said = {} if digest is None else {"Docker-Content-Digest": digest}
    return Answer(headers={"Content-Type": MADE.media_type, **said}, body=body)


def single() -> Answer:
    return Answer(headers={"Content-Type": SINGLE.media_type}, body=SINGLE.manifest)


def config() -> Answer:
    return Answer(body=SINGLE.blobs[CONFIG])


def absent(code: str) -> Answer:
    return Answer(status=404, body=json.dumps({"errors": [{"code": code, "message": "no"}]}).encode())


def asks_for(challenge: str) -> Answer:
    return Answer(status=401, headers={"WWW-Authenticate": challenge})


def token(value: object = TOKEN, key: str = "token") -> Answer:
    return Answer(body=json.dumps({key: value, "expires_in": 300}).encode())


class TokenRegistry(WebServer):
    """A registry that wants a Bearer token, and gives it out itself, to those with the login where there is one."""

    def __init__(
        self, *, login: str | None = None, realm: str = "/oauth2/token", answers: Mapping[str, Answer] | None = None
    ) -> None:
        super().__init__(self._registry)
        self._login = login
        self._answers = answers or {}
        self.challenge = f'Bearer realm="{self.origin}{realm}",service="{HOST}",scope="repository:azureml/x:pull"'

    def _registry(self, asked: Asked) -> Answer:
        if asked.path.startswith("/oauth2/token"):
            return token() if asked.headers["Authorization"] == self._login else Answer(status=401)
        if asked.headers["Authorization"] != f"Bearer {TOKEN}":
            return asks_for(self.challenge)
        return self._answers.get(asked.path) or manifest()


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def registry(
    url: str,
    *,
    endpoints: Mapping[str, str] | None = None,
    logins: Mapping[str, tuple[str, str]] | None = None,
    stand_ins: Mapping[str, str] | None = None,
    hosts: tuple[str, ...] = (HOST,),
    offline: bool = False,
    retries: int = 0,
    timeout: float = 5,
) -> OciRegistry:
    return OciRegistry(
        endpoints={HOST: url, **(endpoints or {})},
        hosts=hosts,
        http=lambda urls: HttpClient(
            allowed=urls, user_agent="quarantine/tests", retries=retries, timeout_seconds=timeout, backoff_seconds=0.01
        ),
        logins=logins or {},
        stand_ins=stand_ins,
        offline=offline,
    )


def image(
    path: str = "azureml/x", *, tag: str | None = "1.0", digest: Digest | None = None, host: str = HOST
) -> ImageReference:
    return ImageReference(host=host, path=path, tag=tag, digest=digest, location=Location(file="Dockerfile", line=1))


def quiet(_: str) -> None:
    """Nobody is told."""


def failure(images: OciRegistry, reference: ImageReference | None = None, kind: type[Exception] = UpstreamError) -> str:
    with pytest.raises(kind) as caught:
        images.resolve(reference or image(), quiet)
    said = str(caught.value)
    assert "canary" not in said + repr(images)
    return said


def headers(server: WebServer, name: str) -> list[str | None]:
    return [asked.headers[name] for asked in server.asked]


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_one_request_says_what_is_understood_and_nobody_else_is_told(server: WebServer) -> None:
    """Indexes and manifests of OCI's and Docker's kind are accepted; without a challenge no login is sent."""
    server.always(PATH, manifest(digest=str(MADE.digest)))
    told: list[str] = []
    assert registry(server.origin, logins=LOGIN).resolve(image(), told.append) == MADE.resolved
    assert (server.paths(), headers(server, "Authorization")) == ([PATH], [None])
    (accepted,) = headers(server, "Accept")
    assert accepted == (
        "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
        "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    )
    assert told == [f"asking {HOST} for azureml/x"]


def test_tag_is_asked_for_once_and_then_its_digest_is_known(server: WebServer) -> None:
    """The same process never resolves it again, nor asks for the bytes that it has seen."""
    server.script(PATH, manifest())
    images = registry(server.origin)
    found = [images.resolve(reference, quiet) for reference in (image(), image(), image(digest=MADE.digest))]
    assert (found, server.paths()) == ([MADE.resolved] * 3, [PATH])


def test_failure_is_not_remembered(server: WebServer) -> None:
    """Only an answer is: after a failure the registry is asked again."""
    server.script(PATH, Answer(status=500), manifest())
    images = registry(server.origin)
    assert failure(images) == f"{HOST}/azureml/x:1.0: {server.origin}{PATH} answered 500: expected a manifest"
    assert images.resolve(image(), quiet) == MADE.resolved


def test_endpoint_may_have_a_path(server: WebServer) -> None:
    """A mirror's repositories lie below it, and its tokens are for repositories of a longer name."""
    server.script(f"/mirror{PATH}", asks_for(f'Bearer realm="{server.origin}/t",scope="repository:m/azureml/x:pull"'))
    server.always("/t?scope=repository%3Am%2Fazureml%2Fx%3Apull", token())
    server.always(f"/mirror{PATH}", manifest())
    assert registry(f"{server.origin}/mirror/").resolve(image(), quiet) == MADE.resolved


def test_offline_nobody_is_asked(server: WebServer) -> None:
    """What a tag is now can't be known then."""
    images = registry(server.origin, offline=True)
    assert failure(images) == (f"offline: what {HOST}/azureml/x:1.0 is can't be asked: check it without --offline")
    assert server.asked == []


@pytest.mark.parametrize(
    "reference",
    [
        image("azureml/../../x"),
        image("azureml/x?y"),
        image("Azureml/x"),
        image(""),
        image("a" * 256),
        image("x" * 200 + "/" + "-" * 54),
        image(tag="1.0/../../../x"),
        image(tag="1 0"),
        image(tag="\u202e"),
        image(digest=Digest("sha512", "a" * 128)),
        image(digest=Digest("sha256", "../x")),
    ],
    ids=lambda reference: ascii(str(reference))[:60],
)
def test_what_no_registry_has_becomes_no_url(server: WebServer, reference: ImageReference) -> None:
    """Paths, tags and digests are those of the distribution-spec."""
    said = failure(registry(server.origin), reference)
    assert said == f"{str(reference)[:300]!a} is not a reference that a registry can be asked for"
    assert server.asked == []


@pytest.mark.parametrize("host", ["169.254.169.254", "168.63.129.16", "127.0.0.1:1", "registry.example.evil.example"])
def test_only_the_policys_registries_are_asked(server: WebServer, host: str) -> None:
    """Whatever host a user's file names (SSRF)."""
    said = failure(registry(server.origin), image(host=host))
    assert said == f"{host}/azureml/x:1.0: {host} is no configured upstream, and is not asked"
    assert server.asked == []


def test_endpoint_must_be_encrypted_or_on_loopback() -> None:
    """A login or an answer that anybody can read or change is refused before anything is sent."""
    assert failure(registry("http://registry.internal:5000")) == (
        f"the endpoint http://registry.internal:5000 of {HOST} isn't encrypted: expected https"
    )


def test_endpoint_on_this_machine_may_be_named_localhost(server: WebServer) -> None:
    """And needs no encryption."""
    server.always(PATH, manifest())
    assert registry(f"http://localhost:{server.port}").resolve(image(), quiet) == MADE.resolved


def test_where_registries_are_asked_without_an_endpoint() -> None:
    """Over https, at their own names; docker.io and its token service at the hosts that serve them."""
    seen: list[tuple[str, ...]] = []

    def http(urls: object) -> HttpClient:
        assert isinstance(urls, tuple)
        seen.append(urls)
        raise UpstreamError("seen")

    hosts = ["docker.io", "acr.example"]
    for endpoints in ({}, {"docker.io": "https://mirror.example"}):
        images = OciRegistry(endpoints=endpoints, hosts=hosts, http=http, logins={})
        assert failure(images, image(host="acr.example")) == "seen"
    assert seen == [
        ("https://acr.example", "https://registry-1.docker.io", "https://auth.docker.io"),
        ("https://acr.example", "https://mirror.example"),
    ]


# --- what comes back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"])
def test_registry_says_that_there_is_no_such_image(server: WebServer, code: str) -> None:
    """In the codes of the distribution-spec, and Harbor's."""
    server.always(PATH, absent(code))
    assert registry(server.origin).resolve(image(), quiet) is None


@pytest.mark.parametrize(
    "answer", [Answer(status=404, body=b"<html>"), absent("DENIED"), Answer(status=404, body=b"[" * 9999)]
)
def test_bare_404_is_no_answer(server: WebServer, answer: Answer) -> None:
    """It may come from a proxy, or from something that is no registry."""
    server.always(PATH, answer)
    said = failure(registry(server.origin))
    assert said == f"{HOST}/azureml/x:1.0: {server.origin}{PATH} answered 404, but not as a registry does"


def test_bytes_of_another_digest_are_refused(server: WebServer) -> None:
    """A registry, or whoever stands before it, can't swap what a digest means."""
    wanted = sha256(b"another")
    server.always(f"/v2/azureml/x/manifests/{wanted}", manifest())
    said = failure(registry(server.origin), image(digest=wanted), IntegrityError)
    assert said == f"{HOST}/azureml/x@{wanted}: the registry's bytes have the digest {MADE.digest}"


@pytest.mark.parametrize("claimed", [str(sha256(b"another")), "sha512:00", "\u00ffx", ""])
def test_registry_that_contradicts_itself_is_refused(server: WebServer, claimed: str) -> None:
    """The digest that it gives beside a tag's manifest must be that of the bytes."""
    server.always(PATH, manifest(digest=claimed))
    said = failure(registry(server.origin), kind=IntegrityError)
    assert said == (
        f"{HOST}/azureml/x:1.0: the registry says that its digest is {claimed!a}, its bytes have {MADE.digest}"
    )


def test_manifest_that_is_too_large_is_not_read(server: WebServer) -> None:
    """Not more than 4 MiB of it."""
    server.always(PATH, manifest(b" " * (4 * 1024 * 1024 + 1)))
    assert failure(registry(server.origin)) == f"{server.origin}{PATH}: more than 4194304 bytes"


def test_redirect_to_a_metadata_service_is_refused(server: WebServer) -> None:
    """Nor to any other host that isn't an upstream (SSRF)."""
    for location, refused in (
        ("http://169.254.169.254/metadata", "http://169.254.169.254"),
        ("http://127.0.0.1:1/v2/", "http://127.0.0.1:1"),
    ):
        server.script(PATH, Answer(status=307, headers={"Location": location}))
        said = failure(registry(server.origin))
        assert said == f"{refused} is no configured upstream: a request to it is refused"


def test_too_many_requests_are_waited_for(server: WebServer) -> None:
    """As long as the registry says (429 with Retry-After); MAR limits anonymous readers by it."""
    server.script(PATH, Answer(status=429, headers={"Retry-After": "1"}), Answer(status=429), manifest())
    started = time.monotonic()
    assert registry(server.origin, retries=3).resolve(image(), quiet) == MADE.resolved
    assert (len(server.asked), time.monotonic() - started >= 1) == (3, True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=429), "{url} answered 429"),
        (Answer(status=503), "{url} answered 503"),
        (Answer(hang=True), "{url}: silent for 0.3 s"),
        (Answer(headers={"Content-Length": "900"}, body=b"{", cut=1), "{url}: the connection broke off"),
    ],
)
def test_registry_that_keeps_failing_is_no_answer(server: WebServer, answer: Answer, said: str) -> None:
    """After the retries."""
    server.always(PATH, answer)
    assert failure(registry(server.origin, retries=1, timeout=0.3)) == said.format(url=f"{server.origin}{PATH}")
    assert len(server.asked) == 2


# --- what a single image is for ---------------------------------------------------------------------------------------


def test_configuration_of_a_single_image_is_asked_for_once(server: WebServer) -> None:
    """It is known with the image from then on."""
    server.script(PATH, single())
    server.script(BLOB, config())
    images = registry(server.origin)
    found = [images.resolve(reference, quiet) for reference in (image(), image(), image(digest=SINGLE.digest))]
    assert SINGLE.resolved.platforms == (("linux/arm64", SINGLE.digest),)
    assert (found, server.paths()) == ([SINGLE.resolved] * 3, [PATH, BLOB])


def test_configuration_of_another_digest_is_refused(server: WebServer) -> None:
    """Nobody can swap what an image is for."""
    other = b'{"os": "linux", "architecture": "amd64"}'
    server.always(PATH, single())
    server.always(BLOB, Answer(body=other))
    said = failure(registry(server.origin), kind=IntegrityError)
    assert said == (
        f"{HOST}/azureml/x:1.0: its configuration is {CONFIG}, the registry's bytes have the digest {sha256(other)}"
    )


@pytest.mark.parametrize("answer", [absent("BLOB_UNKNOWN"), Answer(status=403), Answer(status=500)])
def test_configuration_that_cannot_be_had_is_no_answer(server: WebServer, answer: Answer) -> None:
    """An image whose platform isn't known is not passed on as one for any, and is asked for again."""
    server.always(PATH, single())
    server.script(BLOB, answer, config())
    images = registry(server.origin)
    said = f"answered {answer.status}: expected its configuration, which says its platform"
    assert failure(images) == f"{HOST}/azureml/x:1.0: {server.origin}{BLOB} {said}"
    assert images.resolve(image(), quiet) == SINGLE.resolved


def test_configuration_that_is_too_large_is_not_read(server: WebServer) -> None:
    """Not more than 4 MiB of it."""
    server.always(PATH, single())
    server.always(BLOB, Answer(body=b" " * (4 * 1024 * 1024 + 1)))
    assert failure(registry(server.origin)) == f"{server.origin}{BLOB}: more than 4194304 bytes"


@pytest.mark.parametrize("logins", [{}, LOGIN])
def test_one_token_serves_the_manifest_and_its_configuration(logins: Mapping[str, tuple[str, str]]) -> None:
    """It is for reading the repository."""
    with TokenRegistry(login=BASIC if logins else None, answers={PATH: single(), BLOB: config()}) as server:
        assert registry(server.origin, logins=logins).resolve(image(), quiet) == SINGLE.resolved
        asked = [
            (path.partition("?")[0], sent)
            for path, sent in zip(server.paths(), headers(server, "Authorization"), strict=True)
        ]
    bearer = f"Bearer {TOKEN}"
    login = BASIC if logins else None
    assert asked == [(PATH, None), ("/oauth2/token", login), (PATH, bearer), (BLOB, bearer)]


def test_redirect_of_a_configuration_gets_no_login(server: WebServer) -> None:
    """Registries keep their blobs with others, who need none."""
    with WebServer(lambda _: config()) as other:
        server.script(PATH, asks_for('Basic realm="x"'), single())
        server.always(BLOB, Answer(status=307, headers={"Location": f"{other.origin}/data"}))
        images = registry(
            server.origin, endpoints={"other.example": other.origin}, logins=LOGIN, hosts=(HOST, "other.example")
        )
        assert images.resolve(image(), quiet) == SINGLE.resolved
        assert headers(other, "Authorization") == [None]
    assert headers(server, "Authorization") == [None, BASIC, BASIC]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://files.example/data", "http://files.example is no configured upstream: a request to it is refused"),
        (
            "https://169.254.169.254/x",
            "169.254.169.254 leads to 169.254.169.254, a link-local or metadata address: refused",
        ),
        (
            "https://10.0.0.7/x",
            "10.0.0.7 leads to 10.0.0.7, which is not public, and is no configured upstream: refused",
        ),
        (
            "https://127.0.0.1:1/x",
            "127.0.0.1 leads to 127.0.0.1, which is not public, and is no configured upstream: refused",
        ),
    ],
)
def test_redirect_of_a_configuration_leads_to_public_hosts_alone(server: WebServer, location: str, said: str) -> None:
    """By https, whoever they are (SSRF)."""
    server.always(PATH, single())
    server.always(BLOB, Answer(status=307, headers={"Location": location}))
    assert failure(registry(server.origin)) == said


def test_redirect_of_a_configuration_to_a_public_host_is_followed(server: WebServer) -> None:
    """MAR's blobs are on another host than its manifests: that one is asked, and nobody is there."""
    server.always(PATH, single())
    server.always(BLOB, Answer(status=307, headers={"Location": "https://192.0.2.7/data?sig=canary"}))
    assert failure(registry(server.origin, timeout=0.1)).startswith("https://192.0.2.7")


# --- who is asking ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("logins", "login"), [({}, None), (LOGIN, BASIC)])
def test_token_is_fetched_and_kept(logins: Mapping[str, tuple[str, str]], login: str | None) -> None:
    """Anonymous or with the login, as MAR and ACR give them out; one token serves the next image of the repository."""
    with TokenRegistry(login=login) as server:
        images = registry(server.origin, logins=logins)
        assert images.resolve(image(), quiet) == MADE.resolved
        assert images.resolve(image(tag="2.0"), quiet) == MADE.resolved
        service = urlsplit(server.asked[1].path)
        assert (service.path, parse_qs(service.query)) == (
            "/oauth2/token",
            {"service": [HOST], "scope": ["repository:azureml/x:pull"]},
        )
        assert headers(server, "Authorization") == [None, login, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]


def test_token_that_has_expired_is_fetched_again() -> None:
    """The registry says so; nobody looks at a clock."""
    with TokenRegistry() as server:
        images = registry(server.origin)
        images.resolve(image(), quiet)
        server.script("/v2/azureml/x/manifests/2.0", asks_for(server.challenge))
        assert images.resolve(image(tag="2.0"), quiet) == MADE.resolved
        old, anonymous, new = f"Bearer {TOKEN}", None, f"Bearer {TOKEN}"
        assert headers(server, "Authorization")[2:] == [old, old, anonymous, new]


def test_realm_with_a_query_keeps_it() -> None:
    """And `access_token` is as good a name for the token as `token`."""
    with TokenRegistry(realm="/oauth2/token?account=x") as server:
        path = f"/oauth2/token?account=x&service={HOST}&scope=repository%3Aazureml%2Fx%3Apull"
        server.script(path, token(key="access_token"))
        assert registry(server.origin).resolve(image(), quiet) == MADE.resolved
        assert server.paths()[1] == path


@pytest.mark.parametrize("logins", [{}, LOGIN])
def test_no_login_and_no_request_to_a_host_that_a_server_names(
    server: WebServer, logins: Mapping[str, tuple[str, str]]
) -> None:
    """Another origin is refused as a token service, also one that is configured for another registry."""
    with WebServer(lambda _: token()) as evil:
        server.always(PATH, asks_for(f'Bearer realm="{evil.origin}/token",service="x"'))
        images = registry(
            server.origin, endpoints={"other.example": evil.origin}, logins=logins, hosts=(HOST, "other.example")
        )
        said = failure(images)
        assert evil.asked == []
    assert said == f"{HOST} sends for a token to {evil.origin}, which is not its own: refused"


def test_token_service_that_is_named_for_a_registry_is_asked(server: WebServer) -> None:
    """docker.io's is another host; the configuration points both elsewhere."""
    with WebServer(lambda _: token()) as service:
        path = "/v2/library/python/manifests/latest"
        server.script(path, asks_for(f'Bearer realm="{service.origin}/token",scope="repository:library/python:pull"'))
        server.always(path, manifest())
        endpoints = {"docker.io": server.origin, "auth.docker.io": service.origin}
        images = registry(
            server.origin, endpoints=endpoints, hosts=("docker.io",), logins={"docker.io": ("joe", SECRET)}
        )
        found = images.resolve(image("library/python", tag=None, host="docker.io"), quiet)
        assert (found, headers(service, "Authorization")) == (MADE.resolved, [BASIC])
    assert headers(server, "Authorization") == [None, f"Bearer {TOKEN}"]


KEPT = (
    "its credentials go to the host that the policy names alone, and `registries` has another one asked: make that the "
    "upstream's url"
)


def test_what_stands_in_for_a_registry_gets_no_login(server: WebServer) -> None:
    """Neither as Basic nor for a token of its own; the registry itself isn't asked."""
    with WebServer() as other:
        images = registry(server.origin, logins=LOGIN, stand_ins={HOST: other.origin})
        other.script(PATH, asks_for('Basic realm="x"'))
        basic = failure(images)
        other.script(PATH, asks_for(f'Bearer realm="{other.origin}/t"'), Answer(status=401))
        other.always("/t?scope=repository%3Aazureml%2Fx%3Apull", token())
        bearer = failure(images)
        other.script(PATH, manifest())
        assert images.resolve(image(), quiet) == MADE.resolved
        assert headers(other, "Authorization") == [None, None, None, f"Bearer {TOKEN}", None]
    assert basic == f"{HOST} asks for a login: {KEPT}"
    assert bearer == f"{HOST}/azureml/x:1.0: {other.origin}{PATH} answered 401: {KEPT}"
    assert server.asked == []


def test_a_stand_in_that_is_the_registry_itself_gets_its_login(server: WebServer) -> None:
    """The same origin, perhaps at another path: what the policy names is what is asked."""
    path = f"/mirror{PATH}"
    server.script(path, asks_for('Basic realm="x"'))
    server.always(path, manifest())
    images = registry(server.origin, logins=LOGIN, stand_ins={HOST: f"{server.origin}/mirror"})
    assert images.resolve(image(), quiet) == MADE.resolved
    assert headers(server, "Authorization") == [None, BASIC]


def test_what_stands_in_for_a_token_service_gets_no_login(server: WebServer) -> None:
    """Also where the registry, which is asked where the policy says, sends there."""
    path = "/v2/library/python/manifests/latest"
    with WebServer(lambda _: token()) as service:
        server.script(path, asks_for(f'Bearer realm="{service.origin}/token",scope="repository:library/python:pull"'))
        server.always(path, manifest())
        images = registry(
            server.origin,
            endpoints={"docker.io": server.origin},
            hosts=("docker.io",),
            logins={"docker.io": ("joe", SECRET)},
            stand_ins={"auth.docker.io": service.origin},
        )
        assert images.resolve(image("library/python", tag=None, host="docker.io"), quiet) == MADE.resolved
        assert headers(service, "Authorization") == [None]


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        ('Bearer realm="file:///etc/passwd"',
         f"{HOST} sends for a token to what can't be asked: a URL with the scheme 'file': only http and https are followed"),
        ('Bearer realm="{url}@169.254.169.254/token"',
         f"{HOST} sends for a token to what can't be asked: a URL of '169.254.169.254' carries credentials"),
        ('Bearer realm="http://169.254.169.254/token"',
         f"{HOST} sends for a token to http://169.254.169.254, which is not its own: refused"),
        ('Bearer service="x"',
         f"{HOST} sends for a token without saying where"),
        ('Bearer realm="{url}/t",scope="repository:azureml/x:pull,push"',
         f"{HOST} wants a token for 'repository:azureml/x:pull,push': expected 'repository:azureml/x:pull'"),
        ('Bearer realm="{url}/t",scope="registry:catalog:*"',
         f"{HOST} wants a token for 'registry:catalog:*': expected 'repository:azureml/x:pull'"),
        ('Bearer realm="{url}/t",scope="repository:secret/y:pull"',
         f"{HOST} wants a token for 'repository:secret/y:pull': expected 'repository:azureml/x:pull'"),
        ('Bearer realm="{url}/t",scope="repository:evilazureml/x:pull"',
         f"{HOST} wants a token for 'repository:evilazureml/x:pull': expected 'repository:azureml/x:pull'"),
        ('Bearer realm="{url}/t", realm="{url}/u"', "a WWW-Authenticate header that can't be read (RFC 9110): "),
        ('realm="{url}/t"', "a WWW-Authenticate header that can't be read (RFC 9110): "),
        ('Bearer realm="{url}/t', "a WWW-Authenticate header that can't be read (RFC 9110): "),
        ('Bearer realm="{url}/t"' + ", x=y" * 2000, "a WWW-Authenticate header that can't be read (RFC 9110): "),
        ("Bearer " + "a" * 4000 + "\u00ff", "a WWW-Authenticate header that can't be read (RFC 9110): "),
        ("Negotiate, NTLM abc==", f"{HOST} answered 401 and asks for neither a Bearer token nor a Basic login"),
        ("", f"{HOST} answered 401 and asks for neither a Bearer token nor a Basic login"),
        ('Basic realm="x"', f"{HOST} asks for a login: name its upstream's `credentials` in the policy"),
    ],
)  # fmt: skip
def test_hostile_challenges(server: WebServer, challenge: str, said: str) -> None:
    """Nothing is asked for beyond reading one repository, from nobody but the registry itself."""
    server.always(PATH, asks_for(challenge.replace("{url}", server.origin)))
    found = failure(registry(server.origin))
    assert found.startswith(said)
    assert found == said or "RFC 9110" in said or "carries" in said
    assert server.paths() == [PATH]


def test_basic_login_goes_to_the_registry_alone(server: WebServer) -> None:
    """Not with a redirect to another upstream."""
    with WebServer(lambda _: manifest()) as other:
        server.script(PATH, asks_for('Negotiate, Basic realm="x", charset="UTF-8"'))
        server.always(PATH, Answer(status=307, headers={"Location": f"{other.origin}{PATH}"}))
        images = registry(
            server.origin, endpoints={"other.example": other.origin}, logins=LOGIN, hosts=(HOST, "other.example")
        )
        assert images.resolve(image(), quiet) == MADE.resolved
        assert headers(other, "Authorization") == [None]
    assert headers(server, "Authorization") == [None, BASIC]


@pytest.mark.parametrize(
    ("logins", "advice"),
    [
        ({}, "no such image, or one that needs a login: name its upstream's `credentials` in the policy"),
        (LOGIN, "its credentials are wrong, or may not read it"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
def test_refusal_says_what_may_help(
    server: WebServer, logins: Mapping[str, tuple[str, str]], advice: str, status: int
) -> None:
    """The token service may refuse, or the registry after it; a refusal is never "no such image"."""
    challenge = f'Bearer realm="{server.origin}/t"'
    service = "/t?scope=repository%3Aazureml%2Fx%3Apull"
    server.script(PATH, asks_for(challenge), asks_for(challenge), Answer(status=status))
    server.script(service, Answer(status=status), token())
    images = registry(server.origin, logins=logins)
    assert [failure(images), failure(images)] == [
        f"{HOST}/azureml/x: {server.origin}/t answered {status} for a token: {advice}",
        f"{HOST}/azureml/x:1.0: {server.origin}{PATH} answered {status}: {advice}",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        token(""),
        token(7),
        token(f"{TOKEN}\r\nX-Evil: 1"),
        token(f"{TOKEN} x"),
        token("x" * 70_000),
        Answer(body=b"[]"),
        Answer(body=b"[" * 20_000),
        Answer(body=b"<html>"),
    ],
)
def test_token_that_cannot_be_used(server: WebServer, answer: Answer) -> None:
    """It would go into a header."""
    server.always(PATH, asks_for(f'Bearer realm="{server.origin}/t"'))
    server.always("/t?scope=repository%3Aazureml%2Fx%3Apull", answer)
    said = failure(registry(server.origin))
    assert said == f"{server.origin}/t: an answer without a token that can be used"


def test_token_service_that_fails_is_no_answer(server: WebServer) -> None:
    """And more of an answer than a token needs is not read."""
    server.always(PATH, asks_for(f'Bearer realm="{server.origin}/t"'))
    service = "/t?scope=repository%3Aazureml%2Fx%3Apull"
    server.script(service, Answer(status=500), Answer(body=b" " * (256 * 1024 + 1)))
    images = registry(server.origin)
    assert [failure(images), failure(images)] == [
        f"{HOST}/azureml/x: {server.origin}/t answered 500 for a token",
        f"{server.origin}/t: more than 262144 bytes",
    ]
