"""Becomes another program that is told to stop when the launcher dies, however it dies.

    python -I -S exec_with_parent_death_signal.py PARENT_PID PROGRAM [ARGUMENT …]

The kernel's parent-death signal survives `exec`, so nothing of this file stays in memory. It is a
program and not a `preexec_fn`, because Python code between fork and exec can lock up a launcher
that has threads. Elsewhere than on Linux there is no such signal, and the program just starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Set the signal, see that the parent is still there, become the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit("the launcher has ended")
    try:
        os.execvp(command[0], command)
    except OSError as exc:
        sys.exit(f"{command[0]} cannot be started: {exc.strerror}")


if __name__ == "__main__":
    main()
