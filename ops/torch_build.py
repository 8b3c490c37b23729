"""Which build of torch `make` installs: prints the options for `uv pip install`, or nothing.

On Linux the default build holds the libraries of CUDA, about 4 GB. A machine without an NVIDIA GPU
takes the build for CPUs, if uv can reach its index. Only the standard library is imported: this
module runs before the packages are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_TIMEOUT_S = 30.0
_GPU_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")  # the last one: WSL
_CPU = ("--torch-backend", "cpu")
_NOTE = (
    "This machine has no NVIDIA GPU, but the index of torch builds for CPUs is out of reach: "
    "installing the default build, which downloads about 3 GB of GPU libraries."
)


def main(uv: str, constraints: Path) -> None:
    """Print the options.

    Args:
        uv: The path of uv.
        constraints: A file with the pinned versions.
    """
    if sys.platform != "linux" or has_gpu():
        return  # elsewhere the default build is for CPUs
    if cpu_build_available(uv, pinned(constraints.read_text("utf-8"))):
        print(*_CPU)
    else:
        print(_NOTE, file=sys.stderr)


def has_gpu(files: Iterable[str] = _GPU_FILES) -> bool:
    """Whether the driver of an NVIDIA GPU is loaded."""
    return any(Path(each).exists() for each in files)


def pinned(constraints: str) -> list[str]:
    """The requirements that exist as builds for CPUs.

    >>> pinned("numpy==2.3.1\\ntorch==2.15.0\\ntorchvision==0.29.2\\ntorch-geometric==1\\n")
    ['torch==2.15.0', 'torchvision==0.29.2']
    """
    lines = constraints.splitlines()
    return [line for line in lines if line.split("==")[0] in {"torch", "torchvision"}]


def cpu_build_available(uv: str, requirements: list[str]) -> bool:
    """Whether uv finds builds for CPUs of these requirements, within `_TIMEOUT_S`."""
    # An empty target folder: installed packages do not satisfy the requirements.
    with tempfile.TemporaryDirectory() as target:
        options = ["--dry-run", "--no-deps", "--python", sys.executable, "--target", target]
        try:
            dry_run = subprocess.run(
                [uv, "pip", "install", *options, *_CPU, *requirements],
                env=os.environ | {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "10"},
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
    return dry_run.returncode == 0


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
