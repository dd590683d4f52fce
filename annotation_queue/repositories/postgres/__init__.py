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

Not with Citus. On a cluster of Citus 13.2 (a coordinator, two workers) the tables can be distributed by ``queue``, and most
statements run, if they are planned for their values. But it refuses those that find items by their ids (``item_ids`` is
distributed by the id), that lock items (claims, changes of several items, updates, purges), that follow the log and that
check; it refuses most of the others if they are planned once, as they are here; and the triggers that keep reservations do
not find their tables on the workers. Besides, the locks that keep a change of a queue's policies apart from claims are
advisory locks of the server that a client is connected to.

Worked sizing for 10^9 items, call and trace ids of 36 characters and payloads of 120 bytes: 40,000 such items measured 1.9
kB each (0.7 kB of rows, the rest indexes), and a claim and a completion of each added 1.3 kB (0.7 kB are the progress, two
transitions and their indexes; the rest is what updates leave in ``work``, which vacuuming gives free). With one annotation
an item that is 3.2 kB, so 3.2 TB in all, plus what payloads have beyond 120 bytes; with 64 hash partitions 50 GB each. What
workers touch is ``work``, its indexes and the newest ends of ``progresses`` and ``transitions``: below 2 kB for each item
under work.
"""

from annotation_queue.repositories.postgres.repository import PostgresRepository

__all__ = ["PostgresRepository"]
