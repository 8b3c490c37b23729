"""Tags a file as a program that can be killed: arguments of `tag` as JSON; prints the result.

`pause_s` is how long it waits at each step, so that whoever kills it in between has the time.
"""

from __future__ import annotations

import json
import sys
import time

from pigeonhole_client import Pigeonhole, TagProgress


def main() -> None:
    arguments = json.loads(sys.argv[1])
    pause_s = arguments.pop("pause_s", 0)

    def told(progress: TagProgress) -> None:
        print(json.dumps({"progress": progress.to_dict()}), flush=True)
        time.sleep(pause_s)

    with Pigeonhole() as client:
        result = client.batches.tag(**arguments, progress=told)
    print(json.dumps({"result": result.to_dict()}), flush=True)


if __name__ == "__main__":
    main()
