"""Writes the tables of settings of docs/methods/ from the declarations in the code.

python docs/tables.py            writes what is stale
python docs/tables.py --check    writes nothing; names what is stale and ends with 1
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kdengine.methods import in_page, settings_table

PAGES = Path(__file__).resolve().parent / "methods"


def stale() -> dict[Path, str]:
    """Pages whose table is not what the code says -> what they should be."""
    found = {}
    for path in sorted(PAGES.glob("[a-z]*.md")):
        page, table = path.read_text(), settings_table(path.stem)
        new = in_page(page, table) if table else page
        if new != page:
            found[path] = new
    return found


def main() -> int:
    """Writes or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes the tables of settings of docs/methods/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 where something is stale")
    check = parser.parse_args().check
    pages = stale()
    for path, page in pages.items():
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(PAGES.parents[1])}\n")
        if not check:
            path.write_text(page)
    return int(check and bool(pages))


if __name__ == "__main__":
    sys.exit(main())
