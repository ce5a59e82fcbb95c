"""A network of its own for each tool."""

from services.orchestrator.adapters.engine import Engine
from services.orchestrator.domain.container_body import network_body
from services.orchestrator.domain.failures import EngineError, is_about_overlap, is_out_of_addresses, no_addresses
from services.orchestrator.domain.port_choice import subnets
from services.orchestrator.domain.specs import ContainerSpec


async def ensure_network(engine: Engine, spec: ContainerSpec, pool: str) -> bool:
    """Whether it had to be made. When the engine has no addresses left, it gets a slice of `pool`."""
    try:
        return await _make(engine, spec, None)
    except EngineError as refusal:
        if not is_out_of_addresses(refusal):
            raise
        used_up = refusal
    for subnet in subnets(spec.tool, pool):
        try:
            return await _make(engine, spec, subnet)
        except EngineError as refusal:
            if not is_about_overlap(refusal):
                raise
            used_up = refusal
    raise await out_of_addresses(engine, pool, used_up) from used_up


async def out_of_addresses(engine: Engine, pool: str, used_up: EngineError) -> EngineError:
    """With what there is to be seen of it now: whoever reads it later finds other networks."""
    return no_addresses(pool, len(await engine.call("GET", "/networks")), used_up.message)


async def _make(engine: Engine, spec: ContainerSpec, subnet: str | None) -> bool:
    try:
        await engine.call("POST", "/networks/create", body=network_body(spec, subnet))
    except EngineError as refusal:
        if refusal.status != 409:
            raise
        return False
    return True
