"""Settings -> adapters: the one place that knows which system stands behind which port.

A name is looked up in its module when it is asked for: no command needs all of them, and each has its start to pay for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarantine.wiring.checks import check_ports, records
    from quarantine.wiring.exceptions import mirror_shelves, owners, process, request_ports, ruling_ports
    from quarantine.wiring.in_force import local_users_decide, policies, policy, policy_files, policy_sha256
    from quarantine.wiring.people import actor, identities, local_actor, notifier, proven
    from quarantine.wiring.probes import probe_cache, probe_index, probe_store, probe_upstream, uv_version
    from quarantine.wiring.stores import artifact_store, audit_log, exception_state, page_store, write_file
    from quarantine.wiring.upstreams import advisory_service, downloads, http_client

__all__ = [
    "actor",
    "advisory_service",
    "artifact_store",
    "audit_log",
    "check_ports",
    "downloads",
    "exception_state",
    "http_client",
    "identities",
    "local_actor",
    "local_users_decide",
    "mirror_shelves",
    "notifier",
    "owners",
    "page_store",
    "policies",
    "policy",
    "policy_files",
    "policy_sha256",
    "probe_cache",
    "probe_index",
    "probe_store",
    "probe_upstream",
    "process",
    "proven",
    "records",
    "request_ports",
    "ruling_ports",
    "uv_version",
    "write_file",
]

_MODULES = {
    "checks": ("check_ports", "records"),
    "exceptions": ("mirror_shelves", "owners", "process", "request_ports", "ruling_ports"),
    "in_force": ("local_users_decide", "policies", "policy", "policy_files", "policy_sha256"),
    "people": ("actor", "identities", "local_actor", "notifier", "proven"),
    "probes": ("probe_cache", "probe_index", "probe_store", "probe_upstream", "uv_version"),
    "stores": ("artifact_store", "audit_log", "exception_state", "page_store", "write_file"),
    "upstreams": ("advisory_service", "downloads", "http_client"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # else every name would do

    def __getattr__(name: str) -> Any:
        """What the name stands for, of the module that has it (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
