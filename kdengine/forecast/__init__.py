"""What a run will cost, measured before it is started; and whether compiling it would pay."""

from kdengine.forecast.compiling import Compiling, known_compiling, try_compiling
from kdengine.forecast.whole import Forecast, NetworkCost, forecast

__all__ = ["Compiling", "Forecast", "NetworkCost", "forecast", "known_compiling", "try_compiling"]
