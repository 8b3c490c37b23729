"""Tags a file as a program that can be killed: arguments of `tag` as JSON; prints the result."""

from __future__ import annotations

import json
import sys

from pigeonhole_client import Pigeonhole, TagProgress


def told(progress: TagProgress) -> None:
    print(json.dumps({"progress": progress.to_dict()}), flush=True)


def main() -> None:
    with Pigeonhole() as client:
        result = client.batches.tag(**json.loads(sys.argv[1]), progress=told)
    print(json.dumps({"result": result.to_dict()}), flush=True)


if __name__ == "__main__":
    main()
