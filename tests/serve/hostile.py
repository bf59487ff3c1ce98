"""Requests that are malformed or too long."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable

from tests.serve.running import Running

__all__ = ["answers_to_hostile"]

# It does not read a body that is too long to its end: whoever still writes may find the line closed before the answer.
CLOSED = 0


def answers_to_hostile(service: Running, count: int) -> Counter[int]:
    """Send so many of them; give how often each status was answered."""
    rng = random.Random(1)
    found: Counter[int] = Counter()
    for _ in range(count):
        method, path, body = hostile(rng)
        try:
            status, _ = service.call(method, path, body)
        except (BrokenPipeError, ConnectionResetError):
            assert len(body) > 4 << 20, (path, body[:100])
            status = CLOSED
        assert status == CLOSED or 400 <= status < 500, (path, body[:100])
        found[status] += 1
    return found


def hostile(rng: random.Random) -> tuple[str, str, bytes]:
    """Make a request that is malformed or too long."""
    path = rng.choice(["/v1/candidates/batch", "/kubernetes/filter", "/kubernetes/prioritize"])
    good = (
        {"vms": ["a"], "unknown": "refuse", "change": "accept"}
        if path.startswith("/v1")
        else {"Pod": {}, "NodeNames": ["n"]}
    )
    text = json.dumps(good).encode()
    bodies: list[Callable[[], bytes]] = [
        lambda: text[: rng.randrange(len(text))],
        lambda: rng.randbytes(rng.randrange(200)),
        lambda: json.dumps({key: rng.choice([1, [1], {}, None, "x"]) for key in good}).encode(),
        lambda: json.dumps([good]).encode(),
        lambda: b"[" * 100_000,
        lambda: (
            b'{"vms": [' + b'"x",' * 1001 + b'"x"], "unknown": "refuse", "change": "accept"}'
            if path.startswith("/v1")
            else b'{"Pod": 1, "NodeNames": []}'
        ),
        lambda: text + b" " * (5 << 20),
    ]
    return "POST", path, rng.choice(bodies)()
