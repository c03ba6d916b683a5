"""Public facts about an instance."""

import pytest

from tests.support.stack import KEYS, MASTER_KEY, Stack

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_every_setting_is_listed_and_none_is_told(stack: Stack) -> None:
    """Names, meanings and defaults, without a token; neither what is set here nor a secret's default is shown."""
    reply = await stack.api.call("GET", "/environment_variables", headers={})
    by_variable = {variable["env_var"]: variable for variable in reply.json}

    assert 200 == reply.status
    assert {
        "name": "gateway_port",
        "env_var": "HOOKLINE_GATEWAY_PORT",
        "description": by_variable["HOOKLINE_GATEWAY_PORT"]["description"],
        "default": "8080",
        "sensitive": False,
        "required": False,
        "group": by_variable["HOOKLINE_GATEWAY_HOST"]["group"],
    } == by_variable["HOOKLINE_GATEWAY_PORT"]
    for secret in ("HOOKLINE_GATEWAY_MASTER_API_KEY", "HOOKLINE_SEALING_KEYS", "HOOKLINE_DATABASE_WRITE_URL"):
        assert (None, True) == (by_variable[secret]["default"], by_variable[secret]["sensitive"])
    for told in (MASTER_KEY, KEYS, stack.database_url):
        assert told not in reply.text
