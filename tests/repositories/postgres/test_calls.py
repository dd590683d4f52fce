"""The k-th statement fails: what is stored is what was there before or what is there after, and the repository goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from annotation_queue import OutcomeUnknown, StorageError, StorageFull
from annotation_queue.repositories.postgres.statements import SQL
from helpers.faults import BULK, NIGHTLY, OPERATIONS, service, set_up
from helpers.postgres_faults import BREAKS, HOW, Contents, StatementFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annotation_queue.repositories.postgres import PostgresRepository
    from helpers.clocks import Clock
    from helpers.faults import Scene
    from helpers.postgres import Database

MOST_STATEMENTS = 200
MUTATIONS = {**OPERATIONS, **BULK}
BY_THEMSELVES = {
    SQL[name] for name in ("store", "store_one", "claim_untouched", "claim_one_untouched", "claim_one_from_mark")
}
"""The statements that write and are transactions by themselves."""
ALWAYS = ("cut before", "cut after")
OTHERS = tuple(how for how in HOW if how not in ALWAYS)
CASES = [
    (name, how)
    for number, name in enumerate(MUTATIONS)
    # In the short form each mutation fails in one of the other ways too.
    for how in (*ALWAYS, *(OTHERS if NIGHTLY else [OTHERS[number % len(OTHERS)]]))
]


@pytest.fixture
def template(make_repository: Callable[..., PostgresRepository], clock: Clock) -> Iterator[tuple[str, Scene, Contents]]:
    """A schema with a scene in it, the scene, and what the schema holds; Bob's lease has run out."""
    with make_repository() as repository:
        scene = set_up(service(repository, clock, "scene"), needed=2)
        schema = repository._connections.schema
    clock.move(61)
    contents = Contents(repository._connections._conninfo, schema)
    contents.keep()
    yield schema, scene, contents
    contents.close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), CASES)
def test_when_the_kth_statement_of_a_mutation_fails_it_took_effect_whole_or_not_at_all(  # noqa: PLR0917 - pytest gives them by name
    database: Database,
    template: tuple[str, Scene, Contents],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    how: str,
) -> None:
    schema, scene, contents = template
    fault = StatementFault(database.dsn, how)
    fault.patch(monkeypatch)
    before = contents.rows()
    after: list[str] = []
    unknown = replaced = begun = 0
    for k in range(MOST_STATEMENTS):
        contents.put_back()
        with database.repository(schema, max_connections=2) as repository:
            queues = service(repository, clock, "new")
            fault.set_to(k)
            failed: BaseException | None = None
            try:
                MUTATIONS[name](queues, scene)
            except (StorageError, KeyboardInterrupt) as error:
                failed = error
            struck = fault.statement
            fault.set_to(0)
            stored = contents.rows()
            if k == 0:
                after = stored
                assert after != before
            assert stored in (before, after)
            begun += struck.startswith("BEGIN")
            if struck.startswith("BEGIN") and how in BREAKS:
                # Nothing was done yet: another connection is taken, and nobody notices.
                replaced += 1
                assert (failed, stored) == (None, after)
            else:
                assert (failed is not None) == bool(struck)
            if isinstance(failed, OutcomeUnknown):
                unknown += 1
                assert struck == "COMMIT" or struck in BY_THEMSELVES
            elif isinstance(failed, StorageError):
                assert "nothing was written" in str(failed)
                assert stored == before
                assert isinstance(failed, StorageFull) == (how == "refused")
            # The same repository goes on: what is not there yet can be done again.
            if stored == before:
                MUTATIONS[name](service(repository, clock, "new"), scene)
                assert contents.rows() == after
            elif not k or failed is not None:
                # Rows like these were found to be whole before, unless they are new.
                assert repository.check() == ()
        if k and not struck:
            break
    assert k >= 3
    assert (replaced > 0) == (how in BREAKS and begun > 0)
    # Only the commit of what was written, or what is a transaction by itself, leaves it open whether it took effect.
    assert unknown == (how in BREAKS)
