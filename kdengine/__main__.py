"""``python -m kdengine`` is ``kd``."""

import sys

from kdengine import import_path

import_path.leave_working_folder()

from kdengine.cli import main  # noqa: E402 - only now, when the working folder no longer comes first

sys.exit(main())
