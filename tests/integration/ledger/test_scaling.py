"""deliver 1 → 4 → 1 and matcher 1 → 3 → 1 under a steady load, in short; the long form is in tests/chaos."""

from pathlib import Path

from tests.support.scaling import scale_under_load


async def test_groups_grow_and_shrink_under_load(
    kafka: str, postgres: str, migrated_template: str, tmp_path: Path
) -> None:
    """Nothing is lost, no more is repeated than was open, and each change is a pause that ends."""
    pauses = await scale_under_load(
        kafka, postgres, migrated_template, tmp_path, rate_per_s=40, events_min=300, between_s=1.5
    )

    assert ["deliver 1 -> 4", "deliver 4 -> 1", "matcher 1 -> 3", "matcher 3 -> 1"] == [pause.name for pause in pauses]
