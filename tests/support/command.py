"""The command line as tests run it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kvmfw.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
needs_examples = pytest.mark.skipif(not EXAMPLES.exists(), reason="there is no examples folder")


def run(*arguments: str | Path, width: int = 160) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, env={"COLUMNS": str(width)})
