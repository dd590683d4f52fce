"""Arrays of texts as they go to the server: it reads what was given, whatever the texts hold."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import psycopg
import pytest

from annotation_queue.repositories.postgres.rows import texts

if TYPE_CHECKING:
    from helpers.postgres import Database

STRANGE = ["".join(text) for text in product('"\\,{} \nN\x01ü', repeat=3)]


@pytest.mark.parametrize(
    "values",
    [[], [""], [None], ["NULL", "null", None], ["", None, ""], STRANGE, [*STRANGE, None]],
    ids=["none", "empty", "absent", "null", "some absent", "strange", "strange and absent"],
)
def test_the_server_reads_the_texts_that_were_given(database: Database, values: list[str | None]) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        assert connection.execute("SELECT %s::text[]", (texts(values),)).fetchone() == (values,)
