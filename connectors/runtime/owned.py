"""The partitions that this process owns, each with its watermark. Who gives and takes them lives in `assignment`."""

from collections.abc import Iterator, Sequence

from connectors.runtime.partition import Partition
from connectors.sink import Place


class Owned:
    """The partitions that this process owns, by place."""

    def __init__(self) -> None:
        self._partitions: dict[Place, Partition] = {}
        # asked once per record read: the dictionary's own method, without a call of ours around it
        self.find = self._partitions.get

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._partitions.values())

    def choose(self, places: Sequence[Place]) -> list[Partition]:
        """The partitions at these places that this process owns."""
        return [self._partitions[place] for place in places if place in self._partitions]

    def set(self, partition: Partition) -> None:
        """Own this partition. It replaces an earlier one of the same topic and number."""
        self._partitions[partition.place] = partition

    def remove(self, partition: Partition) -> bool:
        """Give up the partition. False: it was replaced meanwhile, and its replacement stays."""
        partition.is_ours = False
        if self._partitions.get(partition.place) is not partition:
            return False
        del self._partitions[partition.place]
        return True

    def is_settled(self, place: Place, offset: int) -> bool:
        """Is the record at this place and offset settled?"""
        partition = self._partitions.get(place)
        return partition is not None and partition.mark.is_settled(offset)
