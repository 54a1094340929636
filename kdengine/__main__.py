"""``python -m kdengine`` is ``kd``."""

import sys

from kdengine.cli import main

sys.exit(main())
