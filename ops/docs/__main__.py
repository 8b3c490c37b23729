"""Write every generated table into its page; `make docs` runs this."""

from __future__ import annotations

from ops.docs.pages import ROOT, rewritten
from ops.docs.tables import TABLES


def main() -> None:
    """Rewrite the pages whose tables are not what the code says, and name them."""
    for page, tables in TABLES.items():
        path = ROOT / page
        before = path.read_text("utf-8")
        after = rewritten(before, {name: render() for name, render in tables.items()}, page=page)
        if after != before:
            path.write_text(after, "utf-8")
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
