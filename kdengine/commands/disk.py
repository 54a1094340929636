"""``kd disk``: what takes how much room, and freeing what no run needs."""

from __future__ import annotations

import argparse
import sys

from kdengine.commands import disk_usage as disk
from kdengine.commands.tables import show, show_json
from kdengine.units import size
from kdengine.workspace import Workspace

LARGEST = 5
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd disk``."""
    parser.add_argument("--free", choices=tuple(disk.FINDERS), metavar="WHAT",
                        help=f"{', '.join(disk.FINDERS)}: lists what would go; with --yes it goes")  # fmt: skip
    parser.add_argument("--older-than", type=float, default=0.0, metavar="DAYS", help="only what is older")
    parser.add_argument("--yes", action="store_true", help="really remove it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Shows, or frees."""
    workspace = Workspace()
    if not options.free:
        return _show(workspace, options.json)
    found = disk.removable(workspace, options.free, options.older_than)
    total = sum(removal.bytes for removal in found)
    if options.json:
        show_json([{"path": str(r.path), "bytes": r.bytes, "why": r.why} for r in found])
    elif found:
        show(("path", "size", "why"), [_row(workspace, removal) for removal in found[:SHOWN]])
        if len(found) > SHOWN:
            sys.stdout.write(f"and {len(found) - SHOWN} more\n")
    if options.yes:
        sys.stderr.write(f"{size(disk.free(workspace, found))} freed\n")
    elif found:
        sys.stderr.write(f"{size(total)} can go; nothing was removed, --yes does it\n")
    else:
        sys.stderr.write("nothing can go\n")
    return 0


def _show(workspace: Workspace, as_json: bool) -> int:
    places = disk.usage(workspace)
    if as_json:
        show_json([{"name": p.name, "holds": p.holds, "bytes": p.bytes, "count": p.count} for p in places])
        return 0
    show(("place", "holds", "number", "size"), [(p.name, p.holds, str(p.count), size(p.bytes)) for p in places])
    largest = disk.largest_runs(workspace, LARGEST)
    if largest:
        show(("largest runs", "state", "size"), [(r.id, str(r.state() or ""), size(b)) for r, b in largest])
    sys.stdout.write("`kd disk --free checkpoints` lists what finished runs keep for nothing.\n")
    return 0


def _row(workspace: Workspace, removal: disk.Removal) -> tuple[str, str, str]:
    return str(removal.path.relative_to(workspace.root)), size(removal.bytes), removal.why
