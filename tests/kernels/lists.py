"""Predicted lists against recorded ones: every pair of recordings of one CPU with the same options under two kernels."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

from kvmfw import _native
from kvmfw.kernels import Kernel, Made, presences
from kvmfw.registers import register_name

FEATURES = _native.vcpu_words()[0]
# Configurations of the recordings that enable something before the vCPU is made.
ENABLED = {"mte": "mte", "impid": "writable_imp_id_regs"}


def made_of(name: str, config: dict[str, Any]) -> Made | None:
    """One vCPU of a recording; None where KVM did not make it."""
    if not config.get("regs"):
        return None
    word = int(config["init"]["feat"], 16)
    words = [feature for bit, feature in enumerate(FEATURES) if word >> bit & 1]
    enabled = [ENABLED[name]] if name in ENABLED else []
    return Made(frozenset(words + enabled), frozenset(int(row[0], 16) for row in config["regs"]))


@dataclass
class Tally:
    """What was predicted rightly, wrongly and not; and each that was wrong or not predicted, with its reason."""

    counted: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def judge(self, made: Made, then: Made, old: Kernel, new: Kernel) -> None:
        """Compare one prediction with what was recorded."""
        left = set(then.listed)
        for one in presences(made, new, old):
            left.discard(one.register)
            is_right = one.listed == (one.register in then.listed)
            word = "unknown" if one.listed is None else "right" if is_right else "wrong"
            self.counted[word] += 1
            if word != "right":
                self.reasons[f"{word}: {register_name(one.register)}: {one.why}"] += 1
        self.counted["wrong"] += len(left)
        for register in left:
            self.reasons[f"wrong: {register_name(register)}: nobody thought of it"] += 1


def compare(folder: Path, kernels: dict[str, Kernel]) -> Tally:
    """Predict the list of every recording from every other of its kind."""
    files: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("*.json.gz")):
        kernel, _, rest = path.name.partition("__")
        if kernel in kernels:
            files[rest][kernel] = path
    tally = Tally()
    for paths in files.values():
        recorded = {kernel: json.loads(gzip.decompress(path.read_bytes())) for kernel, path in paths.items()}
        for old, new in permutations(recorded, 2):
            tally.counted["pairs"] += 1
            for name, config in recorded[old]["configs"].items():
                made = made_of(name, config)
                then = made_of(name, recorded[new]["configs"].get(name, {}))
                if made is not None and then is not None and made.words == then.words:
                    tally.judge(made, then, kernels[old], kernels[new])
    return tally
