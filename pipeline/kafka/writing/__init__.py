"""The parts of `LogProducer`: the clients, the records given to them, the pace of its steps."""
