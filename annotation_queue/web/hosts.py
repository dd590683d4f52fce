"""By which names an app may be asked: the Host header, checked against a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from annotation_queue.json_values import check_texts
from annotation_queue.values import refuse
from annotation_queue.web.answers import json_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_NAME: Final = re.compile(r"(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]")
A_NAME: Final = "the name of a host without a port, such as labels.example.com"
"""What `check_hosts` wants, for messages."""


def check_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Accept the names of hosts.

    Args:
        hosts: Names or addresses without ports, those of IPv6 in brackets; ``*.`` in front stands for any name below.

    Returns:
        The names in lower case.

    Raises:
        InvalidValue: One is no such name.
    """
    names = tuple(each.lower() for each in check_texts("hosts", hosts))
    for index, name in enumerate(names):
        if not is_name(name):
            raise refuse(f"hosts[{index}]", name, A_NAME)
    return names


def is_name(text: str) -> bool:
    """Tell whether a text is a name that `check_hosts` accepts."""
    return _NAME.fullmatch(text.lower()) is not None


@attrs.frozen
class HostCheck:
    """Refuses requests under names that are not the app's: those to which a foreign page rebinds a name of its own.

    Args:
        app: What is asked under the right names.
        hosts: What `check_hosts` gave.
    """

    app: ASGIApp
    hosts: tuple[str, ...]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400."""
        if scope["type"] != "http" or self._knows([value for name, value in scope["headers"] if name == b"host"]):
            await self.app(scope, receive, send)
            return
        answer = json_answer({"reason": "this is not served under the name of that Host header"}, 400)
        await answer(scope, receive, send)

    def _knows(self, headers: list[bytes]) -> bool:
        return is_among(host_of([each.decode("latin-1") for each in headers]), self.hosts)


def host_of(headers: Sequence[str]) -> str:
    """Read the name out of a request's Host headers, in lower case and without the port; empty unless there is just one."""
    return re.sub(r":[0-9]*$", "", headers[0].strip().lower()) if len(headers) == 1 else ""


def is_among(name: str, hosts: Iterable[str]) -> bool:
    """Tell whether a name is one of some hosts, or below one with ``*.`` in front."""
    return any(name.endswith(known[1:]) if known.startswith("*.") else name == known for known in hosts)
