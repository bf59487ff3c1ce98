"""`kernel`: what a kernel image tells of its KVM, before anybody boots it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmfw.cli.options import examples, format_option, path_type
from kvmfw.cli.screen import console, heading, named_register, print_json, table
from kvmfw.registers import register_name

if TYPE_CHECKING:
    from kvmfw.kernels import Fit, Kernel

__all__ = ["kernel"]

MOST_SHOWN = 20


@click.command(
    short_help="Read a kernel image: its tables, and which known kernel they are like.",
    epilog=examples(
        "kvmfw kernel vmlinuz-7.3.4", "kvmfw kernel linux-image-6.12.118_arm64.deb --format json"
    ),
)
@click.argument("image", type=path_type(folder=False))
@format_option("table", "json")
def kernel(image: Path, form: str) -> None:
    """Read the tables of the kernel IMAGE (vmlinuz, Image, EFI image, .deb, .rpm) by which its KVM decides.

    IMAGE is read and nothing of it is run. Tables that were not understood are said so; docs/kernels.md tells how they are found.
    """
    from kvmfw.kernels import fits, read_kernel  # noqa: PLC0415 - numpy is needed by this verb alone

    found = read_kernel(image)
    likes = fits(found)
    if form == "json":
        print_json("kernel", _document(found, likes), [image])
        return
    out = console()
    out.print(heading(found.release))
    out.print(f"{found.build}; {found.symbols:,} symbols; structures: {found.structures}")
    out.print(table(("table", "what it holds"), _tables(found)))
    if not likes:
        out.print("not compared: the rules know tables of fields of 6.7 and later kernels only")
        return
    out.print(
        table(
            ("known kernel", "rows", "differences"),
            [(one.release, one.rows, len(one.differences)) for one in likes],
        )
    )
    best = likes[0]
    for difference in best.differences[:MOST_SHOWN]:
        out.print(f"unlike {best.release}: {difference}")
    if len(best.differences) > MOST_SHOWN:
        out.print(f"... and {len(best.differences) - MOST_SHOWN} more (--format json has all)")
    left = ", ".join(map(register_name, best.left))
    out.print(f"not compared, as KVM does not check their fields: {left or 'nothing'}")


def _tables(found: Kernel) -> list[tuple[str, str]]:
    def said(name: str, text: str) -> tuple[str, str]:
        return name, found.problems.get(name, text)

    fields, descriptors = found.fields or {}, found.descriptors or {}
    masks = sum(1 for one in descriptors.values() if one.mask and (one.set or "").startswith("set_id_"))
    firmware = ", ".join(map(register_name, found.firmware or ()))
    return [
        said("arm64_ftr_regs", f"{len(fields)} registers, {sum(map(len, fields.values()))} fields"),
        said("sys_reg_descs", f"{len(descriptors)} registers; {masks} ID registers with writable bits"),
        said("firmware registers", firmware),
    ]


def _document(found: Kernel, likes: list[Fit]) -> dict[str, Any]:
    return {
        "release": found.release,
        "build": found.build,
        "symbols": found.symbols,
        "structures": found.structures,
        "problems": [{"table": name, "problem": problem} for name, problem in found.problems.items()],
        "fields": [
            {
                **named_register(register),
                "rows": [asdict(row) for row in rows],
            }
            for register, rows in (found.fields or {}).items()
        ],
        "registers": [
            {
                **named_register(one.register),
                "access": one.access,
                "reset": one.reset,
                "get": one.get,
                "set": one.set,
                "visibility": one.visibility,
                "stored": one.stored,
                "value": f"{one.mask:#x}",
            }
            for one in (found.descriptors or {}).values()
        ],
        "firmware": [named_register(one) for one in found.firmware or ()],
        "fits": [
            {
                "release": one.release,
                "rows": one.rows,
                "differences": [
                    {
                        **named_register(difference.register),
                        "place": difference.place,
                        "image": difference.image,
                        "rules": difference.rules,
                    }
                    for difference in one.differences
                ],
            }
            for one in likes
        ],
    }
