"""Where the queues are, as ``--db`` takes it; a password in it is shown to nobody."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from click.core import ParameterSource

from annotation_queue.errors import InvalidValue
from annotation_queue.repositories import addresses
from annotation_queue.repositories.opening import MEMORY, file_of, open_repository

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from annotation_queue.repository import Repository

    _Type = click.ParamType["Address"]
else:
    _Type = click.ParamType  # generic in newer versions only

_SILENT: Final = logging.NullHandler()
_EXTRA: Final = {"psycopg", "psycopg_pool"}
_WORDS: Final = re.compile(r"(^|\s)(host|hostaddr|port|dbname|user|password|service)\s*=")
"""How libpq takes an address otherwise. It is no file's name, and what is missing is named whole in messages."""


@attrs.frozen
class Address:
    """Where the queues are.

    Args:
        text: The address, as `open_repository` takes it.
        path: The SQLite file; None if it is no file.
    """

    text: str = attrs.field(repr=False)
    path: Path | None

    @property
    def shown(self) -> str:
        """What messages call it: all but a password."""
        return addresses.Address.of(self.text).shown if self.text.startswith(addresses.POSTGRES) else self.text

    @property
    def has_password(self) -> bool:
        """Whether there is a password in it."""
        return self.text.startswith(addresses.POSTGRES) and addresses.Address.of(self.text).has_password

    def absolute(self) -> Address:
        """Give the same one, whatever directory the process goes to."""
        return self if self.path is None else Address(self.text, self.path.absolute())

    def open(self, synchronous: str, *, create: bool = False) -> Repository:
        """Open the storage; the one place where the command line does.

        Args:
            synchronous: How safe an SQLite file is.
            create: Whether a server's schema is made where it is missing; `common.check_file` looks for files.

        Raises:
            ClickException: An extra is missing.
        """
        try:
            if self.path is not None:
                return open_repository(self.path, synchronous=synchronous)
            # It would write into the line that shows how far one is; what goes wrong is told by errors.
            logging.getLogger("psycopg.pool").addHandler(_SILENT)
            # What is in memory is always made.
            return open_repository(self.text, **({} if self.text == MEMORY else {"create": create}))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _EXTRA:
                raise
            raise click.ClickException(
                'PostgreSQL needs an extra: pip install "annotation-queue[cli,postgres]"'
            ) from error


class AddressType(_Type):
    """An option that takes an address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:  # noqa: ANN401 - as click
        """Read the address; a password is refused where everybody on the machine can read it."""
        text = str(value)
        try:
            path = None if text == MEMORY or text.startswith(addresses.POSTGRES) else Path(file_of(text))
        except InvalidValue as error:
            self.fail(f"expected {error.expected}", param, ctx)
        if path is not None and _WORDS.search(text) and not path.exists():
            self.fail("expected a file, or a server as postgresql://user@host/database instead of in words", param, ctx)
        address = Address(text, path)
        name = None if param is None else param.name
        source = None if ctx is None or name is None else ctx.get_parameter_source(name)
        if address.has_password and source is ParameterSource.COMMANDLINE:
            self.fail(
                "a password on the command line is shown to everybody on this machine (ps); leave it out, and set PGPASSWORD, "
                "write it to ~/.pgpass or a service file, or set ANNOTATION_QUEUE_DB to the whole address",
                param,
                ctx,
            )
        return address

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Complete the names of files."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only where it is asked for

        del ctx, param  # it is the same everywhere
        return [CompletionItem(incomplete, type="file")]
