"""Avro, and nothing but Avro: every record that crosses a topic, encoded and decoded.

A schema lives in `<record>/v<N>.avsc` with examples beside it. Knows neither Kafka nor the domain's classes.
"""

from schemas.codec import NAMES, SchemaError, compile_encoder, decode, encode, list_headers, list_versions

__all__ = ["NAMES", "SchemaError", "compile_encoder", "decode", "encode", "list_headers", "list_versions"]
