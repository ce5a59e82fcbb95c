"""What builds and tools print, in chunks of lines."""

from datetime import datetime

from libs.contracts.envelope import Frozen, Message
from libs.contracts.names import Token, ToolId
from libs.contracts.subjects import LOG

CHUNK_LINES = 64
CHUNK_BYTES = 32 * 1024
LINE_BYTES = 16 * 1024


class LogLine(Frozen):
    time: datetime
    text: str


class LogChunk(Message):
    """Lines of one source, an operation id or the name of a tool's service.

    `first` is the number of the first line in all that this source ever printed, from 0, so a reader knows
    exactly how many lines it missed. `mark` is the writer's own note of where it stood after these lines.
    """

    type = "machete.log.chunk.v1"
    subject_form = LOG
    tool: ToolId
    source: Token
    first: int
    lines: tuple[LogLine, ...]
    mark: str | None = None
