"""Whether readers with one Avro schema can read what another one wrote. Pure."""

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import parse


def list_incompatibilities(*, reader: str, writer: str) -> list[str]:
    """The incompatibilities, a sentence each. Raises `ValueError` when one of them is no schema."""
    try:
        checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # it has types but here
        result = checker.get_compatibility(parse(reader), parse(writer))
    except AvroException as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    places = sorted(result.locations)
    return [f"{message} (at {', '.join(places)})" for message in sorted(result.messages)] or ["the schemas differ"]
