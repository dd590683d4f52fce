"""Items in PostgreSQL (extra ``postgres``).

Everything lives in that schema, which is made when missing; nothing outside it is touched, and nothing is set for longer
than a transaction on a connection that others may use next. Behind PgBouncer in transaction mode say
``prepare_threshold=None``, unless it is 1.22 or newer with ``max_prepared_statements`` above 0 and the client's libpq 17 or
newer. A backend that has a ``psycopg_pool.ConnectionPool`` passes it as ``pool=``; `PostgresRepository.within` joins a
transaction of the backend's. A connection that is lost during a commit, or during a statement that is a transaction by
itself, raises `OutcomeUnknown`. Make the queue again with the same ``queue_id=``, claim again with ``resume=True``, and
repeat anything else as its docstring says.

`PostgresRepository.purge` erases ids of 255 characters and more with the last thing in their queue that has them; whom a queue
has counted it goes on to name. Dead rows are overwritten when the server vacuums.

**Past one server.** Every key of every table that grows begins with the queue's number (``item_ids``, which makes item ids
unique, is keyed by the id alone; ``queues`` is small). So the tables can be hash-partitioned by ``queue``, without a change
of code: the tests run a history on tables in four hash partitions. Or each project gets a database of its own. One queue's
items are one partition.

**On a cluster of Citus** each schema is on one node: `distribute` puts it there, with all of its tables, and says which node
that is; so a backend that gives each project a schema of its own has as many servers as it likes. Repositories connect to that
node, not to the coordinator: elsewhere Citus would run a part of a statement where the client is connected and the rest where
the tables are, so that the advisory locks of two servers kept nobody out, and the log mixed the numbers of two servers'
transactions. So a schema that is distributed refuses to be opened anywhere else, with an error that names its node; and who is
connected when it is distributed, or moved to another node, is refused by their next write. Two coordinators never meet in a
schema. One schema does not grow past one node, and one that is distributed is not migrated: a later version of the schema would
be another schema, filled anew. It is slow: Citus plans every statement anew, no claim is made by one statement, and changes are
stored a table at a time. A claim with its completion took 9 to 11 times as long as in a schema of the same cluster that is not
distributed (medians of 400, in turns, measured twice), and 11 times the processor time of the server. Nor does the server look
at its tables when many items were added, before it does so by itself. Behind ``within`` a connection goes to that node, too.

The tests run the contract's suite, a history of 10,000 calls, and processes that are killed, on a cluster that
``ANNOTATION_QUEUE_TEST_CITUS_DSN`` names. On Citus 13.2 for PostgreSQL 15, with a coordinator and two workers, all of that was
run and passed, 1,038 tests in one process.

Worked sizing for 10^9 items, call and trace ids of 36 characters and payloads of 120 bytes: 40,000 such items measured 1.9
kB each (0.7 kB of rows, the rest indexes), and a claim and a completion of each added 1.3 kB (0.7 kB are the progress, two
transitions and their indexes; the rest is what updates leave in ``work``, which vacuuming gives free). With one annotation
an item that is 3.2 kB, so 3.2 TB in all, plus what payloads have beyond 120 bytes; with 64 hash partitions 50 GB each. What
workers touch is ``work``, its indexes and the newest ends of ``progresses`` and ``transitions``: below 2 kB for each item
under work.
"""

from annotation_queue.repositories.postgres.distribution import Distribution, distribute
from annotation_queue.repositories.postgres.repository import PostgresRepository

__all__ = ["Distribution", "PostgresRepository", "distribute"]
