"""Where everything that a person makes is kept, and what lies there."""

from kdengine.workspace.root import Workspace, sqlite_url

__all__ = ["Workspace", "sqlite_url"]
