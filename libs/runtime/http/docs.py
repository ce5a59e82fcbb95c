"""The API documentation: an OpenAPI document that tells the truth about errors, and a page that shows it.

The page needs nothing from elsewhere: Swagger UI comes with a Python package, and its script starts
from a file, so that the content security policy allows no inline script.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from libs.runtime.http.authentication import DOCS, OPEN, OPENAPI
from libs.runtime.http.problems import MEDIA_TYPE

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>MACHETE API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon.png">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null,
});
"""
_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457; `code` is the stable word for programs, more members say more.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
}


def docs_router(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    folder = _assets()

    @router.get(OPENAPI)
    async def openapi(_request: Request) -> Response:
        return JSONResponse(app.openapi())

    @router.get(DOCS)
    async def page(_request: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"content-security-policy": _CSP})

    @router.get(f"{DOCS}/start.js")
    async def start(_request: Request) -> Response:
        return Response(_START, media_type="text/javascript")

    def add(name: str, media_type: str) -> None:
        @router.get(f"{DOCS}/{name}")
        async def asset(_request: Request) -> Response:
            caching = {"cache-control": "private, max-age=86400"}
            return FileResponse(folder / name, media_type=media_type, headers=caching)

    for name, media_type in _ASSETS.items():
        add(name, media_type)
    return router


def _assets() -> Path:
    spec = find_spec("fastapi_offline")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the package fastapi-offline, which brings Swagger UI, is missing; run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "static"


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """What FastAPI knows, with our errors in place of its own and with who needs a token."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for theirs in ("HTTPValidationError", "ValidationError"):
        schemas.pop(theirs, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for path, operations in cast(dict[str, dict[str, Any]], document["paths"]).items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "What went wrong.",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
            if path in OPEN:
                operation["security"] = []
    return document
