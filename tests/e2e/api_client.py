"""The HTTP API as a test uses it: plain requests with the demo's secret."""

from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.support.processes import UpReport


async def send_event(report: UpReport, payload: str = '{"order":1}', *, event_type: str = "shop.order.placed") -> str:
    """Send one event of the demo; its id."""
    event = {
        "application_id": report.application_id,
        "event_type": event_type,
        "payload": payload,
        "payload_content_type": "application/json",
        "occurred_at": datetime.now(UTC).isoformat(),
        "labels": {"environment": "demo"},
    }
    async with open_session(report) as session, session.post(f"{report.api}/event", json=event) as response:
        answer = await response.json()
        assert response.status == 201, answer
        return str(answer["event_id"])


async def read_event(report: UpReport, event_id: str) -> dict[str, Any]:
    """One event, from the archive."""
    url = f"{report.api}/events/{event_id}?application_id={report.application_id}"
    async with open_session(report) as session, session.get(url) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


def open_session(report: UpReport) -> aiohttp.ClientSession:
    """Open a session with the application's secret."""
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {report.application_secret}"})
