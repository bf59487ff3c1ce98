"""What was not judged, on a terminal: said before anything else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from kvmfw.analysis.not_judged import HOMELESS
from kvmfw.cli.screen import ALARM, heading

__all__ = ["print_not_judged"]


def print_not_judged(out: Console, sentences: Sequence[tuple[str, str]]) -> None:
    """Say first what was not judged: (word, sentence) each; those that fail the gate stand out."""
    if not sentences:
        return
    out.print(heading("Not judged"))
    for word, sentence in sentences:
        text = Text(sentence, style=ALARM if word == HOMELESS else "")
        out.print(Padding(text, (0, 0, 0, 2), expand=False))
    out.print()
