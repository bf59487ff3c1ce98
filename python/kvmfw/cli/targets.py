"""Other kernels, as verbs take them: an image, a package, or a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmfw.documents import parsed_json
from kvmfw.readers.source import whole
from kvmfw.sets import Host

if TYPE_CHECKING:
    from kvmfw.kernels import Foretold, Target

__all__ = ["foretold", "foretold_of", "kernel_of", "kernel_option", "target_of"]

kernel_option = click.option(
    "--kernel",
    "wanted",
    metavar="IMAGE|RELEASE",
    help="Instead of a second capture: this kernel, by its image, package or release, on the host of the first.",
)


def kernel_of(wanted: str) -> Path | None:
    """Give the file that is meant; None where a release is."""
    path = Path(wanted)
    return path if path.is_file() else None


def target_of(wanted: str) -> Target:
    """Read an image, or take a release.

    Raises
    ------
    InputError
        When the file cannot be read; `ArgumentError` when the text is neither.
    """
    from kvmfw.kernels import Target, read_kernel  # noqa: PLC0415 - numpy is needed by few verbs

    image = kernel_of(wanted)
    return Target.of(wanted if image is None else read_kernel(image))


def foretold(document: dict[str, Any], target: Target, running: Path | None = None) -> Foretold:
    """Predict what the host of a capture document would show under a kernel."""
    from kvmfw.kernels import Foretold, read_kernel  # noqa: PLC0415 - as above

    host = Host.from_json(json.dumps(document))
    return Foretold(document, host, target, None if running is None else read_kernel(running))


def foretold_of(capture: Path, wanted: str, running: Path | None = None) -> Foretold:
    """Predict from a capture file what its host would show under what was typed."""
    Host.load(capture)
    return foretold(parsed_json(whole(capture), capture), target_of(wanted), running)
