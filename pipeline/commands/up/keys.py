"""The keys of an installation: given in the environment, or made at the first start and kept."""

import base64
import secrets
from uuid import UUID, uuid4

from pipeline.commands.up.data_directory import DataDirectory
from pipeline.config import Settings
from pipeline.core.signing.sealing import KEY_BYTES
from pipeline.embedded.data_dir import write_private
from pipeline.sealing_keys import load_sealer
from pipeline.start_error import StartError


def provide_keys(settings: Settings, data: DataDirectory) -> dict[str, str]:
    """The settings that hand the keys to our processes. Raises `StartError`."""
    return _provide_sealing_key(settings, data) | {
        "HOOKLINE_GATEWAY_MASTER_API_KEY": _provide_master_key(settings, data)
    }


def _provide_sealing_key(settings: Settings, data: DataDirectory) -> dict[str, str]:
    given = settings.sealing
    if given.keys is None and given.key_file is None:
        file = data.sealing_key_file
        if not file.exists():
            _refuse_if_lost(data)
            key_id, key = secrets.token_hex(4), base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
            write_private(file, f"{key_id}:{key}\n")
        given = given.model_copy(update={"key_file": file})
    load_sealer(given)  # a malformed key is reported now, not by each process
    return {} if given.key_file is None else {"HOOKLINE_SEALING_KEY_FILE": str(given.key_file.absolute())}


def _refuse_if_lost(data: DataDirectory) -> None:
    if not data.is_new:
        raise StartError(
            f"{data.sealing_key_file} is missing, and the secrets in {data.root} cannot be opened without the key they "
            "were sealed with: put the file back, set HOOKLINE_SEALING_KEY_FILE or HOOKLINE_SEALING_KEYS as it was "
            "set before, or choose another data directory"
        )


def _provide_master_key(settings: Settings, data: DataDirectory) -> str:
    if settings.gateway.master_api_key is not None:
        return str(settings.gateway.master_api_key)
    file = data.master_key_file
    if not file.exists():
        write_private(file, f"{uuid4()}\n")
    try:
        return str(UUID(file.read_text().strip()))
    except ValueError as error:
        raise StartError(f"{file} does not hold a UUID: remove it, then a new master key is made") from error
