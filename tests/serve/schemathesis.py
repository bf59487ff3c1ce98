"""Schemathesis against the service with the examples, then 10,000 hostile requests: `python -m tests.serve.schemathesis`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.serve.hostile import answers_to_hostile
from tests.serve.running import running

HOSTILE = 10_000
EXAMPLES = Path(__file__).parents[2] / "examples"


def main() -> int:
    with running(EXAMPLES) as service:
        schema = f"http://127.0.0.1:{service.port}/schema/openapi.json"
        tool = Path(sys.executable).with_name("schemathesis")
        phases = "examples,coverage,fuzzing"
        found = subprocess.run(
            [tool, "run", schema, "--phases", phases, "--max-examples", "200"], check=False
        )
        answers = answers_to_hostile(service, HOSTILE)
        told = ", ".join(f"{number:,} with {status or 'a closed line'}" for status, number in answers.items())
        print(f"{HOSTILE:,} malformed or oversized requests were answered: {told}")
        assert service.get("/healthz")[0] == 200
        service.stop()
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
