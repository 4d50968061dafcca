"""What devices can do, and how long a load takes on one (data/devices.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from xstilts.budget.missing import Missing
from xstilts.files import packaged

CPU = "CPU"
_EFFICIENCY = 0.5
_LAUNCH = 28e-6


@dataclass(frozen=True)
class Load:
    """Work of one kind.

    Attributes:
        operations: of matrix products.
        traffic: bytes to and from the device's memory.
        launches: operations that the host hands to the device.
        exchanged: bytes to and from other devices.
    """

    operations: float = 0.0
    traffic: float = 0.0
    launches: float = 0.0
    exchanged: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.operations + other.operations,
            self.traffic + other.traffic,
            self.launches + other.launches,
            self.exchanged + other.exchanged,
        )

    def __mul__(self, times: float) -> Load:
        return Load(self.operations * times, self.traffic * times, self.launches * times, self.exchanged * times)


@dataclass(frozen=True)
class Device:
    """One kind of device; see data/devices.yaml for units and sources."""

    name: str
    peak: Mapping[str, float]
    memory: float
    bandwidth: float
    link: float
    names: tuple[str, ...]
    source: str
    efficiency: float = _EFFICIENCY

    def seconds(self, load: Load, precision: str, threads: int = 1) -> float:
        """How long a load takes; a GPU computes while its host launches what follows, a CPU does one after the other.

        Raises:
            Missing: the device does not compute in this precision.
        """
        if precision not in self.peak:
            known = ", ".join(self.peak)
            raise Missing(f"device {self.name} has no {precision}; set compute.precision to one of {known}")
        scale = threads if self.name == CPU else 1
        computing = load.operations / (self.peak[precision] * self.efficiency * scale) + load.traffic / self.bandwidth
        launching = load.launches * _LAUNCH
        together = computing + launching if self.name == CPU else max(computing, launching)
        return together + load.exchanged / self.link


@cache
def table() -> dict[str, Device]:
    """Every known device by name."""
    found = packaged("devices.yaml").items()
    return {name: Device(name=name, **{**given, "names": tuple(given["names"])}) for name, given in found}


def named(name: str) -> Device:
    """The device of that name.

    Raises:
        Missing: there is none.
    """
    if name not in table():
        raise Missing(f"device {name!r} is not known; set budget.device to one of {', '.join(table())}")
    return table()[name]


def recorded(name: str) -> Device | None:
    """The device that a record names (as torch calls it), if it is a known one."""
    return next((d for d in table().values() if any(n.lower() in name.lower() for n in d.names)), None)
