"""`predict`: what a host would list under another kernel, before it boots that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmfw.cli.options import examples, format_option, path_type
from kvmfw.cli.output import output_option, print_or_write
from kvmfw.cli.screen import console, heading, named_register, table
from kvmfw.provenance import provenance
from kvmfw.published import published
from kvmfw.quoting import json_text
from kvmfw.registers import register_name
from kvmfw.sets import Host

if TYPE_CHECKING:
    from kvmfw.kernels import Kernel, Presence

__all__ = ["predict"]


@click.command(
    short_help="Say which registers a host would list under another kernel.",
    epilog=examples(
        "kvmfw predict host.json --kernel linux-image-6.12.118_arm64.deb",
        "kvmfw predict host.json --kernel vmlinuz-next --running /boot/vmlinuz",
    ),
)
@click.argument("capture", type=path_type(folder=False))
@click.option(
    "--kernel", "image", type=path_type(folder=False), required=True, help="The image of the other kernel."
)
@click.option(
    "--running",
    type=path_type(folder=False),
    help="The image of the kernel that the capture was taken under: less is unknown.",
)
@format_option("table", "json")
@output_option
def predict(capture: Path, image: Path, running: Path | None, form: str, output: Path | None) -> None:
    """Say which registers the host of CAPTURE would list under another kernel, on each vCPU that was asked.

    Mode and options of the kernel stay as they are. Limits and values are not predicted (docs/kernels.md): a register that stays
    may take other values.
    """
    from kvmfw.kernels import read_kernel  # noqa: PLC0415 - numpy is needed by this verb alone

    host, kernel = Host.load(capture), read_kernel(image)
    old = read_kernel(running) if running else None
    if old is not None and old.release != host.kernel:
        raise click.UsageError(f"--running is {old.release}, and the capture was taken under {host.kernel}")
    told = [(name, _predicted(host, vcpu, kernel, old)) for name, *vcpu in host.vcpus]
    found = [(name, part) for name, part in told if part is not None]
    other = [name for name, part in told if part is None]
    if form == "json":
        made = provenance([capture, image, *([running] if running else [])])
        print_or_write(
            json_text(published("prediction", _document(host, kernel, found, other), made)), output
        )
        return
    out = console()
    out.print(heading(f"{host.name}: {host.kernel} -> {kernel.release}"))
    rows = [
        (name, *(len(part[word]) for word in ("stay", "appear", "vanish")), len(part["unknown"]))
        for name, part in found
    ]
    out.print(table(("vCPU", "stay", "appear", "vanish", "unknown"), rows))
    for word in ("appear", "vanish", "unknown"):
        on = Counter((one.register, one.why) for _, part in found for one in part[word])
        lines = [
            (register_name(register), f"{times} of {len(found)}", why)
            for (register, why), times in on.items()
        ]
        if lines:
            out.print(
                table((f"registers that {word}" if word != "unknown" else "unknown", "vCPUs", "why"), lines)
            )
    if other:
        out.print(f"unknown, as this host did not make them or was not asked: {', '.join(other)}")
    out.print("not predicted: limits, values after a reset, and what KVM answers to a write")


def _predicted(
    host: Host, vcpu: list[Any], kernel: Kernel, old: Kernel | None
) -> dict[str, list[Presence]] | None:
    from kvmfw.kernels import Made, presences  # noqa: PLC0415 - as above

    features, vgic, enabled = vcpu
    fresh = host.fresh_set(features=features, vgic=vgic, enabled=enabled)
    if fresh is None:
        return None
    listed = frozenset(fresh.to_mapping())
    found: dict[str, list[Presence]] = {word: [] for word in ("stay", "appear", "vanish", "unknown")}
    for one in presences(Made(frozenset([*features, *enabled]), listed), kernel, old):
        match one.listed, one.register in listed:
            case None, _:
                found["unknown"].append(one)
            case True, now:
                found["stay" if now else "appear"].append(one)
            case False, True:
                found["vanish"].append(one)
    return found


def _document(
    host: Host, kernel: Kernel, found: list[tuple[str, dict[str, list[Presence]]]], other: list[str]
) -> dict[str, Any]:
    return {
        "host": host.name,
        "running": host.kernel,
        "kernel": kernel.release,
        "build": kernel.build,
        "vcpus": [
            {
                "name": name,
                "stay": len(part["stay"]),
                **{
                    word: [
                        {
                            **named_register(one.register),
                            "why": one.why,
                        }
                        for one in part[word]
                    ]
                    for word in ("appear", "vanish", "unknown")
                },
            }
            for name, part in found
        ],
        "unknown_vcpus": other,
        "not_predicted": ["limits", "values after a reset", "answers to writes"],
    }
