"""What CPUs are called: the one place that turns MIDR_EL1 values into names.

Implementers and parts: the Linux kernel's arch/arm64/include/asm/cputype.h and the reference manuals behind it; QEMU's
model `max`: target/arm/tcg/cpu64.c (read).
"""

from __future__ import annotations

from kvmfw.registers import named

__all__ = ["MIDR", "cpu_model", "cpu_name", "cpu_with_revision"]

MIDR = named("MIDR_EL1")

_ARM, _AMPERE, _BROADCOM, _CAVIUM, _FUJITSU, _HISILICON = 0x41, 0xC0, 0x42, 0x43, 0x46, 0x48
_NVIDIA, _APM, _QUALCOMM, _APPLE, _MICROSOFT, _SOFTWARE = 0x4E, 0x50, 0x51, 0x61, 0x6D, 0x00
_PARTS = {
    (_ARM, 0xD02): "Cortex-A34",
    (_ARM, 0xD03): "Cortex-A53",
    (_ARM, 0xD04): "Cortex-A35",
    (_ARM, 0xD05): "Cortex-A55",
    (_ARM, 0xD06): "Cortex-A65",
    (_ARM, 0xD07): "Cortex-A57",
    (_ARM, 0xD08): "Cortex-A72",
    (_ARM, 0xD09): "Cortex-A73",
    (_ARM, 0xD0A): "Cortex-A75",
    (_ARM, 0xD0B): "Cortex-A76",
    (_ARM, 0xD0C): "Neoverse N1",
    (_ARM, 0xD0D): "Cortex-A77",
    (_ARM, 0xD0E): "Cortex-A76AE",
    (_ARM, 0xD40): "Neoverse V1",
    (_ARM, 0xD41): "Cortex-A78",
    (_ARM, 0xD42): "Cortex-A78AE",
    (_ARM, 0xD44): "Cortex-X1",
    (_ARM, 0xD46): "Cortex-A510",
    (_ARM, 0xD47): "Cortex-A710",
    (_ARM, 0xD48): "Cortex-X2",
    (_ARM, 0xD49): "Neoverse N2",
    (_ARM, 0xD4B): "Cortex-A78C",
    (_ARM, 0xD4C): "Cortex-X1C",
    (_ARM, 0xD4D): "Cortex-A715",
    (_ARM, 0xD4E): "Cortex-X3",
    (_ARM, 0xD4F): "Neoverse V2",
    (_ARM, 0xD80): "Cortex-A520",
    (_ARM, 0xD81): "Cortex-A720",
    (_ARM, 0xD82): "Cortex-X4",
    (_ARM, 0xD83): "Neoverse V3AE",
    (_ARM, 0xD84): "Neoverse V3",
    (_ARM, 0xD85): "Cortex-X925",
    (_ARM, 0xD87): "Cortex-A725",
    (_ARM, 0xD8E): "Neoverse N3",
    (_AMPERE, 0xAC3): "Ampere-1",
    (_AMPERE, 0xAC4): "Ampere-1A",
    (_BROADCOM, 0x516): "ThunderX2 (Vulcan)",
    (_CAVIUM, 0x0A1): "ThunderX",
    (_CAVIUM, 0x0A2): "ThunderX 81xx",
    (_CAVIUM, 0x0A3): "ThunderX 83xx",
    (_CAVIUM, 0x0AF): "ThunderX2",
    (_FUJITSU, 0x001): "A64FX",
    (_HISILICON, 0xD01): "TaiShan v110",
    (_HISILICON, 0xD02): "HIP09",
    (_NVIDIA, 0x003): "NVIDIA Denver",
    (_NVIDIA, 0x004): "NVIDIA Carmel",
    (_APM, 0x000): "X-Gene",
    (_QUALCOMM, 0xC00): "Falkor",
    (_APPLE, 0x022): "Apple M1 Icestorm",
    (_APPLE, 0x023): "Apple M1 Firestorm",
    (_MICROSOFT, 0xD49): "Azure Cobalt 100",
    (_SOFTWARE, 0x051): "QEMU max",
}


def cpu_model(midr: int) -> tuple[int, int]:
    """Give the implementer and the part number of a MIDR_EL1 value: two CPUs of one model differ in variant and revision.

    >>> cpu_model(0x410FD401) == cpu_model(0x411FD401)
    True
    """
    return midr >> 24 & 0xFF, midr >> 4 & 0xFFF


def cpu_name(midr: int) -> str:
    """Name the CPU that a MIDR_EL1 value means, or give its implementer and part.

    >>> cpu_name(0x410FD401), cpu_name(0x000F0510), cpu_name(0x7A0F1230)
    ('Neoverse V1', 'QEMU max', 'CPU 0x7a/0x123')
    """
    implementer, part = cpu_model(midr)
    return _PARTS.get((implementer, part), f"CPU {implementer:#04x}/{part:#05x}")


def cpu_with_revision(midr: int) -> str:
    """Name a CPU with its revision, as errata do.

    >>> cpu_with_revision(0x414FD0C1)
    'Neoverse N1 r4p1'
    """
    return f"{cpu_name(midr)} r{midr >> 20 & 0xF}p{midr & 0xF}"
