"""Faust's tables, of which the matcher has none: its start need not wait for them."""

from faust.tables.manager import TableManager


class NoTables(TableManager):
    """Starts at once. Faust's own first sleeps for a second, in which nothing is read."""

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
