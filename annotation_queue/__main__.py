"""Where ``annotation-queue`` and ``python -m annotation_queue`` start."""

from __future__ import annotations

import sys

_NEEDED = {"click", "rich"}


def main() -> None:
    """Run the command line, or say which extra it needs."""
    try:
        from annotation_queue.cli import run  # noqa: PLC0415 - optional
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write('annotation-queue: the command line needs an extra: pip install "annotation-queue[cli]"\n')
        sys.exit(2)
    except KeyboardInterrupt:  # before there is a command that could say so
        sys.exit(130)
    sys.exit(run())


if __name__ == "__main__":
    main()
