"""Stand-ins of planners that are not installed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.planners.fakes.nova import MODULES, Options


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import the adapter of Nova with a stand-in in place of Nova."""
    for name, members in MODULES.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
    sys.modules["oslo_config.cfg"].CONF = Options()  # type: ignore[attr-defined]
    import kvmfw.planners.nova  # noqa: PLC0415

    yield kvmfw.planners.nova
    del sys.modules["kvmfw.planners.nova"]
