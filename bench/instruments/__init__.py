"""The generator and the receiver, each a process, and the messages between them and their parent."""
