import math

import annotated_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.config import PREFIX, ConfigError, Section, Settings, list_variables, load_settings

SECTIONS: dict[str, type[Section]] = {
    name: field.annotation  # type: ignore[misc]  # every field of Settings is a section, which a test below says
    for name, field in Settings.model_fields.items()
}
FIELDS = [(section, name, field) for section, model in SECTIONS.items() for name, field in model.model_fields.items()]
IDS = [f"{section}.{name}" for section, name, _ in FIELDS]


def name_variable(section: str, name: str) -> str:
    return f"{PREFIX}{section}_{name}".upper()


def list_bounds(field: FieldInfo) -> dict[str, float]:
    """`{"ge": 1, "le": 9}`: what the field's metadata says."""
    found: dict[str, float] = {}
    for each in field.metadata:
        for kind, attribute in ((annotated_types.Ge, "ge"), (annotated_types.Gt, "gt"), (annotated_types.Le, "le")):
            if isinstance(each, kind):
                found[attribute] = getattr(each, attribute)
    return found


def is_number(field: FieldInfo) -> bool:
    return field.annotation in (int, float)


def test_defaults_are_valid() -> None:
    """A process starts without any variable: on one machine, for trying."""
    assert Settings() == load_settings({})


def test_other_variables_are_none_of_our_business() -> None:
    """Only the prefix is ours."""
    assert Settings() == load_settings({"PATH": "/bin", "HOOKLINEX": "1", "hookline_kafka_partitions": "3"})


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=IDS)
def test_every_setting_is_described(section: str, name: str, field: FieldInfo) -> None:
    """`hookline settings` and the reference have a sentence for each."""
    assert field.description
    assert field.description == list_variables()[name_variable(section, name)]


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=IDS)
def test_every_number_has_bounds(section: str, name: str, field: FieldInfo) -> None:
    """A size of zero or a time of a million years is a typing mistake, told at the start."""
    if not is_number(field):
        return
    bounds = list_bounds(field)
    lowest = bounds.get("ge", bounds.get("gt"))
    assert lowest is not None, "no lower bound"
    below = lowest - 1 if "ge" in bounds else lowest

    with pytest.raises(ConfigError, match=name_variable(section, name)):
        load_settings({name_variable(section, name): f"{below:g}"})
    if "le" in bounds:
        with pytest.raises(ConfigError, match=name_variable(section, name)):
            load_settings({name_variable(section, name): f"{bounds['le'] + 1:.0f}"})


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=IDS)
def test_every_number_may_stand_at_its_bounds(section: str, name: str, field: FieldInfo) -> None:
    """Bounds are inclusive where they say so."""
    bounds = list_bounds(field) if is_number(field) else {}
    for kind in ("ge", "le"):
        if kind in bounds:
            loaded = load_settings({name_variable(section, name): f"{bounds[kind]:.0f}"})

            assert bounds[kind] == getattr(getattr(loaded, section), name)


@pytest.mark.parametrize(("section", "name", "field"), FIELDS, ids=IDS)
def test_numbers_say_their_unit(section: str, name: str, field: FieldInfo) -> None:
    """A number that is no count says in its name what it is counted in."""
    if field.annotation is float:
        assert name.endswith(("_s", "_share", "_ratio"))
    if field.annotation is int and "bytes" in (field.description or ""):
        assert name.endswith("_bytes")


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "", "many", "1e400"])
def test_what_is_no_number_is_refused(value: str) -> None:
    """Numbers that every float parser takes are refused, too."""
    with pytest.raises(ConfigError, match="HOOKLINE_DATABASE_CONNECT_TIMEOUT_S"):
        load_settings({"HOOKLINE_DATABASE_CONNECT_TIMEOUT_S": value})


def test_no_time_may_be_infinite() -> None:
    """A bound that is infinite is none."""
    unbounded = []
    for section, name, field in FIELDS:
        if field.annotation is float:
            try:
                loaded = load_settings({name_variable(section, name): "inf"})
            except ConfigError:
                continue
            unbounded.append((section, name, math.isinf(getattr(getattr(loaded, section), name))))

    assert [] == unbounded


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("HOOKLINE_KAFKA_PARTITION", "HOOKLINE_KAFKA_PARTITIONS"),
        ("HOOKLINE_DATABASE_URL", "HOOKLINE_DATABASE_WRITE_URL"),
        ("HOOKLINE_GATEWAY_PROT", "HOOKLINE_GATEWAY_PORT"),
        ("HOOKLINE_WORKER_BATCHSIZE", "HOOKLINE_WORKER_BATCH_SIZE"),
    ],
)
def test_an_unknown_variable_names_the_nearest(unknown: str, nearest: str) -> None:
    """A typing mistake does not silently leave a default in force."""
    with pytest.raises(ConfigError, match=f"{unknown} is not a setting: did you mean {nearest}"):
        load_settings({unknown: "1"})


def test_a_variable_that_is_near_to_nothing_says_where_to_look() -> None:
    """The message always names a next step."""
    with pytest.raises(ConfigError, match="`hookline settings` lists"):
        load_settings({"HOOKLINE_COLOUR_OF_THE_LOGO": "1"})


def test_all_mistakes_are_told_at_once() -> None:
    """One start reports all five mistakes."""
    with pytest.raises(ConfigError) as caught:
        load_settings({"HOOKLINE_KAFKA_PARTITIONS": "0", "HOOKLINE_GATEWAY_PORT": "70000"})

    assert "HOOKLINE_KAFKA_PARTITIONS" in str(caught.value)
    assert "HOOKLINE_GATEWAY_PORT" in str(caught.value)


def test_secrets_are_not_shown() -> None:
    """Neither by an error nor by printing the settings."""
    settings = load_settings(
        {"HOOKLINE_KAFKA_PASSWORD": "hush", "HOOKLINE_DATABASE_WRITE_URL": "postgresql://u:hush@h/d"}
    )

    assert "hush" not in repr(settings)
    assert "hush" not in str(settings.model_dump())
    with pytest.raises(ConfigError) as caught:
        load_settings({"HOOKLINE_GATEWAY_MASTER_API_KEY": "hush"})
    assert "hush" not in str(caught.value)


def test_lists_are_separated_by_spaces() -> None:
    """The descriptions of settings say so."""
    settings = load_settings(
        {
            "HOOKLINE_DATABASE_READ_URLS": "postgresql://a  postgresql://b",
            "HOOKLINE_DELIVER_SIGNATURE_VERSIONS": "v0 v1",
        }
    )

    assert (SecretStr("postgresql://a"), SecretStr("postgresql://b")) == settings.database.read_urls
    assert ("v0", "v1") == settings.deliver.signature_versions


def test_settings_do_not_change() -> None:
    """Settings are read once, and handed down."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().kafka.partitions = 3  # type: ignore[misc]  # that it is refused is what is tested


@given(st.text(min_size=1))
def test_an_unknown_variable_is_always_an_error(suffix: str) -> None:
    """The rest of the name does not matter."""
    variable = PREFIX + suffix
    if variable in list_variables():
        return

    with pytest.raises(ConfigError):
        load_settings({variable: "1"})
