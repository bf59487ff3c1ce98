"""Register sets and hosts: read once, judged often."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from kvmfw import _native
from kvmfw._native import Host as NativeHost
from kvmfw._native import RegisterSet as NativeSet
from kvmfw.any_format import other_host, other_set
from kvmfw.errors import ArgumentError, CopyError, FormatError
from kvmfw.files import read_document
from kvmfw.ids import is_surrounding

__all__ = ["Host", "RegisterSet"]


class RegisterSet:
    """What was saved of one VM (one vCPU): register id -> value. Immutable, ordered by id.

    Make one with `load`, `from_json` or `from_mapping`.
    """

    __slots__ = ("_native",)
    _native: NativeSet

    @classmethod
    def _wrap(cls, native: NativeSet) -> RegisterSet:
        made = cls.__new__(cls)
        made._native = native
        return made

    @classmethod
    def load(cls, path: str | Path) -> RegisterSet:
        """Read a ``kvmfw-register-set`` file, or a file of another format (docs/formats.md) with one VM.

        Raises
        ------
        InputError
            When the file cannot be read; `FormatError` when it is not such a document.
        """
        try:
            return cls.from_json(read_document(Path(path)))
        except FormatError as error:
            error.file = str(path)
            if (other := other_set(path)) is not None:
                return other  # type: ignore[no-any-return]
            raise

    @classmethod
    def from_json(cls, text: bytes | str) -> RegisterSet:
        """Read a ``kvmfw-register-set`` document.

        >>> text = '{"format": "kvmfw-register-set", "version": 1, "id": "vm1",'
        >>> text += ' "vcpu": {"features": ["psci_0_2"], "vgic": true},'
        >>> text += ' "registers": {"0x6030000000140000": "0x10001"}}'
        >>> RegisterSet.from_json(text)[0x6030000000140000]
        65537
        """
        return cls._wrap(_native.RegisterSet.from_json(_bytes_of(text)))

    @classmethod
    def from_mapping(
        cls,
        registers: Mapping[int, int],
        *,
        features: Iterable[str] = ("psci_0_2",),
        vgic: bool = True,
        enabled: Iterable[str] = (),
        name: str = "",
        host: str | None = None,
        vmm: str | None = None,
    ) -> RegisterSet:
        """Make a set from register ids and values.

        Parameters
        ----------
        registers : mapping of int to int
            Register id -> value, in the order in which they were saved. Registers wider than 8 bytes are little-endian
            integers.
        features, enabled : iterable of str
            How the VMM makes the vCPU: feature names and enabled capabilities (docs/formats.md).
        vgic : bool
            Whether the VM has a GICv3.
        name, host, vmm : str, optional
            The VM's name, the host that it runs on, and whose VM it is (looked at where pairs are judged by their own).

        Raises
        ------
        ArgumentError
            When a value is wider than its register, or a feature or the VMM is not known.

        Examples
        --------
        >>> vm = RegisterSet.from_mapping({0x6030000000140003: 2}, name="vm1")
        >>> vm.name, len(vm)
        ('vm1', 1)
        """
        rows = list(registers.items())
        words = (list(features), vgic, list(enabled))
        native = _native.RegisterSet.from_registers(rows, *words, name, host, vmm)
        return cls._wrap(native)

    @property
    def name(self) -> str:
        """The VM's name."""
        return self._native.name

    @property
    def host(self) -> str | None:
        """The host that the VM runs on, where known."""
        return self._native.host

    @property
    def vmm(self) -> str | None:
        """Whose VM it is, where known."""
        return self._native.vmm

    @property
    def features(self) -> list[str]:
        """The vCPU features, by name."""
        return self._native.features

    @property
    def vgic(self) -> bool:
        """Whether the VM has a GICv3."""
        return self._native.vgic

    @property
    def enabled(self) -> list[str]:
        """The capabilities enabled on the VM, by name."""
        return self._native.enabled

    def to_mapping(self, *, beside: bool = False) -> dict[int, int]:
        """Give the registers as a dictionary, ascending by id; with `beside` also what stands beside them, behind them."""
        rows = self._native.registers()
        return dict(rows) if beside else {id_: value for id_, value in rows if not is_surrounding(id_)}

    def changed(self, changes: Mapping[int, int | None], *, name: str | None = None) -> RegisterSet:
        """Give the same set with some registers changed, added at the end, or left out (None).

        All else stays: how the vCPU is made, the order in which registers were saved, what stands beside them.

        Parameters
        ----------
        changes : mapping of int to int or None
            Register id -> new value; None leaves the register out.
        name : str, optional
            Another name for the VM.

        Raises
        ------
        ArgumentError
            When a value is wider than its register.

        Examples
        --------
        >>> vm = RegisterSet.from_mapping({0x6030000000140003: 2, 0x6030000000140001: 1, 0xF0300007_0006C664: 0x400})
        >>> other = vm.changed({0x6030000000140001: None, 0x6030000000140003: 0})
        >>> [hex(register) for register in other], other.surroundings
        (['0x6030000000140003'], {'ICC_CTLR_EL1': 1024})
        """
        rows = {**dict(self._native.in_file_order()), **changes}
        return RegisterSet.from_mapping(
            {register: value for register, value in rows.items() if value is not None},
            features=self.features,
            vgic=self.vgic,
            enabled=self.enabled,
            name=self.name if name is None else name,
            host=self.host,
            vmm=self.vmm,
        )

    @property
    def surroundings(self) -> dict[str, int]:
        """What was saved beside registers, by name: of the interrupt controller, the counter, steal time (docs/arrival.md).

        >>> RegisterSet.from_mapping({0xF0300007_0006C664: 0x400}).surroundings
        {'ICC_CTLR_EL1': 1024}
        """
        rows = self._native.registers()
        return {_native.register_name(id_): value for id_, value in rows if is_surrounding(id_)}

    def to_document(self) -> dict[str, object]:
        """Give the set as a ``kvmfw-register-set`` document, ready for `json.dumps`; registers are as in its file."""
        vcpu: dict[str, object] = {"features": self.features, "vgic": self.vgic}
        if self.enabled:
            vcpu["enabled"] = self.enabled
        rows = self._native.in_file_order()
        beside = {_native.register_name(id_): f"{value:#x}" for id_, value in rows if is_surrounding(id_)}
        version = 3 if self.vmm else 2 if beside else 1
        document: dict[str, object] = {"format": "kvmfw-register-set", "version": version, "id": self.name}
        if self.host is not None:
            document["host"] = self.host
        if self.vmm is not None:
            document["vmm"] = self.vmm
        registers = {f"{id_:#x}": f"{value:#x}" for id_, value in rows if not is_surrounding(id_)}
        document |= {"vcpu": vcpu, "registers": registers}
        return document | {"surroundings": beside} if beside else document

    def __getitem__(self, register: int) -> int:
        return self.to_mapping()[register]

    def __iter__(self) -> Iterator[int]:
        return iter(self.to_mapping())

    def __len__(self) -> int:
        return len(self.to_mapping())

    def __copy__(self) -> RegisterSet:
        return self

    def __deepcopy__(self, memo: object) -> RegisterSet:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return RegisterSet.from_json, (json.dumps(self.to_document()),)

    def __repr__(self) -> str:
        return f"<RegisterSet {self.name or '(no name)'}: {len(self)} registers>"


class Host:
    """One kind of host: its capture, ready for judging. Make one with `load` or `from_json`."""

    __slots__ = ("_name", "_native")
    _native: NativeHost
    _name: str

    @classmethod
    def _wrap(cls, native: NativeHost, name: str) -> Host:
        made = cls.__new__(cls)
        made._native = native
        made._name = name
        return made

    @classmethod
    def load(cls, path: str | Path) -> Host:
        """Read a ``kvmfw-capture`` file, or a file of another format (docs/formats.md) with one host.

        Raises
        ------
        InputError
            When the file cannot be read; `FormatError` when it is not such a document.
        """
        try:
            return cls.from_json(read_document(Path(path)))
        except FormatError as error:
            error.file = str(path)
            if (other := other_host(path)) is not None:
                return other  # type: ignore[no-any-return]
            raise

    @classmethod
    def from_json(cls, text: bytes | str) -> Host:
        """Read a ``kvmfw-capture`` document."""
        native = _native.Host.from_json(_bytes_of(text))
        return cls._wrap(native, native.name)

    @property
    def vmm(self) -> str | None:
        """What restores VMs on the host, where known; looked at where pairs are judged by their own (``vmm="own"``)."""
        return self._native.vmm

    def with_vmm(self, vmm: str | None) -> Host:
        """Give the same host with this VMM; nothing is copied."""
        return Host._wrap(self._native.with_vmm(vmm), self._name)

    def renamed(self, name: str) -> Host:
        """Give a host of another name for which the same capture speaks; nothing is copied."""
        return Host._wrap(self._native, name)

    @property
    def name(self) -> str:
        """The host's name."""
        return self._name

    @property
    def kernel(self) -> str:
        """The kernel release, as ``uname -r`` prints it."""
        return self._native.kernel

    @property
    def midr(self) -> int:
        """The host's MIDR_EL1: implementer, part and revision of its CPU."""
        return self._native.midr

    @property
    def cores(self) -> list[int]:
        """MIDR_EL1 of each kind of CPU where the host has several (big.LITTLE); what depends on the CPU is UNKNOWN."""
        return self._native.cores

    @property
    def vcpus(self) -> list[tuple[str, list[str], bool, list[str]]]:
        """The vCPU configurations that were asked: (name, features, vgic, enabled)."""
        return self._native.vcpus()

    @property
    def predicted_from(self) -> str | None:
        """The kernel release under which the host was asked, where its capture was predicted from that."""
        return self._native.predicted_from

    def unknown(
        self, *, features: Iterable[str], vgic: bool, enabled: Iterable[str] = ()
    ) -> tuple[list[int], dict[int, int]]:
        """Give what is not known of such a vCPU: registers that it may list, and bits of fresh values by register."""
        listed, bits = self._native.hidden(list(features), vgic, list(enabled))
        return listed, dict(bits)

    def ask(
        self,
        vcpu: str,
        register: int,
        values: Iterable[int],
        *,
        scheme: str = "kvm",
        state: str = "fresh",
        derive_only: bool = False,
    ) -> list[tuple[str, str | None, int | None]]:
        """Tell what this host says to single writes of one register.

        Parameters
        ----------
        vcpu : str
            The name of a vCPU configuration of the capture.
        register : int
            The register id.
        values : iterable of int
            The values to write, each to a vCPU in this state.
        scheme : {"kvm", "signed4", "equal"}
            Who judges.
        state : {"fresh", "exited", "ran"}
            What the vCPU has done before.
        derive_only : bool
            Leave recorded answers out and judge by rules alone.

        Returns
        -------
        list of tuple
            (effect, errno or None, what it reads afterwards where that differs from the value written).

        Raises
        ------
        ArgumentError
            When there is no such vCPU, or a value is wider than the register.

        Examples
        --------
        >>> from kvmfw.testing import tiny_host
        >>> tiny_host(workaround_3=1).ask("vm", 0x6030000000140003, [0, 1, 2])
        [('raised', None, 1), ('kept', None, None), ('refused', 'EINVAL', None)]
        """
        said = _native.ask(self._native, vcpu, register, list(values), scheme, state, derive_only)
        if said is None:
            raise ArgumentError(f"this host has no vCPU named `{vcpu}`")
        return said

    def fresh_set(
        self, *, features: Iterable[str], vgic: bool = True, enabled: Iterable[str] = (), name: str = ""
    ) -> RegisterSet | None:
        """Give what a VM saves that was made so on this host and did not run; ``None`` where not captured.

        Where the capture tells it, that is also what every such VM has beside registers: the frequency of its counter and,
        with a GICv3, ``ICC_CTLR_EL1``.
        """
        features, enabled = list(features), list(enabled)
        registers = self._native.registers(features, vgic, enabled)
        if registers is None:
            return None
        who = (name, self.name, self.vmm)
        return RegisterSet._wrap(_native.RegisterSet.from_registers(registers, features, vgic, enabled, *who))

    def __copy__(self) -> Host:
        return self

    def __deepcopy__(self, memo: object) -> Host:
        return self

    def __reduce__(self) -> NoReturn:
        raise CopyError("a host cannot be pickled; send the file of its capture and load it there")

    def __repr__(self) -> str:
        return f"<Host {self.name}: {self.kernel}, {len(self.vcpus)} vCPU configurations>"


def _bytes_of(text: bytes | str) -> bytes:
    # Half of a surrogate pair is no text: the reader says where it stands.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
