"""Health of the consume loop: does it settle anything, and does it start what it could?"""

import time

from connectors.runtime.flow import Flow
from pipeline.config import WorkerConfig
from pipeline.kafka.group.consumer import LogConsumer

# hookline_stalled_seconds by cause
STALLS = {
    "back_pressure": "nothing was read because too much is in flight",
    "places": "work could be started and none was",
}


class Progress:
    """Compares how long the loop has settled or started nothing with what the settings allow."""

    def __init__(self, flow: Flow, consumer: LogConsumer, config: WorkerConfig) -> None:
        self._flow = flow
        self._consumer = consumer
        self._config = config

    def check(self) -> str | None:
        """Health: None, or what is wrong."""
        waited_s = time.monotonic() - self._flow.settled_at_s
        if self._flow.is_busy and waited_s > self._config.stuck_after_s:
            return f"nothing was settled for {waited_s:.0f} s"
        return self._consumer.check()

    def check_movement(self) -> str | None:
        """Health: None, or which work stands still that could be done."""
        for cause, stalled_s in self.measure_stalls().items():
            if stalled_s > self._config.stalled_after_s:
                return f"{STALLS[cause]} for {stalled_s:.0f} s"
        return None

    def measure_stalls(self) -> dict[str, float]:
        """Seconds by cause; 0: it moves."""
        return {"back_pressure": self._consumer.full_for_s(), "places": self._flow.waits_for_s()}
