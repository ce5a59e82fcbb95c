"""Which ports of the host are to be had, whatever state the containers that hold them are in."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from services.orchestrator.adapters.host_ports import HostPorts
from services.orchestrator.domain.failures import PortTaken
from tests.orchestrator.test_engine_door import answering, saying


@pytest.mark.parametrize("names", [None, []])
async def test_a_container_without_a_name_holds_its_port_and_keeps_no_other_one_from_being_chosen(
    tmp_path: Path, names: list[str] | None
):
    """As the engine lists one that it is removing."""

    async def free(*listed: dict[str, Any]) -> int:
        async with answering(tmp_path, saying(200, json.dumps(listed).encode())) as engine:
            ports = HostPorts(engine, "abcd2345")
            if listed:
                port = listed[0]["Ports"][0]["PublicPort"]
                assert (await ports.taken("web-abc234", port)).detail == {"port": port, "holder": None, "free": ANY}
                with pytest.raises(PortTaken):
                    await ports.check("machete-abcd2345-web-abc234", port, "tcp")
            return await ports.free("web-abc234")

    first = await free()
    nameless = {"Id": "c", "Names": names, "Labels": {}, "State": "running", "Ports": [{"PublicPort": first}]}
    assert await free(nameless) != first
