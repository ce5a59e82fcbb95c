"""The contracts as documents that other languages read: JSON Schemas and AsyncAPI 3, built from the models."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from libs.contracts import (
    agents,
    engines,
    letters,
    live,
    logs,
    operations,
    permissions,
    principals,
    problems,
    queries,
    tasks,
    tools,
    views,
)
from libs.contracts.envelope import CONTENT_TYPE, SCHEMA_PREFIX, Message
from libs.contracts.manifest import manifest_schema
from libs.contracts.subjects import AGENT

VERSION = "1.0.0"

# Who says it, and who acts on it. Everybody may read events whose NATS user lets them.
SPEAKERS: Mapping[type[Message], tuple[tuple[str, ...], tuple[str, ...]]] = {
    tools.InstallTool: (("gateway",), ("installer",)),
    tools.BuildTool: (("gateway",), ("orchestrator",)),
    tools.StartTool: (("gateway", "orchestrator"), ("orchestrator",)),
    tools.StopTool: (("gateway",), ("orchestrator",)),
    tools.RestartTool: (("gateway",), ("orchestrator",)),
    tools.UninstallTool: (("gateway",), ("orchestrator",)),
    tools.ToolRecorded: (("installer", "orchestrator"), ("installer", "orchestrator", "status")),
    operations.OperationAccepted: (("gateway", "installer", "orchestrator"), ("status",)),
    operations.OperationStarted: (("installer", "orchestrator"), ("status",)),
    operations.CancelRequested: (
        ("gateway", "installer", "orchestrator"),
        ("installer", "orchestrator", "status"),
    ),
    operations.OperationSucceeded: (("installer", "orchestrator"), ("status",)),
    operations.OperationFailed: (("installer", "orchestrator"), ("status",)),
    operations.OperationCancelled: (("installer", "orchestrator"), ("status",)),
    operations.StepStarted: (("installer", "orchestrator"), ("status",)),
    operations.StepEnded: (("installer", "orchestrator"), ("status",)),
    tasks.BuildRelease: (("installer",), ("orchestrator",)),
    tasks.StartRelease: (("installer",), ("orchestrator",)),
    tasks.DiscardTool: (("installer",), ("orchestrator",)),
    tasks.TaskEnded: (("orchestrator",), ("installer", "status")),
    engines.ToolObserved: (("orchestrator",), ("status",)),
    engines.EngineConnected: (("orchestrator",), ("status",)),
    engines.EngineLost: (("orchestrator",), ("status",)),
    logs.LogChunk: (("installer", "orchestrator"), ("status",)),
    letters.DeadLetter: (("installer", "orchestrator"), ("gateway",)),
    queries.ListTools: (("gateway",), ("status",)),
    queries.ShowTool: (("gateway",), ("status",)),
    queries.DescribeTools: (("gateway",), ("status",)),
    queries.ReadLastLines: (("gateway",), ("status",)),
    queries.ListOperations: (("gateway",), ("status",)),
    queries.ShowOperation: (("gateway",), ("status",)),
    queries.RebuildTables: (("gateway",), ("status",)),
    queries.ShowRebuild: (("gateway",), ("status",)),
    queries.AuthenticateToken: (("status", "installer", "orchestrator"), ("gateway",)),
}

_SHAPES: tuple[type[BaseModel], ...] = (
    views.ToolView,
    views.OperationView,
    views.AcceptedOperation,
    views.Page,
    views.Descriptions,
    views.LastLines,
    views.RebuildView,
    letters.LetterPage,
    letters.LetterDetail,
    problems.Problem,
    principals.Principal,
    live.EventFrame,
    live.EventsFrame,
    live.LogFrame,
    live.StatesFrame,
    live.GapFrame,
    live.HeartbeatFrame,
    agents.AgentList,
    agents.NewAgent,
)


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name → JSON Schema, for every message's data, every shape of the HTTP API, and the manifest."""
    kinds: list[type[BaseModel]] = [*SPEAKERS, *_SHAPES]
    documents = {f"{kind.__name__}.json": _schema(kind) for kind in kinds}
    documents["machete.yml.json"] = manifest_schema()
    return documents


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document: a channel for each subject, and who sends and receives there."""
    _, shared = models_json_schema(
        [(kind, "serialization") for kind in SPEAKERS], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "MACHETE",
            "version": VERSION,
            "description": "Everything that is said on MACHETE's bus. Each message is a CloudEvents 1.0 structured "
            "JSON envelope; `traceparent` travels in the headers.",
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
        "channels": {**_channels(), "agent": _agent_channel()},
        "operations": {**_operations(), **_agent_operations()},
        "components": {
            "messages": {**{kind.__name__: _message(kind) for kind in SPEAKERS}, **_agent_messages()},
            "schemas": shared["$defs"],
        },
        "x-permissions": {user: rights.model_dump() for user, rights in permissions.permissions().items()},
        "x-agent-permissions": permissions.agent_permissions("{agent}").model_dump(),
    }


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    schema = kind.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_PREFIX + kind.__name__,
        **schema,
    }


def _channel_name(subject: str) -> str:
    return re.sub(r"[{}]", "", subject.removeprefix("machete.")).replace(".", "_")


def _channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for kind in SPEAKERS:
        form = kind.subject_form
        channel = channels.setdefault(
            _channel_name(form.template),
            {"address": form.template, "messages": {}, "parameters": {field: {} for field in form.fields}},
        )
        channel["messages"][kind.__name__] = {"$ref": f"#/components/messages/{kind.__name__}"}
    return channels


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, (senders, receivers) in SPEAKERS.items():
        channel = _channel_name(kind.subject_form.template)
        for action, services in (("send", senders), ("receive", receivers)):
            for service in services:
                found[f"{service}_{action}_{kind.__name__}"] = {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel}"},
                    "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"}],
                    "tags": [{"name": service}],
                }
    return found


def _message(kind: type[Message]) -> dict[str, Any]:
    return {
        "name": kind.type,
        "title": kind.__name__,
        "summary": (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " "),
        "contentType": CONTENT_TYPE,
        "payload": {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": {"type": "string"},
                "source": {"type": "string"},
                "type": {"const": kind.type},
                "subject": {"type": "string"},
                "time": {"type": "string", "format": "date-time"},
                "datacontenttype": {"const": "application/json"},
                "dataschema": {"const": SCHEMA_PREFIX + kind.__name__},
                "correlationid": {"type": "string"},
                "causationid": {"type": "string"},
                "data": {"$ref": f"#/components/schemas/{kind.__name__}"},
            },
        },
    }


def _agent_channel() -> dict[str, Any]:
    about = {
        "agent": "The agent's own name: its NATS user may publish under no other.",
        "noun": "`tools` or `operations`.",
        "action": "As in the HTTP interface: `list`, `show`, `install`, `restart`, `cancel`, …",
    }
    return {
        "address": AGENT.template,
        "description": (inspect.getdoc(agents) or "").split("\n\n")[1].replace("\n", " "),
        "parameters": {field: {"description": about[field]} for field in AGENT.fields},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _agent_messages()},
    }


def _agent_operations() -> dict[str, Any]:
    """An agent asks, and the gateway answers on the inbox that the request names."""
    channel = {"$ref": "#/channels/agent"}
    request, answer = ({"$ref": f"#/channels/agent/messages/{name}"} for name in _agent_messages())
    return {
        "agent_send_AgentRequest": {
            "action": "send",
            "channel": channel,
            "messages": [request],
            "reply": {
                "address": {"location": "$message.header#/reply", "description": "Below the agent's own inbox prefix."},
                "channel": channel,
                "messages": [answer],
            },
            "tags": [{"name": "agent"}],
        }
    }


def _agent_messages() -> dict[str, Any]:
    return {
        "AgentRequest": {
            "name": "AgentRequest",
            "summary": "The fields that the same request has over HTTP, in path, query and body, as one object.",
            "contentType": "application/json",
            "payload": {
                "type": "object",
                "properties": {"idempotency_key": {"type": "string", "minLength": 1, "maxLength": 200}},
                "additionalProperties": True,
            },
        },
        "AgentAnswer": {
            "name": "AgentAnswer",
            "summary": "The body that HTTP would answer; a problem document (RFC 9457) where it was refused.",
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "required": [agents.STATUS_HEADER],
                "properties": {agents.STATUS_HEADER: {"type": "string", "pattern": "^[1-5][0-9][0-9]$"}},
            },
            "payload": {"type": "object"},
        },
    }
