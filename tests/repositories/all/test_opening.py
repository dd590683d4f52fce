"""`open_repository`: one function for every storage that has an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from annotation_queue import InvalidValue, MemoryRepository, SQLiteRepository, open_repository
from annotation_queue.repositories.opening import _without_schema

if TYPE_CHECKING:
    from pathlib import Path


def test_memory_is_opened_by_its_name() -> None:
    with open_repository("memory:") as repository:
        assert isinstance(repository, MemoryRepository)


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_file_is_opened_by_its_path_with_its_options(tmp_path: Path, form: str) -> None:
    path = tmp_path / "labels.db"
    with open_repository(form.format(path), synchronous="NORMAL") as repository:
        assert isinstance(repository, SQLiteRepository)
    with open_repository(path):
        assert path.is_file()


def test_a_relative_path_follows_three_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_repository("sqlite:///labels.db").close()
    assert (tmp_path / "labels.db").is_file()


@pytest.mark.parametrize("address", ["mysql://me:secret@host/db", "sqlite://labels.db", "sqlite:///", ""])
def test_another_address_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(InvalidValue, match="address") as caught:
        open_repository(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", [3, None, b"labels.db"])
def test_what_is_no_address_is_refused(address: Any) -> None:  # noqa: ANN401 - anything
    with pytest.raises(InvalidValue, match="address"):
        open_repository(address)


def test_an_option_that_the_storage_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="synchronous"):
        open_repository("memory:", synchronous="FULL")
    with pytest.raises(TypeError, match="schema"):
        open_repository(tmp_path / "labels.db", schema="labels")


@pytest.mark.parametrize(
    ("address", "conninfo", "schema"),
    [
        ("postgresql://me@host/db", "postgresql://me@host/db", {}),
        ("postgresql://host/db?schema=my%20labels", "postgresql://host/db", {"schema": "my labels"}),
        ("postgresql://me:Q?uest@host/db?schema=a", "postgresql://me:Q?uest@host/db", {"schema": "a"}),
        ("postgres:///?service=x&schema=a&user=me", "postgres:///?service=x&user=me", {"schema": "a"}),
    ],
)
def test_the_schema_is_taken_out_of_what_libpq_reads(address: str, conninfo: str, schema: dict[str, str]) -> None:
    assert _without_schema(address) == (conninfo, schema)


def test_two_schemas_are_refused() -> None:
    with pytest.raises(InvalidValue, match="2 schemas"):
        open_repository("postgresql://host/db?schema=a&schema=b")
