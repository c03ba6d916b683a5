"""The content types of payloads."""

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"
BINARY_TYPE = "application/octet-stream+base64"
CONTENT_TYPES = (JSON_TYPE, TEXT_TYPE, BINARY_TYPE)
