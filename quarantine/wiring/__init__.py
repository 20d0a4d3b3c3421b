"""Settings -> adapters: the one place that knows which system stands behind which port."""

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
