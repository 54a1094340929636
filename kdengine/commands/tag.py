"""``kd tag``: the name, tags and notes that a person gives a run."""

from __future__ import annotations

import argparse

from kdengine.commands.tables import show_json, show_pairs
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import annotate, read_annotations, retag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd tag``."""
    parser.add_argument("run", help="id of a run, or a unique beginning or end of it")
    parser.add_argument("tags", nargs="*", metavar="TAG", help="tags to add; none: print what is written")
    parser.add_argument("--remove", action="append", default=[], metavar="TAG", help="a tag to take away")
    parser.add_argument("--name", help="what the run is called in lists; '' for its own name again")
    parser.add_argument("--notes", help="notes, in place of those there are")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Changes what is asked for, and prints what is written then."""
    run = Workspace().existing_run(options.run)
    if options.name is not None or options.notes is not None:
        annotate(run, name=options.name, notes=options.notes)
    if options.tags or options.remove:
        retag(run, add=options.tags, remove=options.remove)
    said = read_annotations(run)
    if options.json:
        show_json({"id": run.id, "name": said.name, "tags": list(said.tags), "notes": said.notes})
    else:
        show_pairs([("id", run.id), ("name", said.name), ("tags", ", ".join(said.tags)), ("notes", said.notes)])
    return 0
