"""The text beside a commit: the topic's id, the reader's own note, and an end.

librdkafka 2.16 copies such a text without its length, and confluent-kafka reads on until a zero byte: what lies behind
it in memory comes back with it. The end tells the two apart. Bytes that are no UTF-8 there raise `UnicodeDecodeError`
when the text is read; the next answer lies elsewhere in memory.
"""

from confluent_kafka import TopicPartition

MARK = "|"  # between the topic's id and the note
END = "!"


def join_note(topic_id: str | None, note: str) -> str:
    """A commit's metadata."""
    if topic_id is None:
        return f"{note}{END}" if note else ""
    return f"{topic_id}{MARK}{note}{END}"


def split_note(metadata: str | None) -> tuple[str | None, str]:
    """The topic's id, None if a process committed that did not know it, and the reader's own note."""
    text, _, _ = (metadata or "").partition(END)
    before, mark, after = text.partition(MARK)
    return (before, after) if mark else (None, before)


def is_readable(part: TopicPartition) -> bool:
    """Can the metadata of this answer be read?"""
    try:
        _ = part.metadata
    except UnicodeDecodeError:
        return False
    return True
