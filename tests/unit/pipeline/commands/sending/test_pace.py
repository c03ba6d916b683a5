import asyncio

import pytest

from pipeline.commands.sending.pace import IN_FLIGHT_MAX, SendError, send_all


async def test_all_are_sent_a_bounded_number_at_a_time() -> None:
    """Memory and connections are bounded, however many events there are."""
    in_flight = most = accepted = 0

    async def send() -> str:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return "id"

    def count() -> None:
        nonlocal accepted
        accepted += 1

    outcome = await send_all(send, count=1000, rate_per_s=None, on_accepted=count)

    assert (1000, "id", None) == (outcome.accepted, outcome.last_id, outcome.failure)
    assert 1000 == accepted
    assert most <= IN_FLIGHT_MAX


async def test_the_first_failure_ends_it() -> None:
    """Requests in flight at that time are awaited and counted."""
    sent = 0

    async def send() -> str:
        nonlocal sent
        sent += 1
        if sent == 100:
            raise SendError("no more")
        return f"event {sent}"

    outcome = await send_all(send, count=10_000, rate_per_s=None, on_accepted=lambda: None)

    assert "no more" == outcome.failure
    assert sent - 1 == outcome.accepted
    assert sent <= 100 + IN_FLIGHT_MAX


async def test_an_unforeseen_error_ends_it_and_leaves_nothing_running() -> None:
    """The requests in flight are cancelled; the error is raised as it is."""
    sent = cancelled = 0

    async def send() -> str:
        nonlocal sent, cancelled
        sent += 1
        if sent == IN_FLIGHT_MAX:
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1
        return "never"

    with pytest.raises(ZeroDivisionError):
        await send_all(send, count=1000, rate_per_s=None, on_accepted=lambda: None)

    assert IN_FLIGHT_MAX - 1 == cancelled
