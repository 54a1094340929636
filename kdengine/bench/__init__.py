"""Speed, measured side by side: arms that do the same work in one process, interleaved, with ratios within a round."""

from kdengine.bench.pair import Pair
from kdengine.bench.rounds import Arm, Measured, measure

__all__ = ["Arm", "Measured", "Pair", "measure"]
