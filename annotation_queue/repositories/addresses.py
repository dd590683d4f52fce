"""An address of a PostgreSQL server as libpq reads it, in parts; nobody is shown a password that may be in it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

POSTGRES: Final = ("postgresql://", "postgres://")
_SECRET: Final = {"password", "sslpassword"}
_SHOWN: Final = {"dbname", "host", "hostaddr", "port", "schema", "service", "user"}
"""Parameters that say where something is."""
_PASSWORD: Final = re.compile("[:?]")
"""Behind the user there is a password, or what libpq takes for a part of a name: one that was not written as it has to be."""


class Address(NamedTuple):
    """What stands where in an address.

    Args:
        scheme: What it begins with.
        credentials: Who, and perhaps the password: up to the last ``@`` before the first ``/``, whatever else is in it. libpq
            wants the first ``@`` to be the last.
        place: The hosts with their ports, and the database.
        query: The parameters, as they are written.
    """

    scheme: str
    credentials: str
    place: str
    query: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Take an address apart."""
        scheme, _, rest = text.partition("://")
        credentials = rest.partition("/")[0].rpartition("@")[0]
        place, _, query = rest.removeprefix(credentials).partition("?")
        return cls(f"{scheme}://", credentials, place.removeprefix("@"), query)

    @property
    def parameters(self) -> list[str]:
        """The parameters one by one."""
        return [each for each in self.query.split("&") if each]

    @property
    def is_readable(self) -> bool:
        """Whether no part of a password can be taken for another part of the address; libpq may still not read it."""
        keys = "".join(each.partition("=")[0] for each in self.parameters)
        return "@" not in self.credentials + self.place + keys

    @property
    def has_password(self) -> bool:
        """Whether there is a password in it, or what may be a part of one."""
        keys = {_key(each) for each in self.parameters}
        return bool(_PASSWORD.search(self.credentials)) or not self.is_readable or not keys.isdisjoint(_SECRET)

    @property
    def shown(self) -> str:
        """What messages call it."""
        if not self.is_readable or "@" in self.query:
            return f"{self.scheme}***"
        query = "&".join(each for each in self.parameters if _key(each) in _SHOWN)
        return self._replace(credentials=_PASSWORD.split(self.credentials)[0], query=query).text

    @property
    def text(self) -> str:
        """The address as a whole."""
        credentials, query = self.credentials and f"{self.credentials}@", self.query and f"?{self.query}"
        return f"{self.scheme}{credentials}{self.place}{query}"


def _key(parameter: str) -> str:
    return unquote(parameter.partition("=")[0])
