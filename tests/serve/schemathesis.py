"""Run schemathesis against the service with the examples: `python -m tests.serve.schemathesis`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.serve.running import running

EXAMPLES = Path(__file__).parents[2] / "examples"


def main() -> int:
    with running(EXAMPLES) as service:
        schema = f"http://127.0.0.1:{service.port}/schema/openapi.json"
        tool = Path(sys.executable).with_name("schemathesis")
        phases = "examples,coverage,fuzzing"
        found = subprocess.run(
            [tool, "run", schema, "--phases", phases, "--max-examples", "200"], check=False
        )
        service.stop()
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
