"""JSON Web Tokens of OpenID issuers: read strictly, and verified with the keys that the issuer publishes.

Only the signature is the library's business. Header and claims are read here, so that whatever two readers could take in
two ways is refused, and times are held against `now`. What a token says of its own keys (`jku`, `jwk`, `x5u`, `x5c`) is
not looked at: keys are those of the configured issuer. No message repeats a token, nor any part that nobody signed.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import msgspec

from quarantine.errors import UpstreamError
from quarantine.io.cache import private_folder, read_cached, write_cached
from quarantine.io.guard import target_of
from quarantine.io.http import HttpClient
from quarantine.model import is_loopback
from quarantine.ports import Tell

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["Claims", "Issuer", "Jwk", "Keys", "PublishedKeys", "claimed_text", "verify_token"]

T = TypeVar("T")
Claims = Mapping[str, object]
"""What a token says, once its issuer is known to have said it."""

MAX_TOKEN_BYTES = 16 * 1024
"""Web servers take headers of 8 to 16 kB, and a token must fit into one."""
MAX_DISCOVERY_BYTES = 64 * 1024
MAX_KEYS_BYTES = 256 * 1024
MAX_KEYS = 100
LEEWAY = timedelta(seconds=60)
KEYS_LIVE = timedelta(hours=1)
MIN_RSA_BITS = 2048  # NIST SP 800-131A: shorter ones are disallowed
MAX_RSA_BITS = 8192  # what longer ones cost grows with the cube of their length
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
# RFC 7518, 3.1: those of them that only the issuer's private key can make. The curve is part of an ES algorithm.
_ALGORITHMS = {
    **{f"{family}{bits}": ("RSA", "") for family in ("RS", "PS") for bits in (256, 384, 512)},
    **{f"ES{bits}": ("EC", curve) for bits, curve in ((256, "P-256"), (384, "P-384"), (512, "P-521"))},
}


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are taken, and which: `issuer`, `audience` and, where it isn't "", `tenant` hold to the letter.

    `configuration` is the URL of its discovery document; it and the keys come from one origin.
    """

    issuer: str
    audience: str
    tenant: str = ""
    configuration: str = ""

    @property
    def discovery(self) -> str:
        """Where it says what its keys are (OpenID Connect Discovery, section 4)."""
        return self.configuration or self.issuer.rstrip("/") + "/.well-known/openid-configuration"


class Jwk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A published key (RFC 7517), as far as it is used: what else is in it, a private part too, is dropped."""

    kty: str
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    crv: str = ""
    n: Annotated[str, msgspec.Meta(max_length=MAX_RSA_BITS)] = ""
    e: Annotated[str, msgspec.Meta(max_length=16)] = ""
    x: Annotated[str, msgspec.Meta(max_length=128)] = ""
    y: Annotated[str, msgspec.Meta(max_length=128)] = ""


class _Discovery(msgspec.Struct, frozen=True):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    keys: Annotated[tuple[Jwk, ...], msgspec.Meta(max_length=MAX_KEYS)]


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    fetched: Annotated[datetime, msgspec.Meta(tz=True)]
    keys: Annotated[tuple[Jwk, ...], msgspec.Meta(max_length=MAX_KEYS)]


class Keys(Protocol):
    """Knows the keys of issuers."""

    def find(self, issuer: Issuer, kid: str, tell: Tell) -> Jwk | None:
        """The key of that id, None where the issuer publishes none such now. UpstreamError when that can't be known."""
        ...


class PublishedKeys:
    """Keys as their issuers publish them, kept for an hour, and read again once for an id that isn't among them."""

    def __init__(self, *, http: Callable[[Iterable[str]], HttpClient], cache_dir: Path, now: datetime) -> None:
        self._http = http
        self._cache_dir = cache_dir
        self._now = now
        self._fresh: dict[str, tuple[Jwk, ...]] = {}

    def find(self, issuer: Issuer, kid: str, tell: Tell) -> Jwk | None:
        """The key of that id, None where the issuer publishes none such now. UpstreamError when that can't be known."""
        url = issuer.discovery
        if url not in self._fresh and (found := _named(self._kept(url), kid)) is not None:
            return found
        if url not in self._fresh:
            self._fresh[url] = self._fetch(issuer, tell)
        return _named(self._fresh[url], kid)

    def _file(self, url: str) -> Path:
        return private_folder(self._cache_dir / "keys") / f"{sha256(url.encode()).hexdigest()}.json"

    def _kept(self, url: str) -> tuple[Jwk, ...]:
        data = read_cached(self._file(url), MAX_KEYS_BYTES)
        try:
            kept = None if data is None else msgspec.json.decode(data, type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ()
        # one from the future says that a clock was wrong: then nobody knows how old it is
        if kept is None or kept.url != url or not timedelta() <= self._now - kept.fetched < KEYS_LIVE:
            return ()
        return kept.keys

    def _fetch(self, issuer: Issuer, tell: Tell) -> tuple[Jwk, ...]:
        url = issuer.discovery
        start = target_of(url)
        if start.origin.scheme != "https" and not is_loopback(start.origin.host):
            raise UpstreamError(f"{start} isn't encrypted: expected https (http on this machine's loopback only)")
        tell(f"asking {start.origin.host} for its keys")
        with self._http([url]) as http:
            found = _decode(http, url, _Discovery, MAX_DISCOVERY_BYTES, "a discovery document")
            if found.issuer != issuer.issuer:
                raise UpstreamError(f"{start} speaks for another issuer: expected {issuer.issuer}")
            keys = target_of(found.jwks_uri)
            if keys.origin != start.origin:
                raise UpstreamError(f"{start} sends for keys to {keys.origin}, which is not its own: refused")
            published = _decode(http, found.jwks_uri, _KeySet, MAX_KEYS_BYTES, "a set of keys").keys
        usable = tuple(key for key in published if key.kid and key.use == "sig")
        if len({key.kid for key in usable}) < len(usable):
            raise UpstreamError(f"{keys} gives several keys under one id")
        data = msgspec.json.encode(_Kept(url=url, fetched=self._now, keys=usable))
        write_cached(self._file(url), data)
        return usable


def _named(keys: Iterable[Jwk], kid: str) -> Jwk | None:
    return next((key for key in keys if key.kid == kid), None)


def _decode(http: HttpClient, url: str, type_: type[T], max_bytes: int, what: str) -> T:
    answer = http.get(url, headers={"Accept": "application/json"}, max_bytes=max_bytes)
    if answer.status != 200:
        raise UpstreamError(f"{answer.url} answered {answer.status}: expected {what}")
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamError(f"{answer.url} is not {what}") from error


def verify_token(token: str, expected: Collection[Issuer], keys: Keys, now: datetime, tell: Tell) -> Claims:
    """The claims of a token, signed by one of the expected issuers for its audience and tenant, and valid `now`.

    1. It is of the form of a signed token, and small enough.
    2. Its algorithm is one that only the holder of a private key can use.
    3. The issuer that it names is one of the expected ones, to the letter.
    4. That issuer publishes the key that it names, and the key is one for the algorithm.
    5. The signature is made with that key.
    6. Audience and tenant are those that are expected, to the letter.
    7. `exp`, `nbf` and `iat` are there, and `now` is between them, give or take a minute.

    UpstreamError says which of them doesn't hold.
    """
    header, unsigned = _parts(token)  # (1)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:  # (2)
        raise UpstreamError(
            "the identity token is refused: its algorithm is none that is taken: expected RS, PS or ES with 256, 384 or 512"
        )
    if "crit" in header or "b64" in header:
        # RFC 7515, 4.1.11: who doesn't understand an extension that is critical must refuse the token
        raise UpstreamError(
            "the identity token is refused: it relies on extensions that are not understood (crit, b64)"
        )
    issuer = next((issuer for issuer in expected if issuer.issuer == unsigned.get("iss")), None)  # (3)
    if issuer is None:
        names = " or ".join(issuer.issuer for issuer in expected)
        raise UpstreamError(f"the identity token is refused: it is of another issuer: expected {names}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise UpstreamError("the identity token is refused: it names no key (kid)")
    jwk = keys.find(issuer, kid, tell)  # (4)
    if jwk is None:
        raise UpstreamError(f"the identity token is refused: {issuer.issuer} publishes no key of the id that it names")
    _verify_signature(token, algorithm, _public_key(jwk, algorithm, issuer))  # (5)
    claims = unsigned
    if claims.get("aud") != issuer.audience:  # (6)
        raise UpstreamError(
            f"the identity token is refused: it is for {_shown(claims.get('aud'))}: expected the audience {issuer.audience}"
        )
    if issuer.tenant and claims.get("tid") != issuer.tenant:
        raise UpstreamError(
            f"the identity token is refused: it is of {_shown(claims.get('tid'))}: expected the tenant {issuer.tenant}"
        )
    _check_times(claims, now)  # (7)
    return claims


def _parts(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Header and claims, neither of them verified."""
    if len(token) > MAX_TOKEN_BYTES:
        raise UpstreamError(f"the identity token is refused: it has more than {MAX_TOKEN_BYTES} characters")
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise UpstreamError("the identity token is refused: it is no signed JSON Web Token")
    return _object(found[1]), _object(found[2])


def _object(text: str) -> dict[str, object]:
    """A part of a token as a JSON object. Names that stand twice are refused: which of them counts is a matter of taste."""
    from base64 import urlsafe_b64decode  # noqa: PLC0415  # only who shows a token pays for it

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands twice")
        return dict(pairs)

    def refuse(_: str) -> object:
        raise ValueError("no JSON number")

    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UpstreamError("the identity token is refused: a part of it is no JSON object with unique names")
    return value


def _public_key(jwk: Jwk, algorithm: str, issuer: Issuer) -> "RSAPublicKey | EllipticCurvePublicKey":
    """The key, if it is one for the algorithm: else a signature could be made with what was meant for something else."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415  # large
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm  # noqa: PLC0415
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    kty, crv = _ALGORITHMS[algorithm]
    if jwk.kty != kty or (kty == "EC" and jwk.crv != crv) or jwk.alg not in {"", algorithm}:
        raise UpstreamError(f"the identity token is refused: the key that it names is none for {algorithm}")
    try:
        if kty == "RSA":
            key: object = RSAAlgorithm.from_jwk({"kty": jwk.kty, "n": jwk.n, "e": jwk.e})
        else:
            key = ECAlgorithm.from_jwk({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "y": jwk.y})
    except (PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise UpstreamError(f"{issuer.issuer} publishes a key that can't be read") from error
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise UpstreamError(
            f"{issuer.issuer} publishes an RSA key of {key.key_size} bits: expected {MIN_RSA_BITS} to {MAX_RSA_BITS}"
        )
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey):
        raise UpstreamError(f"{issuer.issuer} publishes a key that can't be read")
    return key


def _verify_signature(token: str, algorithm: str, key: "RSAPublicKey | EllipticCurvePublicKey") -> None:
    from jwt import PyJWS  # noqa: PLC0415  # large
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    try:
        PyJWS(algorithms=[algorithm]).decode(token, key=key, algorithms=[algorithm])
    except (PyJWTError, ValueError, TypeError):
        # without its cause, which may quote the token
        raise UpstreamError("the identity token is refused: its signature is not its issuer's") from None


def _check_times(claims: Claims, now: datetime) -> None:
    instants = {name: _instant(claims.get(name)) for name in ("exp", "nbf", "iat")}
    for name, instant in instants.items():
        if instant is None:
            raise UpstreamError(f"the identity token is refused: it has no time `{name}`")
    seconds, leeway = now.timestamp(), LEEWAY.total_seconds()
    if instants["exp"] is not None and seconds >= instants["exp"] + leeway:
        raise UpstreamError(f"the identity token expired at {_utc(instants['exp'])}: get a new one")
    if instants["nbf"] is not None and seconds < instants["nbf"] - leeway:
        raise UpstreamError(
            f"the identity token isn't valid before {_utc(instants['nbf'])}: is this machine's clock right?"
        )
    if instants["iat"] is not None and seconds < instants["iat"] - leeway:
        raise UpstreamError(f"the identity token was issued at {_utc(instants['iat'])}: is this machine's clock right?")


def _instant(value: object) -> float | None:
    """A NumericDate (RFC 7519, 2), None for what is none, or is beyond the years that there are."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value) if 0 <= value < 253402300800 else None  # the year 10000


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(value: object) -> str:
    """A signed claim for a message."""
    if value is None:
        return "none"
    return ascii(value)[:120] if isinstance(value, str) else "something that is not text"


def claimed_text(claims: Claims, name: str, *, longest: int = 256) -> str:
    """A claim that is text, cleaned of what can't be printed and cut; "" where there is none."""
    value = claims.get(name)
    if not isinstance(value, str):
        return ""
    return "".join(character for character in value if character.isprintable()).strip()[:longest]
