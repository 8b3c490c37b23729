from __future__ import annotations

import subprocess
import sys


def test_the_front_end_starts_without_machine_learning():
    heavy = ("torch", "numpy", "celery", "kombu", "boto3", "workers")
    code = f"import api.main, api.wsgi, sys; print([n for n in {heavy} if n in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
