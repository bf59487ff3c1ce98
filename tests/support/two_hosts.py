"""Two hosts with libvirt, played by scripts: `ssh` that runs the probe there, `virsh` that prints domains."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTS = {
    "hv1": "6.1.0-56-arm64__neoverse-n1__default",
    "hv2": "6.12.117+deb13-arm64__neoverse-n1__default",
}
DOMAINS = {"hv1": ["web-1", "db-1"], "hv2": ["web-2"]}
XML = """<domain type='kvm' id='3'>
  <name>{name}</name>
  <vcpu placement='static'>4</vcpu>
  <os><type arch='aarch64' machine='virt-9.2'>hvm</type></os>
  <features><acpi/><gic version='3'/></features>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
</domain>
"""
SSH = """#!{python}
import json, sys
host, words = sys.argv[sys.argv.index("--") + 1], sys.argv[sys.argv.index("--") + 2:]
sys.stdin.buffer.read()
document = json.loads(open({folder!r} + "/" + host + ".json").read())
if "--quick" in words:
    document["answers"] = []
print(json.dumps(document))
"""
VIRSH = """#!{python}
import json, sys
host = sys.argv[sys.argv.index("-c") + 1].split("//")[1].split("/")[0]
if "list" in sys.argv:
    print(*json.loads({domains!r})[host], sep="\\n")
else:
    print({xml!r}.format(name=sys.argv[-1]), end="")
"""


def make_hosts(folder: Path) -> Path:
    """Make the scripts in a folder, which goes to the front of PATH."""
    folder.mkdir()
    for host, capture in HOSTS.items():
        document = json.loads((ROOT / "examples" / "captures" / f"{capture}.json").read_text())
        document["host"]["name"] = host
        (folder / f"{host}.json").write_text(json.dumps(document))
    words = {"python": sys.executable, "folder": str(folder), "domains": json.dumps(DOMAINS), "xml": XML}
    scripts = {
        "ssh": SSH.format(**words),
        "virsh": VIRSH.format(**words),
        "kvmfw": f'#!/bin/sh\nexec {sys.executable} -W ignore -m kvmfw "$@"\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    return folder
