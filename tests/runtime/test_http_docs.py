"""The API documentation works without the internet and says the truth."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from libs.runtime.http.authentication import OPEN
from libs.runtime.version import VERSION
from tests.support.served import Served, served, service


class Install(BaseModel):
    git_url: str


def routes() -> APIRouter:
    router = APIRouter()

    @router.post("/api/v1/tools", status_code=202)
    async def install(body: Install) -> dict[str, str]:
        return {"git_url": body.git_url}

    return router


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served]:
    async with served(service(routes=routes()), data=tmp_path_factory.mktemp("data")) as running:
        yield running


async def test_the_page_asks_nothing_of_any_other_host(platform: Served) -> None:
    page = await platform.client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert named
    for reference in named:
        assert "//" not in reference
        asset = await platform.client.get(f"/api/{reference}")
        assert (asset.status_code, bool(asset.content)) == (200, True)


async def test_the_policy_allows_what_the_page_needs_and_no_inline_script(platform: Served) -> None:
    page = await platform.client.get("/api/docs")
    parts = [part.strip().partition(" ") for part in page.headers["content-security-policy"].split(";")]
    policy = {name: allowed for name, _, allowed in parts}
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert re.search(r"<script(?![^>]*\bsrc=)", page.text) is None


async def test_the_page_shows_the_version_of_openapi_that_is_served(platform: Served) -> None:
    """Swagger UI reads OpenAPI 3.1 from version 5 on."""
    document = (await platform.client.get("/api/openapi.json")).json()
    script = (await platform.client.get("/api/docs/swagger-ui-bundle.js")).text
    assert document["openapi"].startswith("3.1")
    assert re.search(r'PACKAGE_VERSION:"5\.', script)


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


async def test_the_document_says_what_errors_look_like_and_who_needs_a_token(platform: Served) -> None:
    document = (await platform.client.get("/api/openapi.json")).json()
    assert document["info"]["version"] == VERSION
    assert document["security"] == [{"token": []}]
    assert {path for path, operation in operations(document) if operation.get("security") == []} == OPEN
    for _, operation in operations(document):
        content = operation["responses"]["default"]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "HTTPValidationError" not in str(document)
