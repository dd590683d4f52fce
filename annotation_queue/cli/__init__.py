"""The command line: results on standard output, words on standard error, exit codes for scripts."""

from annotation_queue.cli.app import run

__all__ = ["run"]
