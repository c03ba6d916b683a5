"""`hookline trigger` against a real installation."""

import json
from pathlib import Path

import pytest

from tests.support.api import Space
from tests.support.commands import Finished, run_hookline
from tests.support.eventually import eventually
from tests.support.receiver import Receiver
from tests.support.stack import Stack

TYPE = "billing.invoice.paid"
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def trigger(stack: Stack, space: Space, event_type: str, data_dir: Path) -> Finished:
    return await run_hookline(
        *("trigger", event_type, "--api", stack.api.url, "--data-dir", str(data_dir)),
        *("--application-id", space.application_id, "--secret", space.secret, "--label", "all=yes"),
    )


async def test_a_sample_of_a_type_is_delivered(stack: Stack, tmp_path: Path) -> None:
    """A sample reaches the type's subscriptions; its id is printed."""
    space = await stack.api.make_space(TYPE)
    async with Receiver() as receiver:
        await stack.api.subscribe(space, receiver.url("/a"), TYPE)
        finished = await trigger(stack, space, TYPE, tmp_path)
        await eventually(lambda: len(receiver.requests()) == 1)
        (got,) = receiver.requests()

    assert 0 == finished.code, finished.err
    assert finished.out.strip() == got.header("X-Event-Id")
    assert (TYPE, True) == (json.loads(got.body)["type"], json.loads(got.body)["sample"])


async def test_a_type_that_is_missing_is_made(stack: Stack, tmp_path: Path) -> None:
    """One line suffices to see the first event of a kind."""
    space = await stack.api.make_space(TYPE)
    finished = await trigger(stack, space, "billing.invoice.voided", tmp_path)
    types = (
        await stack.api.call("GET", f"/event_types?application_id={space.application_id}", token=space.secret)
    ).json

    assert 0 == finished.code, finished.err
    assert "billing.invoice.voided" in {each["event_type_name"] for each in types}


async def test_what_is_no_type_is_refused(stack: Stack, tmp_path: Path) -> None:
    """The refusal is one line that says what a type looks like."""
    space = await stack.api.make_space(TYPE)
    finished = await trigger(stack, space, "invoice", tmp_path)

    assert (2, "") == (finished.code, finished.out)
    assert "three parts, like billing.invoice.paid" in finished.err
