"""A capture document as its writer wrote it, register by register: the only place that goes through one.

Judging is the core's (`kvmfw.Host`), and so is whether the document is sound; this is for what is asked of a sound one itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from kvmfw.numerals import hexadecimal

__all__ = ["fresh_values", "listed_registers"]


def listed_registers(document: Mapping[str, Any]) -> list[int]:
    """Give the registers that any vCPU of a capture lists, in the order of the document."""
    return [_number(text) for text in document["registers"]]


def fresh_values(
    document: Mapping[str, Any], only: Container[int] | None = None
) -> Iterator[tuple[Mapping[str, Any], dict[int, int]]]:
    """Give each vCPU configuration that the host made, with the fresh values of registers, as far as they are known.

    `only` names the registers that are asked for.

    Examples
    --------
    >>> from kvmfw.testing import capture_document
    >>> [(vcpu["name"], values) for vcpu, values in fresh_values(capture_document({0x6030000000140003: 1}))]
    [('vm', {6931039826524504067: 1})]
    """
    registers = [
        register if only is None or register in only else None for register in listed_registers(document)
    ]
    for vcpu in document["vcpus"]:
        values = vcpu.get("values")
        if values is not None:
            listed = zip(registers, values, strict=False)
            unknown = {_number(text) for text in (vcpu.get("unknown") or {}).get("bits", {})}
            yield (
                vcpu,
                {
                    register: _number(text)
                    for register, text in listed
                    if text is not None and register is not None and register not in unknown
                },
            )


def _number(text: str) -> int:
    found = hexadecimal(text)
    if found is None:
        raise ValueError(f"`{text}` is not a number of a capture")
    return found
