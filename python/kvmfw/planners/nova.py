"""OpenStack Nova: a scheduler filter and a weigher. Nova imports this module, and nobody else: it needs nova.

``nova.conf`` (docs/planners/openstack.md)::

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = kvmfw.planners.nova.KvmfwFilter
    enabled_filters = ComputeFilter,...,KvmfwFilter
    weight_classes = nova.scheduler.weights.all_weighers,kvmfw.planners.nova.KvmfwWeigher

    [kvmfw]
    fleet = /var/lib/kvmfw/fleet
    vmm = qemu-10.2
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nova.scheduler import filters, utils, weights
from oslo_config import cfg

from kvmfw.planners.host_names import PREFERENCE, HostNames
from kvmfw.planners.watched import Watched

__all__ = ["OPTIONS", "KvmfwFilter", "KvmfwWeigher"]

LOG = logging.getLogger(__name__)

OPTIONS = [
    cfg.StrOpt(
        "fleet",
        help="The fleet folder; it is read anew when it changes. VMs are named by their instance uuid.",
    ),
    cfg.StrOpt("vmm", help="The restore policy, as `kvmfw vmms` lists them; else what the fleet tells."),
    cfg.StrOpt("unknown", default="refuse", choices=["accept", "refuse"], help="What UNKNOWN counts as."),
    cfg.StrOpt(
        "absent",
        default="accept",
        choices=["accept", "refuse"],
        help="What a move of an instance counts as of which the fleet holds no registers.",
    ),
    cfg.FloatOpt(
        "weight_multiplier", default=1.0, help="Multiplier of hosts that change nothing for the guest."
    ),
]
cfg.CONF.register_opts(OPTIONS, group="kvmfw")

_making = threading.Lock()
_watched: dict[tuple[str, str | None], Watched] = {}
_names: dict[tuple[str, str | None, str], HostNames] = {}


def _hosts() -> HostNames:
    """Give the hosts of the configured fleet as it is now; filter and weigher share them."""
    asked = cfg.CONF.kvmfw
    if asked.fleet is None:
        raise cfg.RequiredOptError("fleet", cfg.OptGroup("kvmfw"))
    key = asked.fleet, asked.vmm
    with _making:
        if key not in _watched:
            _watched[key] = Watched(Path(asked.fleet), vmm=asked.vmm)
        snapshot = _watched[key].loaded().snapshot
        made = _names.get((*key, asked.unknown))
        if made is None or made.snapshot is not snapshot:
            made = _names[(*key, asked.unknown)] = HostNames(snapshot, unknown=asked.unknown, change="accept")
    return made


class KvmfwFilter(filters.BaseHostFilter):
    """Hosts pass whose KVM takes what the instance has saved. An instance that is new has saved nothing: all pass."""

    run_filter_once_per_request = True
    RUN_ON_REBUILD = False

    def filter_all(self, filter_obj_list: Iterable[Any], spec_obj: Any) -> Iterable[Any]:
        """Give the hosts that pass: one question for all of them."""
        # The base class looks at RUN_ON_REBUILD host by host, in what is overridden here (nova 34, scheduler/filters).
        if utils.request_is_rebuild(spec_obj):
            return filter_obj_list
        hosts, vm = _hosts(), spec_obj.instance_uuid
        if not hosts.has(vm):
            return self._absent(vm, spec_obj, filter_obj_list)
        names, passes = hosts.listed(vm)
        # Nova itself says only how many are left.
        for reason, out in hosts.summary(vm) if LOG.isEnabledFor(logging.INFO) else ():
            LOG.info("instance %s: %d hosts of the fleet, such as %s: %s", vm, len(out), out[0], reason)
        return [state for state in filter_obj_list if (state.host in names) is passes]

    @staticmethod
    def _absent(vm: str, spec_obj: Any, states: Iterable[Any]) -> Iterable[Any]:
        # A move leaves out the hosts where the instance is and was tried (conductor/tasks/live_migrate.py).
        if not spec_obj.ignore_hosts:
            return states
        LOG.warning("instance %s moves, and the fleet holds no registers of it", vm)
        return states if cfg.CONF.kvmfw.absent == "accept" else []


class KvmfwWeigher(weights.BaseHostWeigher):
    """Hosts that change nothing for the guest come before those that do."""

    minval = 0.0
    maxval = 1.0

    def weight_multiplier(self, host_state: Any) -> float:
        """Give the configured multiplier."""
        del host_state
        multiplier: float = cfg.CONF.kvmfw.weight_multiplier
        return multiplier

    def _weigh_object(self, obj: Any, weight_properties: Any) -> float:
        return self._weights([obj], weight_properties)[0]

    def weigh_objects(self, weighed_obj_list: Iterable[Any], weight_properties: Any) -> list[float]:
        """Weigh all hosts of a request with one question."""
        return self._weights([one.obj for one in weighed_obj_list], weight_properties)

    @staticmethod
    def _weights(states: list[Any], spec_obj: Any) -> list[float]:
        hosts, vm = _hosts(), spec_obj.instance_uuid
        if not hosts.has(vm):
            return [0.0] * len(states)
        return [PREFERENCE[outcome] for outcome in hosts.outcomes(vm, (state.host for state in states))]
