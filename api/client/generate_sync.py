"""Makes the synchronous client, `_sync`, of the asynchronous one, `_async`.

    python api/client/generate_sync.py           writes the modules
    python api/client/generate_sync.py --check   fails where one is not what would be written

Both clients are one source: what differs is `async`, `await` and the names below. A test runs the
check. Needs ruff, which formats what comes out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src" / "pigeonhole_client"
_RULES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\basync (def|with|for)\b", r"\1"),
        (r"\bawait ", ""),
        (r"\bAwaitable\[(\w+)\]", r"\1"),
        (r"\bawaitable\b", "result"),
        (r"\bAsync(?=[A-Z])", ""),
        (r"\basynccontextmanager\b", "contextmanager"),
        (r"\b__a(enter|exit)__\b", r"__\1__"),
        (r"\ba(close|read|iter_lines|iter_raw)\b", r"\1"),
        (r"\b_async\b", "_sync"),
        (r"\basynchronous\b", "synchronous"),
    )
)
_HEAD = "# Made by generate_sync.py out of ../_async: change it there.\n"


def main() -> int:
    """Write or check all modules; the exit status."""
    check = "--check" in sys.argv[1:]
    stale = []
    for source in sorted((PACKAGE / "_async").glob("*.py")):
        target = PACKAGE / "_sync" / source.name
        made = synchronous(source.read_text("utf-8"))
        if target.exists() and target.read_text("utf-8") == made:
            continue
        stale.append(target)
        if not check:
            target.write_text(made, "utf-8")
    if check and stale:
        names = ", ".join(path.name for path in stale)
        print(f"_sync is not what _async makes of it ({names}); run {__file__}", file=sys.stderr)
        return 1
    return 0


def synchronous(text: str) -> str:
    """The synchronous module of an asynchronous one."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    ruff = [sys.executable, "-m", "ruff"]
    place = ["--stdin-filename", str(PACKAGE / "_sync" / "module.py"), "-"]
    for command in ([*ruff, "check", "--fix-only", "--quiet", *place], [*ruff, "format", *place]):
        text = subprocess.run(
            command,
            input=_HEAD + text if _HEAD not in text else text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


if __name__ == "__main__":
    sys.exit(main())
