"""OpenStack Nova: servers and their migrations, as the client prints them with ``-f json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from kvmfw.documents import parsed_json, typed
from kvmfw.errors import FormatError
from kvmfw.inventory.making import making_of_cpu
from kvmfw.inventory.told import Move, Told, moment
from kvmfw.readers.format import Format, Head
from kvmfw.readers.source import Limits, whole

__all__ = ["MIGRATIONS", "SERVERS", "migrations_of", "servers_of"]

# As the API, clients of openstacksdk and older ones call it; the name of the hypervisor where nothing else is told.
_HOST: Final = (
    "OS-EXT-SRV-ATTR:host",
    "Host",
    "host",
    "compute_host",
    "OS-EXT-SRV-ATTR:hypervisor_hostname",
    "hypervisor_hostname",
)
_LAUNCHED: Final = ("OS-SRV-USG:launched_at", "launched_at", "created", "Created At", "created_at")
_ID: Final = ("id", "ID")
# Status of migrations that took place (`nova/objects/fields.py` and `nova/compute/manager.py`).
_DONE: Final = frozenset({"completed", "finished", "confirmed", "done"})
_BACK: Final = "reverted"
# Of servers: they are nowhere, whatever host is named.
_NOWHERE: Final = frozenset({"DELETED", "SOFT_DELETED", "SHELVED_OFFLOADED"})
_LIVE: Final = "live-migration"


def _first(row: Mapping[str, Any], names: tuple[str, ...], place: str) -> str | None:
    found = next((row[name] for name in names if row.get(name) not in (None, "", "None")), None)
    return None if found is None else typed(found, str, place)


def _rows(document: Any) -> list[dict[str, Any]]:
    if isinstance(document, dict) and isinstance(document.get("servers"), list):
        document = document["servers"]
    return typed(document if isinstance(document, list) else [document], list[dict[str, Any]])


def servers_of(document: Any, source: str) -> Iterator[Told]:
    """Read servers: what `openstack server list --long` or `server show` prints. A server is known by its id.

    How Nova makes vCPUs is in its configuration, not in a server; only a flavor that leaves the PMU out is seen.
    """
    rows = _rows(document)
    for at, row in enumerate(rows):
        place = f"[{at}]" if len(rows) > 1 else ""
        name = _first(row, _ID, place)
        if name is None:
            raise FormatError("the server has no id", place)
        launched, status = _first(row, _LAUNCHED, place), _first(row, ("Status", "status"), place)
        yield Told(
            name,
            source,
            at if place else -1,
            host=_first(row, _HOST, place),
            since=None if launched is None else moment(launched, place),
            making=making_of_cpu("host,pmu=off") if _without_pmu(row) else None,
            vmm="qemu",
            problem=f"the server `{name}` is {status}: it runs nowhere" if status in _NOWHERE else "",
        )


def _without_pmu(row: Mapping[str, Any]) -> bool:
    flavor = row.get("flavor")
    specs = flavor.get("extra_specs") if isinstance(flavor, dict) else None
    return isinstance(specs, dict) and str(specs.get("hw:pmu", "true")).lower() in ("false", "0", "no")


def migrations_of(document: Any, source: str) -> Iterator[Told]:
    """Read what `openstack server migration list` prints; migrations that did not take place are left out."""
    for at, row in enumerate(_rows(document)):
        place = f"[{at}]"
        status, kind = _first(row, ("Status",), place), _first(row, ("Type",), place)
        if kind is None:
            raise FormatError(
                "there is no `Type` (live-migration or another); list with --os-compute-api-version 2.59",
                place,
            )
        if status not in (*_DONE, _BACK):
            continue
        server, when = _first(row, ("Server UUID",), place), _first(row, ("Created At",), place)
        source_host, target = (_first(row, (f"{end} Compute",), place) for end in ("Source", "Dest"))
        if not server or not when or not source_host or not target:
            raise FormatError("expected Server UUID, Created At, Source Compute and Dest Compute", place)
        moves = [Move(moment(when, place), source_host, target, live=kind == _LIVE)]
        if status == _BACK:
            updated = _first(row, ("Updated At",), place) or when
            moves.append(Move(moment(updated, place), target, source_host, live=False))
        yield Told(server, source, at, moves=tuple(moves))


def _keys(head: Head) -> set[str]:
    document = head.document
    if isinstance(document, dict) and isinstance(document.get("servers"), list):
        document = document["servers"]
    first = document[0] if isinstance(document, list) and document else document
    return set(first) if isinstance(first, dict) else set()


def _are_servers(head: Head) -> bool:
    keys = _keys(head)
    return bool(keys.intersection(_ID)) and bool(keys.intersection(_HOST)) and "registers" not in keys


def _read_servers(path: Path, name: str, limits: Limits) -> list[Told]:
    del name
    return list(servers_of(parsed_json(whole(path, limits), path), str(path)))


def _read_migrations(path: Path, name: str, limits: Limits) -> list[Told]:
    del name
    return list(migrations_of(parsed_json(whole(path, limits), path), str(path)))


SERVERS = Format(
    "nova-servers",
    "OpenStack servers (openstack server list --long -f json)",
    _are_servers,
    told=_read_servers,
)
MIGRATIONS = Format(
    "nova-migrations",
    "OpenStack migrations (openstack server migration list -f json)",
    lambda head: {"Server UUID", "Source Compute"} <= _keys(head),
    told=_read_migrations,
    moves_of="nova-servers",
)
