"""The gateway's tables. A change of them is a new step in `services.gateway.migrations`, and changes `HEAD` there."""

# SQLModel declares `__tablename__` as something else than the string it takes.
# pyright: reportAssignmentType=false

from datetime import datetime

from sqlalchemy import Column, DateTime, Index, MetaData, text
from sqlmodel import Field, SQLModel

REVISIONS = "gateway_revision"

_THERE = text("revoked_at IS NULL")


class Table(SQLModel):
    """Apart from other services' tables, which may live in the same process."""

    metadata = MetaData()


class AgentTable(Table, table=True):
    """Agents, those that were removed too: a name may come again, and then with another key."""

    __tablename__ = "agents"
    __table_args__ = (Index("agents_name", "name", unique=True, sqlite_where=_THERE, postgresql_where=_THERE),)
    id: int | None = Field(default=None, primary_key=True)
    name: str
    role: str
    key: str = Field(unique=True)
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    revoked_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=True))
