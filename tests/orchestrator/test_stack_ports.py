"""Which port of a stack people open in a browser, as its author said or as it suggests itself."""

from typing import Any

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.domain.stacks.ports import Published, published, web


def port(target: int, host: str | None = None, protocol: str = "tcp") -> dict[str, Any]:
    return {"target": target, "published": host, "protocol": protocol}


def stack(**services: Any) -> dict[str, Any]:
    """Each service by the ports it publishes, or whole."""
    return {"services": {name: said if isinstance(said, dict) else {"ports": said} for name, said in services.items()}}


def test_what_is_published_is_found_with_the_host_s_port_that_was_asked_for():
    config = stack(web=[port(80), port(443, "8443")], dns=[port(53, "5300-5400", "udp")], db=[])
    assert published(config) == {
        Published("web", 80),
        Published("web", 443, wanted=8443),
        Published("dns", 53, "udp", 5300),
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (stack(db={}), None),
        (stack(only=[port(1234)]), ("only", 1234)),
        (stack(dns=[port(53, protocol="udp")]), None),
        (stack(aaa=[port(8080)], web=[port(9999)]), ("web", 9999)),
        (stack(aaa=[port(9999)], bbb=[port(80)]), ("bbb", 80)),
        (stack(one=[port(9100), port(3000)]), ("one", 3000)),
        (stack(web={"ports": [port(80)]}, page={"ports": [port(81)], "depends_on": {"web": {}}}), ("page", 81)),
        (stack(app=[port(80)], nginx=[port(80)]), ("nginx", 80)),
    ],
    ids=[
        "nothing",
        "one",
        "no tcp",
        "by its name",
        "by its port",
        "by its port in one",
        "who is behind",
        "a proxy first",
    ],
)
def test_without_a_word_the_likeliest_is_chosen(config: dict[str, Any], expected: tuple[str, int] | None):
    found = web(config, None, None)
    assert (found and (found.service, found.target)) == expected


def test_the_manifest_s_word_counts():
    config = stack(web=[port(80)], admin=[port(9000), port(9001, "19001")], hidden={"expose": ["7000"]}, other={})
    assert web(config, "admin", None) == Published("admin", 9000)
    assert web(config, None, 9001) == Published("admin", 9001, wanted=19001)
    assert web(config, "web", 9001) == Published("web", 9001)
    assert web(config, None, 7000) == Published("hidden", 7000)
    assert web(config, "other", None) is None
    assert web(stack(alone={}), None, 5) == Published("alone", 5)


def test_what_the_manifest_names_and_is_not_there_is_told_with_what_is():
    with pytest.raises(Failure, match=r"names front, but the Compose file has: db, web\."):
        web(stack(web={}, db={}), "front", None)
    with pytest.raises(Failure, match=r"machete\.port is 80, but no service publishes it.*machete\.service"):
        web(stack(web={}, db={}), None, 80)
