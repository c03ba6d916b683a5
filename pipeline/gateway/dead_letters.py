"""`/dead_letters`: deliveries given up and unreadable records; shown, and sent again."""

from typing import TypedDict
from uuid import UUID

import msgspec
from aiohttp import web

from pipeline.core.events.moments import parse_query_moment, show_datetime, show_moment
from pipeline.gateway.answers import Id, Time, answer_json
from pipeline.gateway.auth import authorize, read_own_form
from pipeline.gateway.bodies import Form
from pipeline.gateway.context import GATEWAY
from pipeline.gateway.operations import Operation
from pipeline.gateway.problems import Problem
from pipeline.gateway.reads.queries import (
    APPLICATION_ID,
    LETTER_FILTERS,
    add_oldest_first_links,
    take_application_id,
    take_letter_filter,
    take_path_id,
)
from pipeline.gateway.redriving import redrive
from pipeline.gateway.validation import Findings
from pipeline.kafka.producer import KafkaUnavailableError
from pipeline.postgres.archive.dead_letters import ArchivedLetter, LetterFilter, count_letters, list_letters
from pipeline.postgres.archive.paging import Cursor

PAGE_LETTERS = 100
REDRIVE_MAX = 10_000


class RedriveForm(Form, frozen=True):
    """Which letters of the application; all that is given must hold. `dry_run`: only count them."""

    application_id: UUID
    dead_ids: list[UUID] | None = None
    subscription_id: UUID | None = None
    reason: str | None = None
    min_died_at: str | None = None
    max_died_at: str | None = None
    dry_run: bool = False


_decoder = msgspec.json.Decoder(RedriveForm)


class SourceShown(TypedDict):
    """The record that died."""

    topic: str
    partition: int
    offset: int


class LetterShown(TypedDict):
    """A dead letter."""

    dead_id: Id
    reason: str
    detail: str
    application_id: Id | None
    subscription_id: Id | None
    delivery_id: Id | None
    event_id: Id | None
    source: SourceShown
    died_at: Time
    redriven_at: Time | None


class RedriveShown(TypedDict):
    """The letters sent again. `matching`: letters by reason; `skipped`: dead id to why."""

    matching: dict[str, int]
    redriven: int
    skipped: dict[str, str]


def list_routes() -> list[Operation]:
    return [
        Operation("GET", "/dead_letters", show_all, query=LETTER_FILTERS, answer=list[LetterShown]),
        Operation("POST", "/dead_letters/redrive", redrive_some, body=RedriveForm, answer=RedriveShown),
        Operation("GET", "/dead_letters/{dead_id}", show_one, query=(APPLICATION_ID,), answer=LetterShown),
    ]


async def show_all(request: web.Request) -> web.Response:
    """A page of an application's dead letters, oldest first; its `Link` header leads on and back."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    application_id = take_application_id(request)
    wanted = take_letter_filter(request, application_id)
    await caller.require_application(application_id)
    letters = await list_letters(gateway.fresh_pool, wanted, limit=PAGE_LETTERS)
    response = answer_json([show_letter(letter) for letter in letters])
    page = [Cursor(created_at_us=letter.died_at_us, attempt_id=letter.dead_id) for letter in letters]
    add_oldest_first_links(gateway, request, response, page, is_full=len(letters) == PAGE_LETTERS)
    return response


async def show_one(request: web.Request) -> web.Response:
    """One dead letter."""
    gateway, caller = request.app[GATEWAY], await authorize(request)
    dead_id, application_id = take_path_id(request, "dead_id"), take_application_id(request)
    await caller.require_application(application_id)
    wanted = LetterFilter(application_id=application_id, dead_ids=(dead_id,), with_redriven=True)
    letters = await list_letters(gateway.fresh_pool, wanted, limit=1)
    if not letters:
        raise Problem("NotFound")
    return answer_json(show_letter(letters[0]))


async def redrive_some(request: web.Request) -> web.Response:
    """Send dead letters again, at most 10,000 a call; those that were sent again already are left out."""
    gateway = request.app[GATEWAY]
    _, form, application_id = await read_own_form(request, _decoder)
    findings = Findings()
    wanted = LetterFilter(
        application_id=application_id,
        dead_ids=tuple(map(str, form.dead_ids)) if form.dead_ids is not None else None,
        subscription_id=str(form.subscription_id) if form.subscription_id is not None else None,
        reason=form.reason,
        died_min_us=_read_bound(findings, "min_died_at", form.min_died_at),
        died_max_us=_read_bound(findings, "max_died_at", form.max_died_at),
    )
    findings.raise_if_any()
    matching = await count_letters(gateway.pool, wanted)
    answer: RedriveShown = {"matching": matching, "redriven": 0, "skipped": {}}
    if not form.dry_run:
        try:
            done = await redrive(
                gateway.pool,
                gateway.producer,
                gateway.topics,
                wanted,
                reading=gateway.producer_reading,
                limit=REDRIVE_MAX,
            )
        except KafkaUnavailableError as error:
            raise Problem("ServiceUnavailable", detail="Kafka does not answer; send it again, it goes on.") from error
        answer["redriven"], answer["skipped"] = done.redriven, done.skipped
    return answer_json(answer)


def show_letter(letter: ArchivedLetter) -> LetterShown:
    """A dead letter as the API shows it."""
    return {
        "dead_id": letter.dead_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "application_id": letter.application_id,
        "subscription_id": letter.subscription_id,
        "delivery_id": letter.delivery_id,
        "event_id": letter.event_id,
        "source": {
            "topic": letter.source_topic,
            "partition": letter.source_partition,
            "offset": letter.source_offset,
        },
        "died_at": show_moment(letter.died_at_us),
        "redriven_at": show_datetime(letter.redriven_at) if letter.redriven_at is not None else None,
    }


def _read_bound(findings: Findings, field: str, text: str | None) -> int | None:
    try:
        return parse_query_moment(text) if text is not None else None
    except ValueError:
        findings.add(field, "date-time", "it must be a date and time as in RFC 3339")
        return None
