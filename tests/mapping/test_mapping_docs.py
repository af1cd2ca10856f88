"""The page says what the code does."""

from mapping_docs import PAGE, TABLES, filled

from otel_sgp_exporter._mapping import _explicit as explicit


def test_the_tables_of_the_page_are_the_tables_in_the_code() -> None:
    """After a change of a table: `python tests/mapping/mapping_docs.py`."""
    page = PAGE.read_text()
    assert page == filled(page)
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)


def test_the_page_names_every_override() -> None:
    page = PAGE.read_text()
    keys = [value for value in vars(explicit).values() if isinstance(value, str) and value.startswith("sgp.")]
    assert keys
    assert [key for key in (*keys, *explicit.APPLICATION) if f"`{key}" not in page] == []
