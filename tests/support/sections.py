"""Documents that several programs write: each owns the sections under its own headings."""

from __future__ import annotations

import re
from pathlib import Path

LIVE = "Live runs"
FUZZ = "Fuzzing"
LOADS = "Loads by QEMU"
OF_OTHERS = LIVE, FUZZ, LOADS
"""Sections that `tests.agreement` does not write, and keeps."""


def split(text: str) -> list[str]:
    """The head of a Markdown document, then its sections, each from its ``## `` heading to the next."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


def heading(section: str) -> str:
    """The words of a section's heading."""
    return section.partition("\n")[0].removeprefix("## ").strip()


def of(text: str, name: str) -> str | None:
    """The section of this heading; None where the document has none."""
    return next((section for section in split(text)[1:] if heading(section) == name), None)


def keep(path: Path, name: str, text: str) -> None:
    """Put a section into the document of agreement, which begins where there is none."""
    old = path.read_text() if path.exists() else "# Agreement with real kernels\n"
    path.write_text(replaced(old, f"## {name}\n\n{text}"))


def replaced(text: str, section: str) -> str:
    """The document with this section in place of the one of the same heading, or at its end."""
    head, *sections = split(text)
    section = section.rstrip() + "\n"
    names = [heading(one) for one in sections]
    if heading(section) in names:
        at = names.index(heading(section))
        sections[at] = section
    else:
        sections.append(section)
    return "\n".join(part.rstrip() + "\n" for part in [head, *sections] if part.strip())
