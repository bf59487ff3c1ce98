"""Images like the kernels that the rules know."""

from __future__ import annotations

from typing import Any

from kvmfw import _native
from tests.support.kernel_image import Made, kernel_image


def made_like(numbers: tuple[int, int, int], **more: Any) -> Made:
    """What an image is made with whose tables are those that the rules have for a release."""
    fields, masks = {}, {}
    for register, mask, rows in _native.known_registers(*numbers):
        fields[register] = [
            (shift, width, signed, safe, value or 0) for _, shift, width, signed, safe, value in rows
        ]
        masks[register] = mask
    release = ".".join(map(str, numbers))
    return Made(
        release=release, build=f"#1 SMP Debian {release}-1 (2026-01-01)", fields=fields, masks=masks, **more
    )


def image_like(numbers: tuple[int, int, int], **more: Any) -> bytes:
    """An image with these tables."""
    return kernel_image(made_like(numbers, **more))
