"""The tables of the projection: what is asked by stands in columns, the rest of an entry in `body` as JSON.

Nothing here is migrated: change a table, count `VERSION` up, and it is filled anew from the stream.
"""

# SQLModel declares `__tablename__` as something else than the string it takes.
# pyright: reportAssignmentType=false

from sqlalchemy import BigInteger, Column, Index, MetaData, String
from sqlmodel import Field, SQLModel

VERSION = 4

# In the order of its bytes, as SQLite sorts: a page of a list must begin where the one before it ended, on every
# database, and a database of PostgreSQL may sort as people of some country do.
TEXT = String().with_variant(String(collation="C"), "postgresql")


class Table(SQLModel):
    """Apart from other services' tables, which may live in the same process."""

    metadata = MetaData()


class ToolTable(Table, table=True):
    __tablename__ = "tools"
    # A page of the list is read from here, in its order, without a look at the rows before or behind it.
    __table_args__ = (Index(None, "gone", "name", "id"),)
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    name: str = Field(sa_column=Column(TEXT, nullable=False))
    gone: bool
    body: str


class OperationTable(Table, table=True):
    __tablename__ = "operations"
    __table_args__ = (
        Index(None, "tool", "accepted"),
        Index(None, "tool_name", "accepted"),
        Index(None, "state", "accepted"),
        Index(None, "ended", "tool"),
    )
    id: str = Field(sa_column=Column(TEXT, primary_key=True))
    tool: str = Field(sa_column=Column(TEXT, nullable=False))
    tool_name: str = Field(sa_column=Column(TEXT, nullable=False))
    state: str
    ended: bool
    accepted: int = Field(sa_column=Column(BigInteger, index=True, nullable=False))
    body: str


class EngineTable(Table, table=True):
    __tablename__ = "engines"
    name: str = Field(sa_column=Column(TEXT, primary_key=True))
    body: str


class PlaceTable(Table, table=True):
    """One row: how far the others are filled, and from which stream (`epoch`). Who writes them locks it first."""

    __tablename__ = "place"
    id: int = Field(primary_key=True)
    version: int
    epoch: str
    position: int = Field(sa_column=Column(BigInteger, nullable=False))


class RebuildTable(Table, table=True):
    """One row: the last rebuild, if any. `worker` carries it out and counts `beat` up; `body` is its entry."""

    __tablename__ = "rebuild"
    key: int = Field(primary_key=True)
    worker: str
    beat: int
    body: str
