"""Who runs this, as Microsoft Entra says it: people and service principals, by a token for the configured audience.

The token is no pass to anything here. It is shown, verified like one from a stranger, and thrown away; what is kept of it
is the object id, which Entra gives once in a tenant and never again.
"""

from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

from quarantine.audit.redact import redact
from quarantine.errors import UpstreamError, install_extra
from quarantine.exceptions import Identity
from quarantine.io.tokens import Claims, Issuer, Keys, claimed_text, verify_token
from quarantine.ports import Tell

__all__ = ["PUBLIC_AUTHORITY", "Credential", "EntraIdentities", "default_credential", "issuers"]

PUBLIC_AUTHORITY = "https://login.microsoftonline.com"
_CHINA = "login.partner.microsoftonline.cn"


Credential = Callable[[str, str], str]
"""Gets an access token for a scope from the login host at a URL; UpstreamError when there is none to be had."""


def issuers(authority: str, tenant: str, audience: str) -> tuple[Issuer, ...]:
    """The two names that a tenant signs under: which one depends on the version of tokens that the audience asks for.

    Tokens of version 1 name a host that doesn't answer; the login host publishes the keys for both.
    """
    old = "sts.chinacloudapi.cn" if urlsplit(authority).hostname == _CHINA else "sts.windows.net"
    document = ".well-known/openid-configuration"
    return (
        Issuer(
            issuer=f"{authority}/{tenant}/v2.0",
            audience=audience,
            tenant=tenant,
            configuration=f"{authority}/{tenant}/v2.0/{document}",
        ),
        Issuer(
            issuer=f"https://{old}/{tenant}/",
            audience=audience,
            tenant=tenant,
            configuration=f"{authority}/{tenant}/{document}",
        ),
    )


def default_credential(scope: str, authority: str) -> str:
    """A token by azure-identity, which looks for an identity in the environment, on the machine, and in the Azure CLI."""
    try:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra: the embedded default needs none of it
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415
    except ImportError as error:
        raise UpstreamError(f"identity: entra needs azure-identity: {install_extra('azure')}") from error
    try:
        with DefaultAzureCredential(authority=authority) as credential:
            return credential.get_token(scope).token
    except (AzureError, ValueError) as error:
        reason = redact(str(error).strip().partition("\n")[0])
        raise UpstreamError(f"no token of Microsoft Entra for {scope}: {reason}; run `az login`") from error


class EntraIdentities:
    """An `Identities` that proves itself to itself with the tenant's published keys, once.

    `authority` is the login host's URL, without a `/` at the end.
    """

    def __init__(
        self,
        *,
        tenant: str,
        audience: str,
        authority: str,
        keys: Keys,
        now: datetime,
        credential: Credential = default_credential,
    ) -> None:
        self._issuers = issuers(authority, tenant, audience)
        self._audience = audience
        self._authority = authority
        self._keys = keys
        self._now = now
        self._credential = credential
        self._known: Identity | None = None

    def who(self, tell: Tell) -> Identity:
        """The holder of the token. UpstreamError when there is none, or none that holds."""
        if self._known is None:
            tell("asking Microsoft Entra who this is")
            token = self._credential(f"{self._audience}/.default", self._authority)
            claims = verify_token(token, self._issuers, self._keys, self._now, tell)
            # by whichever of both names the token was signed: else one person would be two
            self._known = _identity(claims, self._issuers[0].issuer)
        return self._known


def _identity(claims: Claims, issuer: str) -> Identity:
    """The holder by object id: the same in every application of the tenant, which `sub` is not."""
    holder = claims.get("oid")
    if not isinstance(holder, str) or not 0 < len(holder) <= 256 or not holder.isprintable():
        raise UpstreamError("the identity token is refused: it names nobody (oid)")
    # a service principal has no user name
    names = ("preferred_username", "upn", "name", "app_displayname", "azp", "appid")
    name = next((text for text in (claimed_text(claims, key) for key in names) if text), "")
    return Identity(kind="entra", id=holder, name=name, issuer=issuer, claim="oid", verified=True)
