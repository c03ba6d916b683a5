"""The adapters to Kafka, and the only importer of confluent_kafka."""
