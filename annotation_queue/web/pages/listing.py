"""The list of a queue's items as an address says it: filter, sort and page, and back into addresses."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import attrs

from annotation_queue.query import ItemFilter, ItemQuery
from annotation_queue.sorting import SortBy
from annotation_queue.states import AnnotationState
from annotation_queue.web.pages.visits import Visit, form_of
from annotation_queue.web.requests import Denied

PAGE: Final = 50
"""Items of a page."""
COLUMNS: Final = (
    ("call_id", "Item"),
    ("call_op_name", "Operation"),
    ("annotation_state", "State"),
    ("annotator_user_id", "Annotator"),
    ("priority", "Priority"),
    ("created_at", "Added"),
    ("updated_at", "Changed"),
)
"""The fields that the list shows and sorts by, each with its heading."""
_TEXTS: Final = ("call_id", "call_op_name", "assignee")


@attrs.frozen(kw_only=True)
class Listing:
    """Which items a page of the list shows.

    Args:
        states: The states that are shown; empty for all.
        finished: ``yes``, ``no`` or empty for either.
        texts: The texts that a field has to equal, by field.
        annotator: Whose perspective; empty for the aggregate view.
        sort: A field, with ``-`` before it for the other direction; empty for queue order.
        page: The page, from 1.
    """

    states: tuple[AnnotationState, ...] = ()
    finished: str = ""
    texts: dict[str, str] = attrs.field(factory=dict)
    annotator: str = ""
    sort: str = ""
    page: int = 1

    @classmethod
    def of(cls, given: dict[str, Any]) -> Listing:
        """Read it from the fields of an address; what is none of its values is left out."""

        def text(name: str) -> str:
            value = given.get(name, "")
            return value if isinstance(value, str) else ""

        states = given.get("state", [])
        wanted = [states] if isinstance(states, str) else states
        page = text("page")
        return cls(
            states=tuple(state for state in AnnotationState if state in wanted),
            finished=text("finished") if text("finished") in {"yes", "no"} else "",
            texts={name: text(name) for name in _TEXTS if text(name)},
            annotator=text("annotator"),
            sort=text("sort") if text("sort").removeprefix("-") in dict(COLUMNS) else "",
            page=int(page) if page.isascii() and page.isdecimal() and len(page) < 10 and int(page) else 1,  # noqa: PLR2004 - digits
        )

    @property
    def filter(self) -> ItemFilter:
        """What is shown."""
        return ItemFilter(
            annotation_states=frozenset(self.states) or None,
            finished={"yes": True, "no": False}.get(self.finished),
            call_id=self.texts.get("call_id"),
            call_op_name=self.texts.get("call_op_name"),
            assignee=self.texts.get("assignee"),
        )

    @property
    def query(self) -> ItemQuery:
        """The query of the page."""
        field, descending = self.sort.removeprefix("-"), self.sort.startswith("-")
        return ItemQuery(
            filter=self.filter,
            sort_by=(SortBy(field, "desc" if descending else "asc"),) if field else (),
            limit=PAGE,
            offset=(self.page - 1) * PAGE,
            include_position=True,
            include_total=True,
            include_payload=False,
            annotator_id=self.annotator or None,
        )

    def address(self, **changes: Any) -> str:  # noqa: ANN401 - of its fields
        """Write it as the query of an address, with some of it changed."""
        it = attrs.evolve(self, **changes)
        fields: list[tuple[str, str | int]] = [("state", state) for state in it.states]
        fields += [(name, value) for name, value in it.texts.items()]
        more = (("finished", it.finished), ("annotator", it.annotator), ("sort", it.sort))
        fields += [(name, value) for name, value in more if value]
        return urlencode([*fields, *([("page", it.page)] if it.page > 1 else [])])

    def sorted_by(self, field: str) -> str:
        """Write the address that sorts by a field: upwards, then downwards, then in queue order."""
        following = {field: f"-{field}", f"-{field}": ""}.get(self.sort, field)
        return self.address(sort=following, page=1)

    def direction_of(self, field: str) -> str:
        """Say how the list is sorted by a field, in the words of ``aria-sort``."""
        return {field: "ascending", f"-{field}": "descending"}.get(self.sort, "none")


def listing_behind(visit: Visit) -> Listing:
    """Read which list a form was sent from."""
    text = visit.text("list")
    if not text.isascii():
        raise Denied(400, "list: expected the query of an address")
    return Listing.of(form_of(text.encode()))
