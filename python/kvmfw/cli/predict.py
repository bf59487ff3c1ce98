"""`predict`: what a host would show under another kernel, before it boots that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmfw.cli.options import examples, format_option, path_type
from kvmfw.cli.output import output_option, print_or_write
from kvmfw.cli.screen import console, heading, named_register, print_json, table
from kvmfw.cli.targets import foretold_of, kernel_of
from kvmfw.quoting import json_text
from kvmfw.registers import register_name

if TYPE_CHECKING:
    from kvmfw.kernels import Foretold, ForetoldVcpu, Presence

__all__ = ["predict"]

WORDS = ("stay", "appear", "vanish", "unknown")
NOT_PREDICTED = ("capabilities", "what stands beside registers", "answers to writes: rules give them")


@click.command(
    short_help="Say what a host would show under another kernel.",
    epilog=examples(
        "kvmfw predict host.json --kernel linux-6.18.15.deb -o next.json",
        "kvmfw predict host.json --kernel 6.18.15",
        "kvmfw predict host.json --kernel vmlinuz-next --running /boot/vmlinuz",
    ),
)
@click.argument("capture", type=path_type(folder=False))
@click.option(
    "--kernel",
    "wanted",
    required=True,
    metavar="IMAGE|RELEASE",
    help="The other kernel: its image or package, or its release alone, of which less is known.",
)
@click.option(
    "--running",
    type=path_type(folder=False),
    help="The image of the kernel that the capture was taken under: less is unknown.",
)
@format_option("table", "json")
@output_option
def predict(capture: Path, wanted: str, running: Path | None, form: str, output: Path | None) -> None:
    """Say what the host of CAPTURE would show under another kernel, on each vCPU that was asked.

    With -o a capture is written, which every verb takes: registers and fresh values that follow from the kernel and from what the
    host shows now. What does not follow is unknown, by register and by field, and so is a verdict that needs it. Mode and options
    of the kernel stay as they are.
    """
    foretold = foretold_of(capture, wanted, running)
    if output is not None:
        print_or_write(json_text(foretold.document()), output)
    inputs = [capture, *([kernel] if (kernel := kernel_of(wanted)) else []), *([running] if running else [])]
    if form == "json":
        print_json("prediction", _document(foretold), inputs)
    elif output is None:
        _print(foretold)


def _sorted(foretold: Foretold, vcpu: ForetoldVcpu) -> dict[str, list[Presence]]:
    now = foretold.listed_now(vcpu.name)
    found: dict[str, list[Presence]] = {word: [] for word in WORDS}
    for one in vcpu.presences:
        match one.listed, one.register in now:
            case None, _:
                found["unknown"].append(one)
            case True, was:
                found["stay" if was else "appear"].append(one)
            case False, True:
                found["vanish"].append(one)
    return found


def _print(foretold: Foretold) -> None:
    out = console()
    out.print(heading(f"{foretold.host.name}: {foretold.host.kernel} -> {foretold.target.release}"))
    told = [(vcpu, _sorted(foretold, vcpu)) for vcpu in foretold.vcpus if vcpu.made]
    rows = [
        (
            vcpu.name,
            *(len(found[word]) for word in WORDS),
            sum(bits != 0 for _, bits, _ in (vcpu.values or {}).values()),
        )
        for vcpu, found in told
    ]
    out.print(table(("vCPU", *WORDS, "values not known"), rows))
    for word in WORDS[1:]:
        on = Counter((one.register, one.why) for _, found in told for one in found[word])
        lines = [
            (register_name(register), f"{times} of {len(told)}", why) for (register, why), times in on.items()
        ]
        if lines:
            title = f"registers that {word}" if word != "unknown" else "registers of which it is unknown"
            out.print(table((title, "vCPUs", "why"), lines))
    hidden = Counter(
        (register, bits) for vcpu, _ in told for register, (_, bits, _) in (vcpu.values or {}).items() if bits
    )
    if hidden:
        lines = [
            (register_name(register), f"{bits:#x}", f"{times} of {len(told)}")
            for (register, bits), times in hidden.items()
        ]
        out.print(table(("values", "bits that are not known", "vCPUs"), lines))
    for made, words in (
        (False, "this kernel does not make"),
        (None, "it is not known whether this kernel makes"),
    ):
        names = [vcpu.name for vcpu in foretold.vcpus if vcpu.made is made]
        if names:
            out.print(f"{words}: {', '.join(names)}")
    out.print(f"not predicted: {'; '.join(NOT_PREDICTED)}")


def _document(foretold: Foretold) -> dict[str, Any]:
    vcpus = []
    for vcpu in foretold.vcpus:
        if not vcpu.made:
            continue
        found = _sorted(foretold, vcpu)
        row: dict[str, Any] = {"name": vcpu.name, "stay": len(found["stay"])}
        for word in WORDS[1:]:
            row[word] = [{**named_register(one.register), "why": one.why} for one in found[word]]
        row["unknown_bits"] = [
            {**named_register(register), "bits": f"{bits:#x}"}
            for register, (_, bits, _) in (vcpu.values or {}).items()
            if bits
        ]
        vcpus.append(row)
    return {
        "host": foretold.host.name,
        "running": foretold.host.kernel,
        "kernel": foretold.target.release,
        "told_by": foretold.target.told_by,
        "vcpus": vcpus,
        "not_made": [vcpu.name for vcpu in foretold.vcpus if vcpu.made is False],
        "unknown_vcpus": [vcpu.name for vcpu in foretold.vcpus if vcpu.made is None],
        "not_predicted": list(NOT_PREDICTED),
    }
