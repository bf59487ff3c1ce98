"""As much of Nova 34 as the adapter sees; tests/openstack compares it with the real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class BaseHostFilter:
    RUN_ON_REBUILD = False
    run_filter_once_per_request = False

    def filter_all(self, filter_obj_list: Any, spec_obj: Any) -> Any:
        raise NotImplementedError

    def run_filter_for_index(self, index: int) -> bool:
        return not (self.run_filter_once_per_request and index > 0)


class BaseHostWeigher:
    minval: float | None = None
    maxval: float | None = None

    def weight_multiplier(self, host_state: Any) -> float:
        raise NotImplementedError

    def weigh_objects(self, weighed_obj_list: Any, weight_properties: Any) -> list[float]:
        raise NotImplementedError


def request_is_rebuild(spec_obj: Any) -> bool:
    return bool(spec_obj.rebuild)


class Options(SimpleNamespace):
    """As much of oslo.config."""

    def register_opts(self, options: Any, group: str) -> None:
        setattr(self, group, SimpleNamespace(**{one.name: one.default for one in options}))


def option(name: str, default: Any = None, **more: Any) -> SimpleNamespace:
    del more
    return SimpleNamespace(name=name, default=default)


MODULES: dict[str, dict[str, Any]] = {
    "nova": {},
    "nova.scheduler": {},
    "nova.scheduler.filters": {"BaseHostFilter": BaseHostFilter},
    "nova.scheduler.weights": {"BaseHostWeigher": BaseHostWeigher},
    "nova.scheduler.utils": {"request_is_rebuild": request_is_rebuild},
    "oslo_config": {},
    "oslo_config.cfg": {
        "StrOpt": option,
        "FloatOpt": option,
        "OptGroup": str,
        "RequiredOptError": LookupError,
    },
}
