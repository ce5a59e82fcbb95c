"""The tables of the projection: what is asked by stands in columns, the rest of an entry in `body` as JSON.

Nothing here is migrated: change a table, count `VERSION` up, and it is filled anew from the stream.
"""

# SQLModel declares `__tablename__` as something else than the string it takes.
# pyright: reportAssignmentType=false

from sqlalchemy import MetaData
from sqlmodel import Field, SQLModel

VERSION = 1


class Table(SQLModel):
    """Apart from other services' tables, which may live in the same process."""

    metadata = MetaData()


class ToolTable(Table, table=True):
    __tablename__ = "tools"
    id: str = Field(primary_key=True)
    name: str = Field(index=True)
    gone: bool = Field(index=True)
    body: str


class OperationTable(Table, table=True):
    __tablename__ = "operations"
    id: str = Field(primary_key=True)
    tool: str = Field(index=True)
    tool_name: str = Field(index=True)
    state: str = Field(index=True)
    ended: bool = Field(index=True)
    accepted: int = Field(index=True)
    body: str


class EngineTable(Table, table=True):
    __tablename__ = "engines"
    name: str = Field(primary_key=True)
    body: str


class PlaceTable(Table, table=True):
    """One row: how far the others are filled, from which stream (`epoch`), and whose tables these are."""

    __tablename__ = "place"
    id: int = Field(primary_key=True)
    version: int
    name: str
    epoch: str
    position: int
