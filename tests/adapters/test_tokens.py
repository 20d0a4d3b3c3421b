"""Tokens are verified against a loopback issuer with keys of its own; everything forged is refused, and says why."""

import hmac
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuer import DOCUMENT, IssuerServer, ec_key, encoded, public_jwk, published_keys, rsa_key, sign_bytes, times
from servers import Answer

from quarantine.errors import UpstreamError
from quarantine.io.tokens import Claims, Issuer, claimed_text, verify_token

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUDIENCE = "api://quarantine"
REFUSED = "the identity token is refused: "
NO_ALGORITHM = f"{REFUSED}its algorithm is none that is taken: expected RS, PS or ES with 256, 384 or 512"
NO_OBJECT = f"{REFUSED}a part of it is no JSON object with unique names"
NO_TOKEN = f"{REFUSED}it is no signed JSON Web Token"
NOT_SIGNED = f"{REFUSED}its signature is not its issuer's"


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as running:
        yield running


def quiet(_: str) -> None:
    """Nobody is told."""


def claims(server: IssuerServer, **more: object) -> dict[str, object]:
    return {"iss": server.issuer, "aud": AUDIENCE, "sub": "somebody", **times(NOW), **more}


def verify(server: IssuerServer, token: str, folder: Path, *, now: datetime = NOW, tenant: str = "") -> Claims:
    expected = (Issuer(issuer=server.issuer, audience=AUDIENCE, tenant=tenant),)
    return verify_token(token, expected, published_keys(folder, now), now, quiet)


def refusal(server: IssuerServer, token: str, folder: Path, *, now: datetime = NOW, tenant: str = "") -> str:
    with pytest.raises(UpstreamError) as caught:
        verify(server, token, folder, now=now, tenant=tenant)
    assert token not in str(caught.value)
    assert caught.value.exit_status == 3
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_token_of_the_issuer_is_taken(server: IssuerServer, tmp_path: Path, algorithm: str) -> None:
    """Its claims come back as they were signed."""
    signed = claims(server)
    assert verify(server, server.sign(signed, algorithm=algorithm), tmp_path) == signed


@pytest.mark.parametrize(
    ("algorithm", "curve"), [("ES256", ec.SECP256R1), ("ES384", ec.SECP384R1), ("ES512", ec.SECP521R1)]
)
def test_curves_are_taken_with_their_own_algorithm(
    server: IssuerServer, tmp_path: Path, algorithm: str, curve: type[ec.EllipticCurve]
) -> None:
    """One of several keys, found by its id."""
    server.rotate({"one": rsa_key("one"), "curve": ec_key("curve", curve)})
    signed = claims(server)
    assert verify(server, server.sign(signed, kid="curve", algorithm=algorithm), tmp_path) == signed


def test_token_without_a_signature_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Neither an empty signature nor one that nobody looks at."""
    parts = f"{encoded({'alg': 'none', 'kid': 'one'})}.{encoded(claims(server))}"
    named = [encoded({"alg": spelling, "kid": "one"}) for spelling in ("none", "None", "NONE", "")]
    said = [refusal(server, f"{header}.{encoded(claims(server))}.AA", tmp_path) for header in named]
    assert (refusal(server, f"{parts}.", tmp_path), said) == (NO_TOKEN, [NO_ALGORITHM] * 4)


@pytest.mark.parametrize(
    "form", [(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.PEM, PublicFormat.PKCS1)]
)
@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_public_key_is_no_secret_to_sign_with(
    server: IssuerServer, tmp_path: Path, form: tuple[Encoding, PublicFormat], algorithm: str
) -> None:
    """What everybody knows must not make a token (algorithm confusion)."""
    secret = rsa_key("one").public_key().public_bytes(*form)
    signed = f"{encoded({'alg': algorithm, 'kid': 'one'})}.{encoded(claims(server))}"
    mac = hmac.new(secret, signed.encode(), algorithm.replace("HS", "sha")).digest()
    assert refusal(server, f"{signed}.{encoded(mac)}", tmp_path) == NO_ALGORITHM


def test_key_that_the_issuer_does_not_publish_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Another id; no id; an id of the wrong type."""
    other = server.sign(claims(server), kid="two", key=rsa_key("two"))
    unnamed = sign_bytes(json.dumps(claims(server)).encode(), rsa_key("one"), b'{"alg": "RS256"}')
    odd = sign_bytes(json.dumps(claims(server)).encode(), rsa_key("one"), b'{"alg": "RS256", "kid": ["one"]}')
    assert [refusal(server, token, tmp_path) for token in (other, unnamed, odd)] == [
        f"{REFUSED}{server.issuer} publishes no key of the id that it names",
        f"{REFUSED}it names no key (kid)",
        f"{REFUSED}it names no key (kid)",
    ]


def test_signature_of_another_key_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Under the id of a published one."""
    assert refusal(server, server.sign(claims(server), key=rsa_key("thief")), tmp_path) == NOT_SIGNED


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_keys_that_a_token_brings_along_count_for_nothing(server: IssuerServer, tmp_path: Path, name: str) -> None:
    """They are not used, and not fetched either."""
    thief = rsa_key("thief")
    with IssuerServer() as elsewhere:
        elsewhere.rotate({"one": thief})
        brought = {"jwk": public_jwk(thief, "one"), "jku": f"{elsewhere.origin}/keys", "x5u": f"{elsewhere.origin}/x5u"}
        token = server.sign(claims(server), key=thief, header={name: brought.get(name, ["AAAA"])})
        said = refusal(server, token, tmp_path)
    assert (said, elsewhere.paths()) == (NOT_SIGNED, [])


@pytest.mark.parametrize("edited", [0, 1, 2])
def test_edited_token_is_refused(server: IssuerServer, tmp_path: Path, edited: int) -> None:
    """Header, claims and signature: each by a value of its form."""
    parts = server.sign(claims(server)).split(".")
    parts[edited] = [encoded({"alg": "RS256", "kid": "one"}), encoded(claims(server, sub="boss")), encoded(bytes(256))][
        edited
    ]
    assert refusal(server, ".".join(parts), tmp_path) == NOT_SIGNED


def test_key_is_for_one_kind_of_algorithm(server: IssuerServer, tmp_path: Path) -> None:
    """An RSA key verifies no curve's signature, a curve's key none of another curve, a key with `alg` no other one."""
    server.keys["curve"] = ec_key("curve")
    server.extra = [
        public_jwk(rsa_key("bound"), "bound", alg="PS256"),
        public_jwk(rsa_key("sealed"), "sealed", use="enc"),
    ]
    server.publish()
    tokens = [
        server.sign(claims(server), kid="one", algorithm="ES256", key=ec_key("curve")),
        server.sign(claims(server), kid="curve", algorithm="ES384", key=ec_key("other", ec.SECP384R1)),
        server.sign(claims(server), kid="bound", key=rsa_key("bound")),
        server.sign(claims(server), kid="sealed", key=rsa_key("sealed")),
    ]
    assert [refusal(server, token, tmp_path) for token in tokens] == [
        f"{REFUSED}the key that it names is none for ES256",
        f"{REFUSED}the key that it names is none for ES384",
        f"{REFUSED}the key that it names is none for RS256",
        f"{REFUSED}{server.issuer} publishes no key of the id that it names",
    ]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_key_of_a_length_that_can_be_broken_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """1024 bits, and a key that is none at all."""
    short = rsa_key("short", 1024)
    server.keys["short"] = short
    server.extra = [{"kty": "RSA", "kid": "empty", "n": "", "e": ""}, {"kty": "EC", "kid": "off", "crv": "P-256"}]
    server.publish()
    tokens = [
        server.sign(claims(server), kid="short"),
        server.sign(claims(server), kid="empty", key=rsa_key("one")),
        server.sign(claims(server), kid="off", key=ec_key("curve"), algorithm="ES256"),
    ]
    assert [refusal(server, token, tmp_path) for token in tokens] == [
        f"{server.issuer} publishes an RSA key of 1024 bits: expected 2048 to 8192",
        f"{server.issuer} publishes a key that can't be read",
        f"{server.issuer} publishes a key that can't be read",
    ]


@pytest.mark.parametrize(
    "issuer", ["{issuer}/", "{issuer}.evil.example", "https://evil.example", "", None, 7, ["{issuer}"]]
)
def test_another_issuer_is_refused_before_anybody_is_asked(
    server: IssuerServer, tmp_path: Path, issuer: object
) -> None:
    """The name holds to the letter, and a token sends nobody anywhere."""
    named = issuer.format(issuer=server.issuer) if isinstance(issuer, str) else issuer
    payload = json.dumps(claims(server, iss=named)).encode()
    token = sign_bytes(payload, rsa_key("one"), b'{"alg": "RS256", "kid": "one"}')
    said = refusal(server, token, tmp_path)
    assert (said, server.paths()) == (f"{REFUSED}it is of another issuer: expected {server.issuer}", [])


@pytest.mark.parametrize(
    ("audience", "shown"),
    [
        ("api://other", "'api://other'"),
        ("api://quarantine/", "'api://quarantine/'"),
        ("boss\n##vso[x]\u202e", r"'boss\n##vso[x]\u202e'"),
        (None, "none"),
        ([AUDIENCE], "something that is not text"),
        ([AUDIENCE, "api://other"], "something that is not text"),
    ],
)
def test_another_audience_is_refused(server: IssuerServer, tmp_path: Path, audience: object, shown: str) -> None:
    """A token for somebody else, or for several, proves nothing here."""
    payload = json.dumps(claims(server, aud=audience)).encode()
    token = sign_bytes(payload, rsa_key("one"), b'{"alg": "RS256", "kid": "one"}')
    assert refusal(server, token, tmp_path) == f"{REFUSED}it is for {shown}: expected the audience {AUDIENCE}"


@pytest.mark.parametrize(("tenant", "shown"), [("other", "'other'"), (None, "none"), ("Home", "'Home'")])
def test_another_tenant_is_refused(server: IssuerServer, tmp_path: Path, tenant: object, shown: str) -> None:
    """Where a tenant is expected."""
    token = server.sign(claims(server, tid=tenant))
    said = refusal(server, token, tmp_path, tenant="home")
    assert said == f"{REFUSED}it is of {shown}: expected the tenant home"


def test_times_are_held_against_now_give_or_take_a_minute(server: IssuerServer, tmp_path: Path) -> None:
    """Up to 59 seconds past either end it is taken, at 60 it isn't; the library's clock says nothing."""
    minute, second = timedelta(minutes=1), timedelta(seconds=1)
    token = server.sign({**claims(server), **times(NOW, nbf=timedelta(), exp=5 * minute, iat=timedelta())})
    taken = [NOW - minute, NOW, NOW + 6 * minute - second]
    assert [verify(server, token, tmp_path, now=now)["sub"] for now in taken] == ["somebody"] * 3
    assert [refusal(server, token, tmp_path, now=now) for now in (NOW + 6 * minute, NOW + timedelta(days=1))] == [
        "the identity token expired at 2026-11-23T12:05:00Z: get a new one"
    ] * 2
    assert refusal(server, token, tmp_path, now=NOW - minute - second) == (
        "the identity token isn't valid before 2026-11-23T12:00:00Z: is this machine's clock right?"
    )


def test_token_from_the_future_is_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Though it says that it is valid already."""
    token = server.sign({**claims(server), **times(NOW, iat=timedelta(hours=1))})
    assert refusal(server, token, tmp_path) == (
        "the identity token was issued at 2026-11-23T13:00:00Z: is this machine's clock right?"
    )


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["absent", None, True, "1800000000", -1, 1e300, [1]])
def test_every_time_must_be_there(server: IssuerServer, tmp_path: Path, name: str, value: object) -> None:
    """A token without an end, or with one that is no time, is none."""
    changed = {key: old for key, old in claims(server, **{name: value}).items() if key != name or value != "absent"}
    token = sign_bytes(json.dumps(changed).encode(), rsa_key("one"), b'{"alg": "RS256", "kid": "one"}')
    assert refusal(server, token, tmp_path) == f"{REFUSED}it has no time `{name}`"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss": "a", "iss": "b"}',
        b'{"x": {"y": 1, "y": 2}}',
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"exp": NaN}',
        b'{"exp": Infinity}',
        b"[" * 9000,
    ],
)
def test_claims_that_can_be_read_in_two_ways_are_refused(server: IssuerServer, tmp_path: Path, payload: bytes) -> None:
    """Though they are signed: names that stand twice, what is no object, what is no JSON."""
    token = sign_bytes(payload, rsa_key("one"), b'{"alg": "RS256", "kid": "one"}')
    in_header = sign_bytes(json.dumps(claims(server)).encode(), rsa_key("one"), payload)
    assert (refusal(server, token, tmp_path), refusal(server, in_header, tmp_path)) == (NO_OBJECT, NO_OBJECT)


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "a b.c.d", "a.b=.c", "é.b.c", "a.b.c\n", ".b.c", "a..c"])
def test_what_is_no_token_is_refused(server: IssuerServer, tmp_path: Path, token: str) -> None:
    """Whatever isn't three parts in base64url."""
    with pytest.raises(UpstreamError) as caught:
        verify(server, token, tmp_path)
    assert str(caught.value) == NO_TOKEN


def test_huge_token_is_refused_unread(server: IssuerServer, tmp_path: Path) -> None:
    """One character more than web servers take."""
    fits = server.sign(claims(server, pad="x" * 11_000))
    assert verify(server, fits, tmp_path)["sub"] == "somebody"
    assert refusal(server, "a.b." + "c" * (16 * 1024 - 3), tmp_path) == f"{REFUSED}it has more than 16384 characters"


@pytest.mark.parametrize("header", [{"crit": ["exp"], "exp": 1}, {"b64": True}, {"crit": []}])
def test_extensions_are_not_understood(server: IssuerServer, tmp_path: Path, header: Mapping[str, object]) -> None:
    """RFC 7515 says to refuse what can't be understood."""
    named = json.dumps({"alg": "RS256", "kid": "one", **header}).encode()
    token = sign_bytes(json.dumps(claims(server)).encode(), rsa_key("one"), named)
    assert refusal(server, token, tmp_path) == (f"{REFUSED}it relies on extensions that are not understood (crit, b64)")


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_kept_for_an_hour(server: IssuerServer, tmp_path: Path) -> None:
    """Two runs ask once; after the hour, and after a clock that ran ahead, they are asked for again."""
    token = server.sign({**claims(server), **times(NOW, exp=timedelta(days=2))})
    counts = []
    for now in (NOW, NOW + timedelta(minutes=59), NOW + timedelta(minutes=60), NOW + timedelta(minutes=30)):
        verify(server, token, tmp_path, now=now)
        counts.append(server.paths().count("/keys"))
    assert counts == [1, 1, 2, 3]


def test_new_key_is_looked_for_once(server: IssuerServer, tmp_path: Path) -> None:
    """After a rotation the new one is found at once, and the old one is gone; an unknown id costs one look, not many."""
    old = server.sign(claims(server))
    verify(server, old, tmp_path)
    server.rotate({"two": rsa_key("two"), "three": ec_key("three")})
    assert verify(server, server.sign(claims(server), kid="two"), tmp_path)["sub"] == "somebody"
    assert server.paths().count("/keys") == 2
    keys, expected = published_keys(tmp_path, NOW), (Issuer(issuer=server.issuer, audience=AUDIENCE),)
    for token in (old, old, server.sign(claims(server), kid="four", key=rsa_key("four"))):
        with pytest.raises(UpstreamError, match="publishes no key of the id that it names"):
            verify_token(token, expected, keys, NOW, quiet)
    assert server.paths().count("/keys") == 3


@pytest.mark.parametrize("kept", [b"", b"{}", b"\xff", b'{"url": "x", "fetched": "2026-11-23T12:00:00Z", "keys": []}'])
def test_kept_keys_that_are_damaged_are_asked_for_again(server: IssuerServer, tmp_path: Path, kept: bytes) -> None:
    """What lies in the cache may be anything."""
    token = server.sign(claims(server))
    verify(server, token, tmp_path)
    (file,) = (tmp_path / "keys").iterdir()
    file.write_bytes(kept)
    assert (verify(server, token, tmp_path)["sub"], server.paths().count("/keys")) == ("somebody", 2)


def test_kept_keys_of_another_issuer_are_not_used(server: IssuerServer, tmp_path: Path) -> None:
    """Though they lie where this one's would."""
    token = server.sign(claims(server))
    verify(server, token, tmp_path)
    (file,) = (tmp_path / "keys").iterdir()
    file.write_bytes(file.read_bytes().replace(server.origin.encode(), b"https://other.example"))
    assert (verify(server, token, tmp_path)["sub"], server.paths().count("/keys")) == ("somebody", 2)


def test_keys_that_others_could_have_written_are_not_used(server: IssuerServer, tmp_path: Path) -> None:
    """Who can write there can say who anybody is."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys").chmod(0o777)
    said = refusal(server, server.sign(claims(server)), tmp_path)
    assert said == (f"the cache folder {tmp_path / 'keys'} can be written by others: make it yours alone (mode 0700)")


def test_issuer_that_does_not_answer_is_no_answer(server: IssuerServer, tmp_path: Path) -> None:
    """Whether the token is good isn't known."""
    token = server.sign(claims(server))
    server.always("/keys", Answer(status=503))
    down = refusal(server, token, tmp_path)
    server.always(DOCUMENT, Answer(status=404))
    gone = refusal(server, token, tmp_path)
    server.close()
    assert [down, gone, refusal(server, token, tmp_path)] == [
        f"{server.origin}/keys answered 503",
        f"{server.origin}{DOCUMENT} answered 404: expected a discovery document",
        f"{server.origin}: no connection (Connection refused)",
    ]


def test_documents_that_are_none_are_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Not JSON, not the members that must be there, too much of it."""
    token = server.sign(claims(server))
    said = []
    for body in (b"<html>", b"{}", b"\xff", b" " * 65537):
        server.always(DOCUMENT, Answer(body=body))
        said.append(refusal(server, token, tmp_path))
    server.publish()
    for body in (b"[]", b'{"keys": 1}', json.dumps({"keys": [{"kty": "RSA"}] * 101}).encode(), b" " * 262145):
        server.always("/keys", Answer(body=body))
        said.append(refusal(server, token, tmp_path))
    document, keys = f"{server.origin}{DOCUMENT}", f"{server.origin}/keys"
    assert said == [
        *[f"{document} is not a discovery document"] * 3,
        f"{document}: more than 65536 bytes",
        *[f"{keys} is not a set of keys"] * 3,
        f"{keys}: more than 262144 bytes",
    ]


def test_two_keys_under_one_id_are_refused(server: IssuerServer, tmp_path: Path) -> None:
    """Which of them is meant is not for us to guess."""
    server.extra = [public_jwk(rsa_key("two"), "one")]
    server.publish()
    assert (
        refusal(server, server.sign(claims(server)), tmp_path)
        == f"{server.origin}/keys gives several keys under one id"
    )


def test_discovery_document_must_be_the_issuers_own(server: IssuerServer, tmp_path: Path) -> None:
    """One that speaks for another name is not taken (OpenID Connect Discovery, 4.3)."""
    server.publish(claimed="https://evil.example")
    said = refusal(server, server.sign(claims(server)), tmp_path)
    assert said == f"{server.origin}{DOCUMENT} speaks for another issuer: expected {server.issuer}"


@pytest.mark.parametrize("how", ["document", "redirect"])
@pytest.mark.parametrize("place", ["http://169.254.169.254", "https://evil.example"])
def test_keys_come_from_the_issuers_own_origin(server: IssuerServer, tmp_path: Path, how: str, place: str) -> None:
    """Neither its document nor a redirect may send for them elsewhere."""
    if how == "document":
        server.publish(jwks_uri=f"{place}/keys")
        expected = f"{server.origin}{DOCUMENT} sends for keys to {place}, which is not its own: refused"
    else:
        server.always("/keys", Answer(status=302, headers={"Location": f"{place}/keys"}))
        expected = f"{place} is no configured upstream: a request to it is refused"
    assert refusal(server, server.sign(claims(server)), tmp_path) == expected


def test_keys_are_not_fetched_without_encryption(server: IssuerServer, tmp_path: Path) -> None:
    """From loopback alone."""
    name = "http://issuer.example"
    token = server.sign(claims(server, iss=name))
    with pytest.raises(UpstreamError) as caught:
        verify_token(token, (Issuer(issuer=name, audience=AUDIENCE),), published_keys(tmp_path, NOW), NOW, quiet)
    assert str(caught.value) == (
        f"{name}{DOCUMENT} isn't encrypted: expected https (http on this machine's loopback only)"
    )


def test_nothing_of_a_token_is_logged(
    server: IssuerServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither of one that is taken nor of one that isn't, at whatever level."""
    caplog.set_level(logging.DEBUG)
    good, bad = server.sign(claims(server)), server.sign(claims(server), key=rsa_key("thief"))
    verify(server, good, tmp_path)
    refusal(server, bad, tmp_path)
    said = caplog.text + "".join(capsys.readouterr())
    assert [part for token in (good, bad) for part in token.split(".") if part in said] == []


def test_claim_for_reading_is_cleaned_and_cut() -> None:
    """What can't be printed is left out; what isn't text is nothing."""
    said = {"name": "  bo\nss\u202e\x1b[2J  ", "long": "x" * 300, "number": 7}
    assert [claimed_text(said, name) for name in ("name", "long", "number", "absent")] == ["boss[2J", "x" * 256, "", ""]
