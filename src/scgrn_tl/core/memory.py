"""How much memory there is, and how much this process has taken."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["available_memory", "peak_memory", "total_memory"]

_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", ""),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)
"""Where a container's limit stands, its use, and how its cached files are called; versions 2 and 1."""


def available_memory() -> int:
    """Bytes that can be taken without swapping, within the limit of a container."""
    import psutil

    available = int(psutil.virtual_memory().available)
    for folder, limit, usage, prefix in _CGROUPS:
        try:
            left = int(Path(folder, limit).read_text()) - int(Path(folder, usage).read_text())
            stat = dict(line.split() for line in Path(folder, "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        left += sum(int(stat.get(f"{prefix}{part}_file", 0)) for part in ("active", "inactive"))
        available = min(available, max(0, left))
    return available


def total_memory() -> int:
    """Bytes of memory of this machine, or the limit of a container where that is less: the same at every call."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for folder, limit, _, _ in _CGROUPS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            total = min(total, int(Path(folder, limit).read_text()))
    return total


def peak_memory() -> int:
    """Most bytes of memory that this process has had so far; what it has now where the system keeps no record."""
    import psutil

    with suppress(OSError):  # getrusage counts the process that started this one in
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if psutil.MACOS:
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return int(psutil.Process().memory_info().rss)
