"""Who may do what: one table of every route the gateway has."""

from collections.abc import Mapping

from libs.contracts.principals import Role

RANK: Mapping[Role, int] = {"viewer": 0, "operator": 1, "admin": 2}

NEEDED: Mapping[tuple[str, str], Role] = {
    ("GET", "/api/v1/tools"): "viewer",
    ("GET", "/api/v1/tools/{name}"): "viewer",
    ("GET", "/api/v1/operations"): "viewer",
    ("GET", "/api/v1/operations/{id}"): "viewer",
    ("POST", "/api/v1/tools/{name}/build"): "operator",
    ("POST", "/api/v1/tools/{name}/start"): "operator",
    ("POST", "/api/v1/tools/{name}/stop"): "operator",
    ("POST", "/api/v1/tools/{name}/restart"): "operator",
    ("POST", "/api/v1/operations/{id}/cancel"): "operator",
    ("POST", "/api/v1/tools"): "admin",
    ("DELETE", "/api/v1/tools/{name}"): "admin",
    ("POST", "/api/v1/status/rebuild"): "admin",
    ("GET", "/api/v1/rebuilds/{id}"): "admin",
    ("GET", "/api/v1/dead-letters"): "admin",
    ("GET", "/api/v1/dead-letters/{id}"): "admin",
    ("POST", "/api/v1/dead-letters/{id}/retry"): "admin",
    ("DELETE", "/api/v1/dead-letters/{id}"): "admin",
    ("GET", "/api/v1/agents"): "admin",
    ("POST", "/api/v1/agents"): "admin",
    ("DELETE", "/api/v1/agents/{name}"): "admin",
    ("GET", "/api/tools"): "viewer",
    ("GET", "/api/tools/{id}"): "viewer",
    ("GET", "/api/tools/{id}/status"): "viewer",
    ("GET", "/api/tools/{id}/logs"): "viewer",
    ("GET", "/api/tools/{id}/health"): "viewer",
    ("GET", "/api/diagnostics"): "viewer",
    ("PATCH", "/api/tools/{id}"): "operator",
    ("POST", "/api/tools/{id}/build"): "operator",
    ("POST", "/api/tools/{id}/start"): "operator",
    ("POST", "/api/tools/{id}/stop"): "operator",
    ("POST", "/api/tools/{id}/restart"): "operator",
    ("POST", "/api/tools/install"): "admin",
    ("DELETE", "/api/tools/{id}"): "admin",
}
"""The least role that each route asks for. A route that is not here is not served."""


def may(role: Role, needed: Role) -> bool:
    return RANK[role] >= RANK[needed]
