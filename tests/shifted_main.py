"""Runs a main with a wall clock that is wrong: `python -m tests.shifted_main SECONDS MODULE`.

The monotonic clock, and what other processes say of the time, stay right.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import importlib
import sys
import time


def shift(offset_s: float) -> None:
    """Set the wall clock of this process ahead."""
    true_time, true_ns, true_now = time.time, time.time_ns, datetime.datetime.now
    offset = datetime.timedelta(seconds=offset_s)
    time.time = lambda: true_time() + offset_s
    time.time_ns = lambda: true_ns() + int(offset_s * 1e9)
    # The class is of C: its own dict is behind a proxy.
    (members,) = gc.get_referents(datetime.datetime.__dict__)
    members["now"] = classmethod(lambda _, tz=None: true_now(tz) + offset)
    members["utcnow"] = classmethod(lambda _: true_now(datetime.UTC).replace(tzinfo=None) + offset)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))


if __name__ in {"__main__", "__mp_main__"}:  # the second: in processes that a main spawns
    shift(float(sys.argv[1]))

if __name__ == "__main__":
    # Imported by its name: the processes that it spawns find its functions there.
    importlib.import_module(sys.argv[2]).main()
