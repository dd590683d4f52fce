"""What the library costs, beside what a user would pick instead: ``python -m benchmarks [QUESTION ...] [--quick]``.

One module for each question (`claims`, `adding`, `pages`, `orders`, `stats`, `batch`, `sizes`, `imports`, `contention`,
`postgres`), each with one function ``measure(run)``. The contestants stand in `benchmarks.contestants`; each of them first
answers a small or the very same question right, compared with a plain-Python oracle, and is timed only then. A wrong answer
ends the run.

How it is timed. Every contestant runs a lap in each round, the order rotates from round to round, and what is compared are
the medians of the rounds: a busy machine slows all of them alike, so that ratios hold where absolute figures do not. The
harness is a plain `time.perf_counter`: pyperf and pytest-benchmark run one benchmark to its end before the next begins, and a
repository that took minutes to fill would have to be filled again in each of pyperf's processes.

Timed are whole calls of `AnnotationQueues`, never what is below it. Filling is not timed; it happens once for each size and is
copied from there.

What the grid is. Sizes are 1,000, 10,000, 100,000 and 1,000,000 items, up to ``--largest``; ``--quick`` takes 1,000 and 3,000.
A line that asks for a size that was not run is judged at the largest one that was, and the report says so.

The contestants are the dependency group ``bench``; the package itself needs none of them.

`results` keeps the last full run, out of which ``python -m benchmarks.tables`` writes the tables of ``benchmarks/README.md``.
"""
