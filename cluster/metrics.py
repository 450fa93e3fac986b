"""Numbers that Ray hands to Prometheus."""

from ray.util.metrics import Gauge


class Gauges:
    """Gauges of one name space, made as they are first set."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._gauges: dict[str, Gauge] = {}

    def set(self, numbers: dict[str, float]) -> None:
        """Set each number; the metric of "units_done" is `<prefix>_units_done`, which Ray exports as ray_<that>."""
        for name, value in numbers.items():
            if name not in self._gauges:
                self._gauges[name] = Gauge(f"{self._prefix}_{name}")
            self._gauges[name].set(value)
