"""CPU, memory and GPU of a script's processes, as metrics ``system/…``: for curves, and for rules about idle machines."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def read_group(group: int) -> tuple[float, int] | None:
    """(CPU seconds, resident bytes) of the processes of a group; None without /proc."""
    if not Path("/proc/self/stat").exists():
        return None
    seconds, pages = 0.0, 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            stat = Path(f"/proc/{name}/stat").read_bytes()
        except OSError:
            continue  # it has ended
        fields = stat[stat.rindex(b")") + 2 :].split()
        if int(fields[2]) == group:
            seconds += (int(fields[11]) + int(fields[12])) / _TICKS
            pages += int(fields[21])
    return seconds, pages * _PAGE


class Sampler:
    """Samples one process group. ``sample()`` gives metrics since the last call."""

    def __init__(self, group: int, monotonic: Callable[[], float]) -> None:
        self._group, self._monotonic = group, monotonic
        self._before: tuple[float, float] | None = None  # when, CPU seconds
        self._gpus = _gpus()

    def sample(self) -> dict[str, float]:
        """``system/cpu_percent`` (100 is one core), ``system/memory_mib``, of each GPU ``system/gpu<n>_percent``, ``…_memory_mib``."""
        out: dict[str, float] = {}
        if (found := read_group(self._group)) is not None:
            now, (seconds, resident) = self._monotonic(), found
            out["system/memory_mib"] = round(resident / 2**20, 1)
            if self._before is not None and now > self._before[0]:
                used = max(0.0, seconds - self._before[1])  # ended processes take theirs along
                out["system/cpu_percent"] = round(100 * used / (now - self._before[0]), 1)
            self._before = now, seconds
        for number, gpu in enumerate(self._gpus):
            out |= gpu(number)
        return out


def _gpus() -> list[Callable[[int], dict[str, float]]]:
    """One reader for each NVIDIA GPU; [] without nvidia-ml-py or a driver."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001  # every error of it means: no GPUs to read
        return []
    return [_reader(nvml, handle) for handle in handles]


def _reader(nvml: Any, handle: Any) -> Callable[[int], dict[str, float]]:
    def read(number: int) -> dict[str, float]:
        try:
            rates, memory = nvml.nvmlDeviceGetUtilizationRates(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
        except Exception:  # noqa: BLE001  # the driver went away
            return {}
        return {
            f"system/gpu{number}_percent": float(rates.gpu),
            f"system/gpu{number}_memory_mib": round(memory.used / 2**20, 1),
        }

    return read
