"""How long chaos lasts: `make chaos` multiplies rows, jobs and kills by PIGEONHOLE_CHAOS_ROUNDS."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("PIGEONHOLE_CHAOS_ROUNDS", "1"))
