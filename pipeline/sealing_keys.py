"""The sealing keys of this process: from a file or from the environment."""

from pipeline.config import SealingConfig
from pipeline.core.signing.sealing import Sealed, Sealer, SealingError, parse_keys
from pipeline.start_error import StartError


def load_sealer(config: SealingConfig) -> Sealer:
    """Build the sealer. Raises `StartError` when there is no key or it is malformed."""
    try:
        if config.keys is not None:
            return Sealer(parse_keys(config.keys.get_secret_value()), seal_with=config.seal_with)
        if config.key_file is not None:
            return Sealer(parse_keys(config.key_file.read_text()), seal_with=config.seal_with)
        return Sealer([])
    except OSError as error:
        raise StartError(
            f"cannot read the sealing keys from {config.key_file}: {error.strerror}; "
            "HOOKLINE_SEALING_KEY_FILE must name a file that this process may read"
        ) from error
    except SealingError as error:
        raise StartError(str(error)) from error


def find_problem(sealer: Sealer, key_id: str, sealed: bytes, context: str) -> str | None:
    """Why a secret cannot be opened; None: it can."""
    try:
        sealer.unseal(Sealed(key_id=key_id, sealed=sealed), context=context)
    except SealingError as error:
        return str(error)
    return None
