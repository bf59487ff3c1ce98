"""Hosts that are none, for what collects from them by other means than ssh."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "collect"
CAPTURES = ROOT / "examples" / "captures"
KINDS = ("7.3.4+deb13-arm64__neoverse-n1__default", "6.12.117+deb13-arm64__neoverse-n1__default")
SCRIPT = """#!/bin/sh
export PYTHONPATH={path} KVMFW_FAKE_HOSTS={table} KVMFW_FAKE_HOST={host}
exec {python} -m tests.demo.fakehost "$@"
"""


def hosts(folder: Path, names: list[str]) -> dict[str, Path]:
    """Make hosts of two kinds in turn; give the interpreter that plays each, for ``python3 -``."""
    table = folder / "hosts.json"
    told = {name: str(CAPTURES / f"{KINDS[at % len(KINDS)]}.json") for at, name in enumerate(names)}
    table.write_text(json.dumps(told))
    found = {}
    for name in names:
        script = folder / f"python3-{name}"
        words = {"path": f"{ROOT / 'python'}:{ROOT}", "table": table, "host": name, "python": sys.executable}
        script.write_text(SCRIPT.format(**words))
        script.chmod(0o755)
        found[name] = script
    return found


def command(folder: Path) -> Path:
    """Give a folder for PATH with the command kvmfw."""
    place = folder / "bin"
    place.mkdir()
    script = place / "kvmfw"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "python"} exec {sys.executable} -m kvmfw "$@"\n')
    script.chmod(0o755)
    return place
