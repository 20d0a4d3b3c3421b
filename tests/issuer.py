"""A loopback OpenID issuer with keys of its own, and tokens made with them, honestly and otherwise."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from servers import Answer, WebServer

from quarantine.io.http import HttpClient
from quarantine.io.tokens import PublishedKeys

JSON_TYPE = {"Content-Type": "application/json"}
DOCUMENT = "/.well-known/openid-configuration"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@lru_cache(maxsize=64)
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key, the same one for the same name within a run."""
    return rsa.generate_private_key(65537, bits)


@lru_cache(maxsize=64)
def ec_key(name: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """An elliptic-curve key, the same one for the same name within a run."""
    return ec.generate_private_key(curve())


def public_jwk(key: PrivateKey, kid: str, **more: object) -> dict[str, object]:
    """What an issuer publishes of a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    return {**made, "kid": kid, "use": "sig", **more}


def encoded(value: object) -> str:
    """A part of a token: JSON (or bytes as they are) in base64url."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def times(now: datetime, **shifts: timedelta) -> dict[str, int]:
    """The claims of a token that was issued a minute before `now` and is good for ten; `shifts` move single ones."""
    usual = {"iat": -timedelta(minutes=1), "nbf": -timedelta(minutes=1), "exp": timedelta(minutes=10)}
    return {name: int((now + shift).timestamp()) for name, shift in {**usual, **shifts}.items()}


class IssuerServer(WebServer):
    """Publishes its keys under every name that it was given: `path` of the discovery document -> issuer.

    Without names it is one issuer, called as its origin. The first key is an RSA one with the id `one`.
    """

    def __init__(self, names: Callable[[str], Mapping[str, str]] | None = None) -> None:
        super().__init__()
        self.issuer = self.origin
        self.keys: dict[str, PrivateKey] = {"one": rsa_key("one")}
        self.extra: list[dict[str, object]] = []
        self._names = {DOCUMENT: self.origin} if names is None else dict(names(self.origin))
        self.publish()

    def publish(self, *, jwks_uri: str | None = None, claimed: str | None = None) -> None:
        """Puts documents and keys up as they are now. `claimed` is a name that isn't its own."""
        for path, issuer in self._names.items():
            document = {"issuer": claimed or issuer, "jwks_uri": jwks_uri or f"{self.origin}/keys"}
            self.always(path, Answer(headers=JSON_TYPE, body=json.dumps(document).encode()))
        keys = [public_jwk(key, kid) for kid, key in self.keys.items()]
        self.always("/keys", Answer(headers=JSON_TYPE, body=json.dumps({"keys": [*keys, *self.extra]}).encode()))

    def rotate(self, keys: Mapping[str, PrivateKey]) -> None:
        """Has these keys from now on, and no others."""
        self.keys = dict(keys)
        self.publish()

    def sign(
        self,
        claims: Mapping[str, object],
        *,
        kid: str = "one",
        algorithm: str = "RS256",
        key: PrivateKey | None = None,
        header: Mapping[str, object] | None = None,
    ) -> str:
        """A token; with `key` it is made with another one than the issuer's of that id."""
        made_with = self.keys[kid] if key is None else key
        return jwt.encode(dict(claims), made_with, algorithm=algorithm, headers={"kid": kid, **(header or {})})


def sign_bytes(payload: bytes, key: rsa.RSAPrivateKey, header: bytes) -> str:
    """A token over exactly these bytes (RS256)."""
    algorithm = jwt.get_algorithm_by_name("RS256")
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{encoded(algorithm.sign(signed.encode(), key))}"


def published_keys(folder: Path, now: datetime) -> PublishedKeys:
    """What finds keys through the real client, which gives up soon."""

    def client(urls: Iterable[str]) -> HttpClient:
        return HttpClient(
            allowed=tuple(urls), user_agent="quarantine/tests", retries=1, backoff_seconds=0.01, timeout_seconds=5
        )

    return PublishedKeys(http=client, cache_dir=folder, now=now)
