"""What the gateway's routes take in body, query, path and headers. Any other field is refused by its name."""

from typing import Annotated

from fastapi import Body, Header, Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from libs.contracts.operations import OperationState
from libs.contracts.queries import MAX_WAIT

LONGEST_NAME = 64

_POSITION = "The `position` of a 202: the answer shows at least what was known then."


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstallBody(_Known):
    """What to install, from where."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {"git_url": "https://git.example.org/tools/hello-web.git", "start": True},
                {"git_url": "git@git.example.org:tools/all.git", "name": "hello", "ref": "v1.2", "subdir": "hello"},
            ]
        },
    )
    git_url: str = Field(description="Where the repository is: https or ssh, without credentials.")
    name: str | None = Field(None, description="The tool's name; the last part of the address if it is left out.")
    ref: str | None = Field(None, description="A branch, tag or commit; the default branch if it is left out.")
    subdir: str | None = Field(None, description="The folder that holds the manifest; the root if it is left out.")
    start: bool = Field(False, description="Whether to start the tool once it is built.")


class NoBody(_Known):
    """This takes no fields."""


class NoQuery(_Known):
    """This takes no query."""


class StopQuery(_Known):
    now: bool = Field(False, description="Cancel what runs and what waits for this tool first.")


class UninstallQuery(StopQuery):
    data: bool = Field(False, description="Remove the tool's data too. There is no way back.")


class PositionQuery(_Known):
    position: int | None = Field(None, ge=0, description=_POSITION)


class PageQuery(PositionQuery):
    limit: int = Field(100, ge=1, le=500, description="How many at most.")
    after: str | None = Field(None, max_length=500, description="`next` of the page before.")


class LettersQuery(_Known):
    limit: int = Field(100, ge=1, le=500, description="How many at most.")
    after: str | None = Field(None, max_length=500, description="`next` of the page before.")


class OperationsQuery(PageQuery):
    tool: str | None = Field(None, max_length=64, description="Only those of this tool (name or id).")
    state: OperationState | None = Field(None, description="Only those in this state.")


class OperationQuery(PositionQuery):
    wait: float = Field(
        0, ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Wait up to so many seconds for the end."
    )


Nothing = Annotated[NoBody | None, Body(description="Nothing, or an empty object.")]
PatchBody = Annotated[
    dict[str, JsonValue] | None,
    Body(description="Fields of the tool. `status` can be changed.", examples=[{"status": "running"}]),
]
ToolPath = Annotated[str, Path(description="The tool's name.", max_length=LONGEST_NAME, examples=["hello-web"])]
ToolOrId = Annotated[str, Path(description="The tool's name or id.", max_length=64, examples=["hello-web"])]
OperationPath = Annotated[str, Path(description="The operation's id.", max_length=64)]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 200 printable characters: the same request under the same key is carried out once.",
    ),
]
Position = Annotated[int | None, Header(alias="Machete-Position", ge=0, description=_POSITION)]
