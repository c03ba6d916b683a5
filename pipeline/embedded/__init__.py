"""Apache Kafka and PostgreSQL started from packages: for `hookline up` and the tests, not for production."""
