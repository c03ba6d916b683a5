"""What `LogProducer` is made of: the clients, the records given to them, the pace of its steps."""
