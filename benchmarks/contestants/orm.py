"""SQLAlchemy's ORM, as a backend would write it: one row for an item, a session for each request."""

# Both only where SQLAlchemy is not installed, and so has no types:
# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, create_engine, event, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from annotation_queue import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine.interfaces import DBAPIConnection

    from annotation_queue import JsonValue, NewItem


class _Base(DeclarativeBase):
    pass


class _Item(_Base):
    __tablename__ = "queue_items"
    __table_args__ = (
        Index("in_order", "queue_id", "annotation_state", text("priority DESC"), "created_at", "id"),
        Index("live_calls", "queue_id", "call_id", unique=True),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str]
    queue_id: Mapped[str]
    call_id: Mapped[str]
    call_started_at: Mapped[datetime]
    call_ended_at: Mapped[datetime | None]
    call_op_name: Mapped[str]
    call_trace_id: Mapped[str]
    display_fields: Mapped[list[str]] = mapped_column(JSON)
    added_by: Mapped[str]
    annotation_state: Mapped[str] = mapped_column(default="unstarted")
    annotator_user_id: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    priority: Mapped[int]


class _Progress(_Base):
    __tablename__ = "progresses"

    item_id: Mapped[str] = mapped_column(ForeignKey("queue_items.id"), primary_key=True)
    annotator_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    token: Mapped[int]
    annotation: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    updated_at: Mapped[datetime]


class _Transition(_Base):
    __tablename__ = "transitions"

    num: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(ForeignKey("queue_items.id"), index=True)
    annotator_id: Mapped[str]
    from_state: Mapped[str]
    to_state: Mapped[str]
    at: Mapped[datetime]


class _Counter(_Base):
    __tablename__ = "counters"

    queue_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    n: Mapped[int]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class SQLAlchemyORM:
    """Mapped classes, `select(...).order_by(...).limit(1)`, a commit for each operation."""

    name: ClassVar[str] = "SQLAlchemy ORM"
    on_disk: ClassVar[bool] = True
    in_queue_order: ClassVar[bool] = True

    def __init__(self, folder: Path, synchronous: str) -> None:
        self.path = folder / "orm.db"
        self._engine = create_engine(f"sqlite:///{self.path}")

        @event.listens_for(self._engine, "connect")
        def _prepare(connection: DBAPIConnection, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute(f"PRAGMA synchronous = {synchronous}")
            cursor.close()

        _Base.metadata.create_all(self._engine)

    def fill(self, items: Iterable[NewItem]) -> None:
        """Add items through one session."""
        at = _now()
        with Session(self._engine) as session:
            added = [
                _Item(
                    id=uuid7(),
                    project_id="acme/chatbot",
                    queue_id="q",
                    call_id=new.call_id,
                    call_started_at=new.call_started_at or at,
                    call_ended_at=new.call_ended_at,
                    call_op_name=new.call_op_name,
                    call_trace_id=new.call_trace_id,
                    display_fields=list(new.display_fields),
                    added_by="ann",
                    created_at=at,
                    created_by="ann",
                    updated_at=at,
                    priority=new.priority,
                )
                for new in items
            ]
            session.add_all(added)
            session.add_all(_Counter(queue_id="q", state=state, n=0) for state in ("in_progress", "completed"))
            session.add(_Counter(queue_id="q", state="unstarted", n=len(added)))
            session.commit()

    def claim(self) -> tuple[str, tuple[str, int]] | None:
        """Give the first item that is unstarted or whose lease ran out."""
        now = _now()
        with Session(self._engine) as session:
            # Two questions: with an OR between them SQLite sorts every unstarted item, 24 pairs/s among 100,000.
            item = self._first(session, _Item.annotation_state == "unstarted") or self._first(
                session, (_Item.annotation_state == "in_progress") & (_Item.lease_expires_at < now)
            )
            if item is None:
                return None
            progress = session.get(_Progress, (item.id, "ann"))
            if progress is None:
                progress = _Progress(item_id=item.id, annotator_id="ann", state="unstarted", token=0, updated_at=now)
                session.add(progress)
            progress.token += 1
            item.lease_expires_at = now + timedelta(days=365)
            self._move(session, item, progress, "in_progress", now)
            answer = item.call_id, (item.id, progress.token)
            session.commit()
            return answer

    @staticmethod
    def _first(session: Session, condition: ColumnElement[bool]) -> _Item | None:
        wanted = (
            select(_Item)
            .where(_Item.queue_id == "q", condition, _Item.deleted_at.is_(None))
            .order_by(_Item.priority.desc(), _Item.created_at, _Item.id)
            .limit(1)
            .with_for_update()
        )
        found: _Item | None = session.scalars(wanted).first()
        return found

    def complete(self, claim: tuple[str, int], label: dict[str, JsonValue]) -> None:
        """Finish a claim."""
        item_id, token = claim
        with Session(self._engine) as session:
            progress = session.get_one(_Progress, (item_id, "ann"))
            item = session.get_one(_Item, item_id)
            assert progress.token == token
            progress.annotation = label
            item.lease_expires_at = None
            self._move(session, item, progress, "completed", _now())
            session.commit()

    def _move(self, session: Session, item: _Item, progress: _Progress, state: str, at: datetime) -> None:
        session.get_one(_Counter, ("q", item.annotation_state)).n -= 1
        session.get_one(_Counter, ("q", state)).n += 1
        before = progress.state
        session.add(_Transition(item_id=item.id, annotator_id="ann", from_state=before, to_state=state, at=at))
        progress.state = item.annotation_state = state
        progress.updated_at = item.updated_at = at
        item.annotator_user_id = "ann"

    def done(self) -> Sequence[str]:
        """Read what was finished."""
        with Session(self._engine) as session:
            items = session.scalars(select(_Item).where(_Item.annotation_state == "completed")).all()
            labels = session.scalars(select(_Progress).where(_Progress.state == "completed")).all()
            assert session.get_one(_Counter, ("q", "completed")).n == len(items) == len(labels)
            assert session.scalar(select(func.count()).select_from(_Transition)) == 2 * len(items)
            return [item.call_id for item in items]

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()
