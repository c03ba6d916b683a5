"""`hookline send` when things are not right: one clear line, and an exit code. What it sends arrives in `test_up`."""

import socket
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.commands import run_hookline

GIVEN = (
    "--application-id",
    "6b3c1f0e-9a52-4a8e-8f5b-2d1c7e4a9b60",
    "--secret",
    "s",
    "--type",
    "a.b.c",
    "--label",
    "k=v",
)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("{",), 2, "the payload is not JSON"),
        (("@/nowhere/x",), 2, "cannot read the payload from /nowhere/x"),
        (("{}", "--content-type", "text/html"), 2, "--content-type must be one of"),
        (("{}", "--label", "novalue"), 2, "'novalue' is not key=value"),
        (("{}", "--api", "http://127.0.0.1:1/api/v1"), 1, "no answer from http://127.0.0.1:1/api/v1/event"),
        (("{}", "--api", "nonsense"), 1, "--api 'nonsense' is no address"),
    ],
)
async def test_a_mistake_is_named(tmp_path: Path, arguments: tuple[str, ...], code: int, reason: str) -> None:
    """An error has no traceback, and nothing is printed that a script could take for an id."""
    finished = await run_hookline("send", "--data-dir", str(tmp_path), *GIVEN, *defaults(arguments), *arguments)

    assert (code, "") == (finished.code, finished.out)
    assert reason in finished.err
    assert "Traceback" not in finished.err


def defaults(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return () if "--api" in arguments else ("--api", "http://127.0.0.1:1/api/v1")


async def test_a_kafka_that_is_silent_is_named(tmp_path: Path) -> None:
    """The error comes within the time that producing may take."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        servers = f"127.0.0.1:{silent.getsockname()[1]}"
        environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": servers, "HOOKLINE_KAFKA_PRODUCE_TIMEOUT_S": "1"}
        finished = await run_hookline("send", "--kafka", "--data-dir", str(tmp_path), *GIVEN, "{}", environ=environ)

    assert (1, "") == (finished.code, finished.out)
    assert f"Kafka at {servers} did not take it" in finished.err


async def test_a_kafka_that_does_not_run_is_named(tmp_path: Path) -> None:
    """The error comes at once, before an event is written."""
    environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    finished = await run_hookline("send", "--kafka", "--data-dir", str(tmp_path), *GIVEN, "{}", environ=environ)

    assert (2, "") == (finished.code, finished.out)
    assert "cannot reach Kafka at 127.0.0.1:1: it refuses connections" in finished.err


async def test_what_the_matcher_would_not_take_is_not_sent_to_kafka(tmp_path: Path) -> None:
    """The command refuses such an event: in Kafka it would end as a dead letter without an answer."""
    given = ("--application-id", "nonsense", "--type", "a.b.c", "--label", "k=v")
    environ = {"HOOKLINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    finished = await run_hookline("send", "--kafka", "--data-dir", str(tmp_path), *given, "{}", environ=environ)

    assert (2, "") == (finished.code, finished.out)
    assert "application_id must be a lower-case hyphenated UUID" in finished.err


async def test_a_refusal_ends_it_and_what_was_accepted_is_counted(tmp_path: Path) -> None:
    """The API's own words are shown."""
    calls = 0

    async def answer(request: web.BaseRequest) -> web.Response:
        nonlocal calls
        calls += 1
        await request.read()
        if calls <= 10:
            return web.json_response({"event_id": f"event {calls}"}, status=201)
        return web.json_response({"id": "TooManyEventsToday", "detail": "Wait until tomorrow."}, status=429)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    finished = await run_hookline("send", "--data-dir", str(tmp_path), *GIVEN, "--api", api, "--count", "500", "{}")
    await runner.cleanup()

    assert 1 == finished.code
    assert finished.out.startswith("10 events accepted in ")
    assert "answered 429: TooManyEventsToday Wait until tomorrow." in finished.err
    assert calls < 200
