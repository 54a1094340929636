"""Packages as pip would leave them, for tests of what other packages add."""

from __future__ import annotations

from pathlib import Path


def install(site: Path, name: str, group: str, code: str, entry: str = "") -> None:
    """A package of one module in a folder, with an entry point of that group; its distribution is ``<name>-plug 1.0``.

    Args:
        site: folder that is, or will be, on the import path.
        name: of the module and of the entry point.
        group: of the entry point.
        code: of the module.
        entry: what the entry point names in the module; "" = the module itself.
    """
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}.py").write_text(code)
    record = site / f"{name}_plug-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plug\nVersion: 1.0\n")
    target = f"{name}:{entry}" if entry else name
    (record / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
