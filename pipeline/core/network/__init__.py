"""URLs, addresses and ports: where a request comes from, and where one may go."""
