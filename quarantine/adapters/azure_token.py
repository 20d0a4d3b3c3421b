"""Tokens of Microsoft Entra for Azure Artifacts feeds, from whatever identity this machine has."""

from quarantine.errors import UpstreamError, install_extra

__all__ = ["feed_token"]

# The application id of Azure DevOps in every tenant (Microsoft's documentation of Azure DevOps authentication).
_SCOPE = "499b84ac-1321-427f-aa17-267ca6975798/.default"


def feed_token() -> str:
    """An access token that a feed takes as a password, whatever the user. UpstreamError when there is none to be had."""
    try:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # an extra: most indexes need none of it
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415
    except ImportError as error:
        raise UpstreamError(f"credentials: azure needs azure-identity: {install_extra('azure')}") from error
    try:
        with DefaultAzureCredential() as credential:
            return credential.get_token(_SCOPE).token
    except AzureError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UpstreamError(f"no token of Microsoft Entra for the feed: {reason}; run `az login`") from error
