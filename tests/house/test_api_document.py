"""The description of the HTTP API covers every route that all services together serve."""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from libs.runtime.service import front
from services.registry import assemble, known


@pytest.fixture
def document_and_paths(tmp_path: Path):
    services = assemble(known(), data=tmp_path)
    routed = [route for service in services if service.routes for route in service.routes.routes]
    return front(services).openapi(), {route.path for route in routed if isinstance(route, APIRoute)}


def test_every_route_is_described(document_and_paths):
    document, paths = document_and_paths
    assert paths <= set(document["paths"])
    assert paths, "no routes at all would make this test hold"


def test_every_operation_says_what_it_is_for_and_what_a_refusal_looks_like(document_and_paths):
    document, _ = document_and_paths
    operations = {
        f"{method} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert [name for name, operation in operations.items() if not operation.get("summary")] == []
    assert [name for name, operation in operations.items() if "default" not in operation["responses"]] == []
