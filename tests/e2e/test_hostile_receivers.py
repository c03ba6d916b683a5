"""Endpoints that do their worst, all at once: every attempt becomes one row that says what happened, no other endpoint
is affected, and the deliver process stays sound."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.integration.deliver.deliver_site import DeliverSite
from tests.integration.http_client.servers import listen
from tests.support.api import Api, Space
from tests.support.certificates import Authority
from tests.support.eventually import eventually
from tests.support.receiver import (
    BadChunking,
    Behaviour,
    CloseUnanswered,
    Drip,
    EndlessBody,
    Garbage,
    Gone,
    GzipBomb,
    HalfClose,
    Hang,
    HugeHeaders,
    InformationalFlood,
    LieAboutLength,
    Receiver,
    Redirect,
    Reset,
    Status,
    TooMany,
)
from tests.support.stack import Stack, run_stack

HOSTILE_TYPE, HEALTHY_TYPE = "shop.order.placed", "shop.order.paid"
ROUNDS = 3
HEALTHY_PER_ROUND = 30
# Of those that would hold the line, which is known by the time it takes; the others have time on a busy machine too.
BRIEF = {"total_timeout_s": 2}
BRIEF_TO_CONNECT = {"connect_timeout_s": 1}
PATIENT = {"total_timeout_s": 25, "connect_timeout_s": 15}
HOUR_S = 3600.0
# Bytes of an answer written before the receiver noticed that its peer does not read: the buffers of both sides.
SENT_MAX_BYTES = 8 * 1024 * 1024
# What the process may have grown by (measured: 4 MiB). Unpacked, or read to its end, one answer would be gigabytes.
GROWTH_MAX_BYTES = 32 * 1024 * 1024
# Of one core (measured: 0.06). Whatever spins while an endpoint hangs, drips or floods takes all of it.
CPU_SHARE_MAX = 0.5
UNREACHABLE = "the host has no address that deliveries may go to"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An endpoint, and what each attempt comes to. `error` and `shows` are patterns.

    `error`: the class; "" for a success, since the status decides and what is wrong with the body comes after it.
    `shows`: what `GET /responses` has as the body: what was read of it, or why there is none.
    `waits_s`: how long the next attempt is to wait, at least and at most; None: there is none.
    """

    url: str
    error: str = ""
    status: int | None = None
    shows: str = ".*"
    waits_s: tuple[float, float] | None = None
    attempts: int = 1  # of each delivery, that are made while we look
    rounds: int = ROUNDS
    delivery: dict[str, Any] = field(default_factory=dict)


# Behaviour, error, status, shows.
ANSWERS: dict[str, tuple[Behaviour, str, int | None, str]] = {
    "hangs": (Hang(), "E_TIMEOUT", None, "no whole answer within 2 s"),
    "drips-its-head": (Drip("head"), "E_TIMEOUT", None, "no whole answer within 2 s"),
    "drips-its-body": (Drip("body"), "", 200, "x{1,4}"),
    "has-no-end": (EndlessBody("chunked"), "", 200, "x{16384}"),
    "has-a-terabyte": (EndlessBody("length"), "", 200, "x{16384}"),
    # the body is told in base64, as it came: nothing is unpacked
    "packs-ten-gigabytes": (GzipBomb(1000, 10_000_000), "", 200, "H4sI[A-Za-z0-9+/]{20000,}=*"),
    "packs-a-million-times": (GzipBomb(1_000_000, 1), "", 200, "H4sI[A-Za-z0-9+/]{20000,}=*"),
    "resets-at-once": (Reset("request"), "E_CONNECTION", None, ".*before (its|the) answer was complete"),
    "resets-its-head": (Reset("head"), "E_CONNECTION", None, ".*before (its|the) answer was complete"),
    "resets-its-body": (Reset("body"), "", 200, "x{0,500}"),
    "closes": (CloseUnanswered(), "E_CONNECTION", None, ".*before (its|the) answer was complete"),
    "half-closes": (HalfClose(), "", 200, "x{500}"),
    "lies": (LieAboutLength(), "", 200, "x{10}"),
    "chunks-badly": (BadChunking(), "", 200, "hello"),
    "has-a-huge-header": (HugeHeaders(), "E_CONNECTION", None, "the answer's head has more than 16384 bytes"),
    "has-many-headers": (HugeHeaders(1000, 10), "E_CONNECTION", None, "the answer has more than 256 headers"),
    "floods": (InformationalFlood(), "E_CONNECTION", None, "the endpoint sent more than 16 interim answers"),
    "is-no-web-server": (Garbage(), "E_CONNECTION", None, "the answer is not HTTP.*"),
    "redirects-to-itself": (Redirect("/redirects-to-itself"), "E_HTTP", 302, ""),
    "redirects-inside": (Redirect("http://169.254.169.254/latest", 307), "E_HTTP", 307, ""),
    "is-down": (Status(503, b"down"), "E_HTTP", 503, "down"),
}


def list_waits() -> dict[str, tuple[Behaviour, tuple[float, float]]]:
    """`Retry-After` in its forms, and what is made of each. Jitter adds a tenth: 2 s at least, 15 minutes at most."""
    in_two_hours = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    return {
        "asks-for-an-hour": (TooMany(3600), (HOUR_S, 1.1 * HOUR_S)),
        # counted from when the attempt is made, which is within minutes of now
        "asks-for-a-date": (TooMany(in_two_hours), (1.9 * HOUR_S, 2.2 * HOUR_S)),
        "asks-for-ten-years": (TooMany(10 * 365 * 86_400), (24 * HOUR_S, 24.25 * HOUR_S)),
        "is-down-for-an-hour": (Status(503, headers=(("Retry-After", "3600"),)), (HOUR_S, 1.1 * HOUR_S)),
    }


@dataclass(slots=True)
class World:
    """All that is hostile. `receiver` plays the behaviours, by path; the cases' names are the paths."""

    receiver: Receiver
    cases: dict[str, Case] = field(default_factory=dict)

    def add_answers(self) -> None:
        for name, (behaviour, error, status, shows) in ANSWERS.items():
            delivery = BRIEF if isinstance(behaviour, Hang | Drip) else {}
            self._add(name, behaviour, error=error, status=status, shows=shows, delivery=delivery)
        for name, (behaviour, waits_s) in list_waits().items():
            status = behaviour.code if isinstance(behaviour, Status) else 429
            self._add(name, behaviour, error="E_HTTP", status=status, waits_s=waits_s, delivery=retry_after(1.0))
        # junk: its own schedule holds
        self._add("asks-for-junk", TooMany("soon"), error="E_HTTP", status=429, attempts=2, delivery=retry_after(1.0))
        # it is disabled, and gets nothing more
        self._add("is-gone", Gone(), error="E_HTTP", status=410, shows="gone", rounds=1)

    def add_targets(self) -> None:
        """Endpoints without a request. The name without an address may be one whose name server is away."""
        no_name = "E_INVALID_TARGET|E_DNS"
        unanswered = f"{UNREACHABLE}|the host's name could not be resolved at this time"
        self.cases["has-no-address"] = Case(url="http://missing.invalid/", error=no_name, shows=unanswered)
        for name, host in (
            ("is-a-metadata-service", "169.254.169.254"),
            ("is-one-in-disguise", "2852039166"),
            ("is-mapped", "[::ffff:10.0.0.1]"),
        ):
            self.cases[name] = Case(url=f"http://{host}/", error="E_INVALID_TARGET", shows=UNREACHABLE)

    @asynccontextmanager
    async def add_tls(self, directory: Path) -> AsyncIterator[None]:
        """Servers that shake hands badly; their authority is trusted, which does not help."""
        authority = Authority(directory)
        trust = {"tls_ca_pem": authority.ca_file.read_text()}
        invalid = "the endpoint's certificate is not valid: "

        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with (
            Receiver(tls=authority.server_context(is_expired=True), name="localhost") as expired,
            Receiver(tls=authority.server_context("elsewhere.example.com"), name="localhost") as misnamed,
            Receiver(tls=authority.server_context(), name="localhost") as unknown,
            Receiver(tls=authority.server_context(asks_for_client_certificate=True), name="localhost") as asking,
            listen(stall) as stalling,
        ):
            for name, url, shows, delivery in (
                ("has-expired", expired.url(), f"{invalid}certificate has expired", trust),
                ("has-another-name", misnamed.url(), f"{invalid}hostname mismatch.*", trust),
                ("has-no-trusted-issuer", unknown.url(), f"{invalid}.*", {}),
                (
                    "asks-for-a-certificate",
                    asking.url(),
                    ".*(client certificate|answer was complete|TLS failed).*",
                    trust,
                ),
                ("stalls", f"https://localhost:{stalling}/", "no TLS handshake within 1 s", trust | BRIEF_TO_CONNECT),
            ):
                self.cases[name] = Case(url=url, error="E_CONNECTION", shows=shows, delivery=delivery)
            yield
            assert 0 == sum(receiver.received for receiver in (expired, misnamed, unknown, asking))

    def _add(self, name: str, behaviour: Behaviour, **members: Any) -> None:
        self.receiver.script(f"/{name}", behaviour)
        self.cases[name] = Case(url=self.receiver.url(f"/{name}"), **members)


def retry_after(*delays_s: float) -> dict[str, Any]:
    return {"retry_delays_s": list(delays_s)}


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that a process has used, and holds."""

    at_s: float
    cpu_s: float
    resident_bytes: int


def measure(pid: int) -> Usage:
    process = psutil.Process(pid)
    times = process.cpu_times()
    return Usage(time.monotonic(), times.user + times.system, process.memory_info().rss)


async def test_each_is_told_from_the_others_and_harms_nobody(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """Thirty-odd kinds of hostile endpoints beside a healthy one, which gets everything once."""
    names = ("gateway", "matcher", "deliver", "archive")
    # loopback is where the receivers are; what must not be reached is denied instead
    denied = "169.254.0.0/16 10.0.0.0/8"
    async with (
        run_stack(kafka, postgres, migrated_template, *names, DELIVER_DENIED_NETWORKS=denied) as stack,
        Receiver() as healthy,
        Receiver() as receiver,
    ):
        world = World(receiver)
        world.add_answers()
        world.add_targets()
        async with world.add_tls(tmp_path):
            space = await stack.api.make_space(HOSTILE_TYPE, HEALTHY_TYPE)
            await stack.api.subscribe(space, healthy.url("/"), HOSTILE_TYPE, HEALTHY_TYPE)
            cases = {}
            for case in world.cases.values():
                delivery = PATIENT | retry_after() | case.delivery
                made = await stack.api.subscribe(space, case.url, HOSTILE_TYPE, delivery=delivery)
                cases[made["subscription_id"]] = case
            pid = stack.processes["deliver"][0].pid
            before = measure(pid)
            for round_number in range(1, ROUNDS + 1):
                event_id = await stack.api.send(space, HOSTILE_TYPE)
                for _ in range(HEALTHY_PER_ROUND):
                    await stack.api.send(space, HEALTHY_TYPE)
                await check_round(stack.api, space, event_id, cases, round_number)
                if round_number == 1:
                    await wait_disabled(stack, space, cases)
            after = measure(pid)
            # nothing is held for those that hold the line
            await eventually(lambda: receiver.open_connections == 0)

        sent = ROUNDS * (1 + HEALTHY_PER_ROUND)
        expected = {f"/{name}": case.rounds * case.attempts for name, case in world.cases.items()}
        rows = sent + sum(expected.values())
        await eventually(lambda: count_attempts(stack.database_url) >= rows)
        arrived = Counter(request.path for request in receiver.requests())
        assert {path: count for path, count in expected.items() if path in arrived} == arrived
        assert {f"/{name}" for name in ANSWERS} <= arrived.keys()
        assert rows == count_attempts(stack.database_url)
        assert sent == len({request.header("webhook-id") for request in healthy.requests()}) == healthy.received
        for path, count in arrived.items():
            assert receiver.sent_bytes(path) <= count * SENT_MAX_BYTES
        assert after.resident_bytes - before.resident_bytes <= GROWTH_MAX_BYTES
        assert after.cpu_s - before.cpu_s <= CPU_SHARE_MAX * (after.at_s - before.at_s)


async def check_round(api: Api, space: Space, event_id: str, cases: dict[str, Case], round_number: int) -> None:
    """Wait until all attempts of this event are archived; each is what it has to be."""
    due = {subscription_id: case for subscription_id, case in cases.items() if case.rounds >= round_number}

    async def find() -> dict[str, list[dict[str, Any]]]:
        rows = await api.list_attempts(space, event_id)
        assert len(rows) < 50, "there is another page"
        found: dict[str, list[dict[str, Any]]] = {subscription_id: [] for subscription_id in due}
        for row in rows:
            if row["response_id"] is not None and row["subscription"]["subscription_id"] in cases:
                found[row["subscription"]["subscription_id"]].append(row)
        missing = [case.url for subscription_id, case in due.items() if len(found[subscription_id]) < case.attempts]
        assert [] == missing
        return found

    for subscription_id, rows in (await eventually(find, timeout_s=60)).items():
        case = due[subscription_id]
        assert list(range(case.attempts)) == sorted(row["retry_count"] for row in rows), case.url
        for row in rows:
            await check_attempt(api, space, case, row)


async def check_attempt(api: Api, space: Space, case: Case, row: dict[str, Any]) -> None:
    query = f"?application_id={space.application_id}"
    response = (await api.call("GET", f"/responses/{row['response_id']}{query}", token=space.secret)).json
    attempt = (await api.call("GET", f"/request_attempts/{row['request_attempt_id']}{query}", token=space.secret)).json
    error_class = response["response_error_name"]

    assert re.fullmatch(case.error, error_class or ""), f"{case.url}: {error_class}"
    assert error_class == (attempt["error"] or {"class": None})["class"], case.url
    assert ("failed" if error_class else "successful") == row["status"]["type"], case.url
    assert case.status == response["http_code"] == row["http_response_status"], case.url
    assert re.fullmatch(case.shows, response["body"], re.DOTALL), f"{case.url}: {response['body'][:200]}"
    if case.waits_s is not None:
        failed_at, next_at = (datetime.fromisoformat(text) for text in (row["failed_at"], attempt["next_attempt_at"]))
        assert case.waits_s[0] <= (next_at - failed_at).total_seconds() <= case.waits_s[1], case.url
    elif row["retry_count"] == case.attempts - 1:
        assert attempt["next_attempt_at"] is None, case.url


async def wait_disabled(stack: Stack, space: Space, cases: dict[str, Case]) -> None:
    """Wait until the endpoint that answered 410 is disabled, and the log has it for the events to come."""
    (gone_id,) = [subscription_id for subscription_id, case in cases.items() if case.rounds == 1]

    async def is_disabled() -> bool:
        return not (await stack.api.call("GET", f"/subscriptions/{gone_id}")).json["is_enabled"]

    def is_published() -> bool:
        with psycopg.connect(stack.database_url) as connection:
            row = connection.execute(
                "select published_version = routes_version from applications where application_id = %s",
                (space.application_id,),
            ).fetchone()
        return row == (True,)

    await eventually(is_disabled)
    await eventually(is_published)


def count_attempts(database_url: str) -> int:
    """All rows there are."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("select count(*) from attempts").fetchone()
    assert row is not None
    count: int = row[0]
    return count


async def test_as_in_production_nothing_private_is_reached(kafka: str, topic_prefix: str) -> None:
    """The process with its own rules and the system's resolver: what is on loopback is not there for endpoints."""
    site = await DeliverSite(kafka, topic_prefix).prepare()
    hosts = ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "localhost.", "0"]
    async with Receiver() as receiver:
        for host in hosts:
            site.send(site.subscribe(f"http://{host}:{receiver.port}/", retry_delays_s=[]))
        # every port, as receivers have any
        async with site.deliver(
            DELIVER_ALLOW_PRIVATE_ADDRESSES="false", DELIVER_ALLOWED_PORTS="1-65535", DELIVER_DENIED_PORTS=""
        ):
            attempts = await site.attempts(len(hosts))

        assert [("E_INVALID_TARGET", UNREACHABLE)] * len(hosts) == [
            (attempt.error_class, attempt.error_detail) for attempt in attempts
        ]
        assert 0 == receiver.received
