"""Prints an environment file with fresh secrets for docker-compose.yml: `python3 ops/compose/new_env.py > .env`.

Needs nothing but Python. Keep the file: without the sealing key the secrets in PostgreSQL and Kafka cannot be opened.
"""

import base64
import secrets
import sys
import uuid


def make_environment() -> dict[str, str]:
    """Every variable that docker-compose.yml demands, with a secret of its own."""
    sealing_key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        # letters and digits only: it becomes part of a URL
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "HOOKLINE_SEALING_KEYS": f"first:{sealing_key}",
        "HOOKLINE_GATEWAY_MASTER_API_KEY": str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)),
        "GRAFANA_ADMIN_PASSWORD": secrets.token_hex(16),
        "GRAFANA_DATABASE_PASSWORD": secrets.token_hex(16),
    }


def main() -> None:
    """Write the file to standard output."""
    sys.stdout.writelines(f"{name}={value}\n" for name, value in make_environment().items())


if __name__ == "__main__":
    main()
