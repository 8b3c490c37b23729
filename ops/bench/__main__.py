"""`python -m ops.bench`, or `make bench`: every benchmark, one after the other."""

from __future__ import annotations

from ops.bench import few_shot, speed

if __name__ == "__main__":
    speed.main()
    few_shot.main()
