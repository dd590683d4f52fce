"""Exports have the same bytes on PostgreSQL as anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings

from helpers.exported import LABELLED, Labelled, check_export

if TYPE_CHECKING:
    from pathlib import Path

    from annotation_queue.repositories.postgres import PostgresRepository


# What an example leaves behind is in a queue of its own.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labelled=LABELLED)
def test_an_export_has_the_bytes_that_the_encoder_writes_of_the_labels(
    repository: PostgresRepository, tmp_path: Path, labelled: list[Labelled]
) -> None:
    check_export(repository, labelled, tmp_path / "out")
