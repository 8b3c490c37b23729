"""What a measurement was taken on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def describe() -> str:
    """One line: processor, cores, memory, Python, date, commit."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    when = datetime.now(UTC).date().isoformat()
    return (
        f"{_processor()}, {os.cpu_count()} cores, {gib:.0f} GiB; "
        f"Python {platform.python_version()}; {when}; commit {_commit()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    bfloat16 = "bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags.split()) else "no bfloat16"
    return f"{names[0] if names else platform.machine()} ({bfloat16})"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
