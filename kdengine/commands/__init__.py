"""One module a sub-command of ``kd``: ``add_arguments(parser)`` and ``main(options) -> exit code``."""
