"""Runs the programs that make clients and those that use them."""

from __future__ import annotations

import subprocess
from pathlib import Path

HERE = Path(__file__).parent
LIMIT_S = 280


def run(*command: str | Path, folder: Path, env: dict[str, str] | None = None) -> str:
    """What a program prints; it must end well."""
    ended = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    return ended.stdout + ended.stderr
