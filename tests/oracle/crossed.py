"""Restores between kernels: registers saved under one kernel, written to a fresh vCPU of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .recordings import SVE_VLS, Config, Recorded, Recording, Series, errno_name, value_of


def saved(config: Config) -> list[tuple[int, int]]:
    """The registers of a vCPU that ran, in the order in which they were written: SVE_VLS, then the list's."""
    late = {r[0]: r for r in config.raw["regs_after"]["mmio"]["changed"]}
    rows = [late.get(r[0], r) for r in config.raw["regs"]]
    rows.sort(key=lambda r: int(r[0], 16) != SVE_VLS)
    return [(int(r[0], 16), value_of(r[1])) for r in rows if not r[1].startswith("E")]


class Restores:
    """Finds, for every restore in a recording, the saved registers and the target's own configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache: dict[str, Recording | None] = {}

    def load(self, name: str) -> Recording | None:
        if name not in self.cache:
            paths = [p for p in (self.folder / f"{name}.json.gz", self.folder / f"{name}.json") if p.exists()]
            self.cache[name] = Recording(paths[0]) if paths else None
        return self.cache[name]

    def target(self, recording: Recording) -> Recording | None:
        """The recording of the host that the registers were written to, if there were any."""
        if not recording.raw.get("xrestore"):
            return None
        return self.load(recording.name.replace("__xrestore", "__default"))

    def series(self, recording: Recording) -> Iterator[Series]:
        target = self.target(recording)
        if target is None:
            return
        for row in recording.raw.get("xrestore", []):
            name, _, config_name = row["from"].rpartition("/")
            source = self.load(name)
            if row["e_init"] or source is None or config_name not in source.configs:
                continue
            origin = source.configs[config_name]
            same = [
                c
                for c in target.configs.values()
                if c.facts.features == int(row["feat"], 16)
                and c.facts.vgic == origin.facts.vgic
                and not c.facts.caps
                and bool(c.raw["init"]["pmu"]) == bool(origin.raw["init"]["pmu"])
            ]
            if not same:
                continue
            bad = {r[0]: r for r in row["bad"]}
            writes = []
            for register, value in saved(origin):
                text = f"{register:#x}"
                if text not in bad:
                    writes.append(Recorded(register, value, None, value, register != SVE_VLS))
                    continue
                _, errno, _, _, read_back = bad[text]
                narrow = value < 1 << 64
                writes.append(
                    Recorded(register, value, errno_name(errno), int(read_back, 16), errno == 0 and narrow)
                )
            yield Series(
                "restore between kernels",
                same[0],
                writes,
                finalized=not origin.raw["init"]["sve"],
                sequence=True,
                finalize_after_lengths=True,
                label=row["from"],
            )
