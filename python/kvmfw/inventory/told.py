"""What sources say of VMs, and what all of them together say of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from kvmfw.errors import FormatError
from kvmfw.inventory.making import Making

__all__ = ["Move", "Told", "joined", "moment"]


@dataclass(frozen=True, slots=True)
class Move:
    """A VM went from one host to another.

    Attributes
    ----------
    when : datetime
        When.
    source, target : str
        From where, and to where.
    live : bool
        Whether it went with its registers; else it was started anew on the target.
    """

    when: datetime
    source: str
    target: str
    live: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What one source says of one VM; what it does not say is None.

    Attributes
    ----------
    vm : str
        The VM's name.
    source : str
        The file.
    row : int
        Where in it; -1 where all of it is about this VM.
    host : str or None
        The host that it runs on.
    folder : str or None
        What the file's folder is called: the host, where there is one of that name and nothing else names one.
    born : str or None
        The host, or the capture, where it was started.
    is_native : bool or None
        Whether it was started where it runs.
    path : tuple of str
        The hosts to which it went since, with its registers; the last is the one that it runs on.
    since : datetime or None
        When it was started.
    making : Making or None
        How its vCPUs were made.
    vmm : str or None
        The VMM that made them, such as ``qemu-9.2``.
    moves : tuple of Move
        How it went from host to host.
    problem : str
        Why no register set can be derived.
    """

    vm: str
    source: str
    row: int = -1
    host: str | None = None
    folder: str | None = None
    born: str | None = None
    is_native: bool | None = None
    path: tuple[str, ...] = ()
    since: datetime | None = None
    making: Making | None = None
    vmm: str | None = None
    moves: tuple[Move, ...] = ()
    problem: str = ""

    @property
    def is_move_only(self) -> bool:
        """Whether it says nothing but how a VM moved, also of one that is gone since."""
        return bool(self.moves) and self.host is None and self.making is None


_ONE_ANSWER = ("host", "born", "is_native", "since", "making", "vmm")


def joined(tellings: Iterable[Told]) -> Told:
    """Put together what sources say of one VM.

    Raises
    ------
    FormatError
        When two say different things, or one says why nothing can be derived.
    """
    first, *others = tellings
    found = first
    for one in others:
        for name in _ONE_ANSWER:
            said, now = getattr(found, name), getattr(one, name)
            if said is not None and now is not None and said != now:
                raise FormatError(
                    f"`{name}` of the VM `{one.vm}` is `{said}` in {found.source} and `{now}` in {one.source}"
                )
        found = replace(
            found,
            **{name: getattr(one, name) for name in _ONE_ANSWER if getattr(found, name) is None},
            folder=found.folder or one.folder,
            path=found.path or one.path,
            moves=found.moves + one.moves,
            problem=found.problem or one.problem,
        )
    if found.problem:
        raise FormatError(found.problem)
    return found


def moment(text: str, place: str = "") -> datetime:
    """Read a time as ISO 8601 writes it; without a zone it is UTC.

    Raises
    ------
    FormatError
        When it is none.

    Examples
    --------
    >>> moment("2026-03-01").isoformat()
    '2026-03-01T00:00:00+00:00'
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise FormatError(
            f"`{text[:40]}` is no time; expected one such as 2026-03-01T12:00:00Z", place
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
