"""`python -m ops.bench`, or `make bench`: every benchmark of speed, one after the other."""

from __future__ import annotations

import signal
import sys

from ops.bench import (
    async_jobs,
    bulk_tagging,
    dialects,
    drift_counting,
    fairness,
    few_shot,
    media,
    million,
    nights,
    nli,
    rates,
    scaling,
    speed,
    two_workers,
)

_ROWS = 100_000  # `make bench-million` has the rest

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends
    speed.main()
    nli.main()
    dialects.main()
    few_shot.main()
    nights.main()
    bulk_tagging.main()
    drift_counting.main()
    fairness.main()
    rates.main()
    million.main(_ROWS)
    async_jobs.main()
    two_workers.main()
    scaling.main()
    media.main()
