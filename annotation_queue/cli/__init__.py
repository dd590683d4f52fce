r"""The command line: results on standard output, words on standard error, exit codes for scripts.

- ``label ITEMS.jsonl --labeler MODULE:FUNCTION --annotator NAME``: adds the records that are new and labels them; ``--exec
  COMMAND``, several ``--annotator``, ``--workers``, ``--rate``, ``--timeout``, ``--max-failures``, ``--retry-failed``,
  ``--dry-run``, ``--export OUT``
- ``add ITEMS.jsonl``: adds the records that are new; ``--id-field``, ``--payload FIELD``, ``--on-bad-line skip``,
  ``--on-change stop``, ``--annotations-per-item N``
- ``items``: lists the items; ``--state``, ``--annotator``, ``--call-id`` …, ``--sort FIELD:desc``, ``--limit N``,
  ``--position``
- ``stats``: counts by state, as a whole and for each annotator
- ``agreement --field FIELD``: percent agreement, Cohen's and Fleiss' kappa, and the items on which annotators differ (extra
  ``agreement``)
- ``export [OUT]``: one line of JSON or CSV for each label or skip; ``--history``
- ``history ITEM_ID``: every change of an item's states
- ``claim --annotator NAME``: takes the next item and prints the claim; ``--limit N``, ``--lease SECONDS``, ``--wait``
- ``complete LABEL``, ``skip``, ``release``, ``heartbeat``: take such claims from standard input or ``--claim``
- ``remove ITEM_ID``, ``check``: take items out of the queue; look whether all is whole
- ``serve --token-file FILE``: serves the queues over HTTP, as Weave and EvalGuard have it; ``--port``, ``--rate-limit``
  (extra ``web``)
- ``completion bash``: what makes a shell complete all this; ``zsh`` and ``fish`` too

``--db`` or ``ANNOTATION_QUEUE_DB`` says where the queues are: an SQLite file, or ``postgresql://user@host/database`` (extra
``postgres``), with ``?schema=name`` behind it if that is not ``annotation_queue``: from as many machines at once as one likes.
A password is left to ``PGPASSWORD``, ``~/.pgpass`` or a service file. Each command's ``--help`` has examples.

**Input** is a file or standard input (``-``), gzipped or not, read in bounded memory: one JSON object on each line, whose
``id`` becomes the ``call_id`` and which is the payload itself. Unless bad lines are skipped, everything is checked before
anything is added; each bad line is named with its number. A record whose payload differs from the queue's is named;
``--on-change keep`` keeps the queue's, ``stop`` adds nothing. The ids ``1`` and ``"1"`` in one queue are an error.

**A labeler** is a Python function, or a coroutine function, that takes an item and returns its label, any JSON value. With
``--exec`` it is a program in any language, kept running, one process for each worker: it reads an item as a line of JSON
and answers with a line, the label; it logs to standard error. One that dies, hangs past ``--timeout`` or answers anything
else fails the attempt and is started again. ``{"$skip": "too short"}``, ``{"$error": "…"}`` and ``{"$retry_after": 30}``
are no labels but say what to do.

A program that prints one line too many would shift every label by one item. So each item carries a number, ``$item``, and
the safe answer is ``{"$item": N, "$label": LABEL}`` (``$item`` goes beside ``$skip``, ``$error`` and ``$retry_after`` too);
another number ends the run. A label without a number waits until the program has read the next item, or ended, and has
written nothing in between. Otherwise the run ends with exit code 1, names the labels in doubt and stores none of them. That
is proof for a program that reads an item when it is done with the one before; one that reads ahead, or a pipeline, should
send the number.

Items that failed are skipped, and the exit code is 1 until they have labels: ``--retry-failed`` tries them again.

**Several annotators** label the same queue at the same time, each every item:

```sh
annotation-queue label traces.jsonl.gz --db labels.db --workers 8 --rate 20 --timeout 60 \
    --annotator gpt-a --labeler judges:a --annotator gpt-b --labeler judges:b
annotation-queue agreement --field label --db labels.db
```

**In shell scripts** a claim is a line of JSON that one process prints and another hands in; the token in it keeps a holder
whose lease ran out from writing over the work of the next one:

```sh
export ANNOTATION_QUEUE_DB=labels.db
while claim=$(annotation-queue claim --annotator bob); do
    annotation-queue complete --text "$(./ask-bob "$claim")" --claim "$claim"
done
```

Results go to standard output, as JSON lines with ``--json``, all else to standard error. Exit codes: 0 all done, 1
something failed or nothing is left to claim, 2 wrong usage or bad input, 3 the storage failed, 4 others hold what is left,
130 interrupted.
"""

from annotation_queue.cli.app import run

__all__ = ["run"]
