"""The policy for stacks on configurations that no Compose of today would write, and what it says."""

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.orchestrator.domain.stacks.policy import judge, refused
from services.orchestrator.domain.stacks.policy_rules import inside
from services.orchestrator.domain.stacks.policy_services import SERVICE_KEYS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("provider", {"type": "model"}),
        ("use_api_socket", True),
        ("models", ["llm"]),
        ("some_key_of_tomorrow", "x"),
        ("Privileged", True),
        ("volumes", [{"type": "image", "source": "x", "target": "/x"}]),
        ("volumes", [{"type": "cluster", "source": "x", "target": "/x"}]),
        ("volumes", [{"source": "/etc", "target": "/x"}]),
        ("volumes", ["/etc:/x"]),
        ("volumes", [{"type": "volume", "source": "/etc", "target": "/x"}]),
        ("volumes", [{"type": "bind", "target": "/x"}]),
        ("volumes", [{"type": "tmpfs", "target": "/x", "new": 1}]),
        ("volumes", [{"type": "volume", "target": "v:/v"}]),
        ("volumes", [{"type": "volume", "target": "relative"}]),
        ("volumes", [{"type": "volume", "target": "/x", "volume": {"new": 1}}]),
        ("volumes", [{"type": "tmpfs", "target": "/x", "tmpfs": {"new": 1}}]),
        ("secrets", [{"source": "s", "new": 1}]),
        ("configs", [{"source": "s", "new": 1}]),
        ("pre_stop", [{"command": ["x"], "privileged": True}]),
        ("cpu_rt_period", 1000),
        ("deploy", {"new": 1}),
        ("build", {"context": "/repo", "secrets": [{"source": "s", "new": 1}]}),
        ("build", {"context": "/repo", "new": 1}),
        ("build", {"context": "relative"}),
        ("env_file", [{"path": "/etc/passwd", "required": True}]),
        ("network_mode", "service:absent"),
        ("sysctls", ["kernel.panic=1"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_later_compose_knows_is_refused_by_name(key: str, value: Any) -> None:
    (first, *_) = judge({"services": {"web": {"image": "x", key: value}}}, PurePosixPath("/repo"))

    assert first.where.startswith(f"services.web.{key}")


@pytest.mark.parametrize(
    ("section", "declared"),
    [
        ("networks", {"new": 1}),
        ("networks", {"ipam": {"options": {"a": "b"}}}),
        ("networks", {"ipam": {"config": [{"new": 1}]}}),
        ("volumes", {"new": 1}),
        ("volumes", {"driver_opts": {"Type": "none", "o": "bind", "device": "/"}}),
        ("volumes", {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "new": "1"}}),
        ("secrets", {"driver": "vault"}),
        ("secrets", {"driver_opts": {"a": "b"}}),
        ("configs", {"new": 1}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_later_compose_declares_is_refused_by_name(section: str, declared: Any) -> None:
    (first, *_) = judge({section: {"mine": declared}}, PurePosixPath("/repo"))

    assert first.where.startswith(f"{section}.mine.{next(iter(declared))}")


@pytest.mark.parametrize("section", ["models", "include", "jobs"])
def test_a_section_that_is_not_known_is_refused(section: str) -> None:
    (refusal,) = judge({"services": {}, section: {"a": {}}, "x-free": {"a": {}}}, PurePosixPath("/repo"))

    assert refusal.where == section


@pytest.mark.parametrize(("name", "passes"), [("web-1.A_b", True), ("0", True), ("a" * 63, True)])
@pytest.mark.parametrize(
    ("prefix", "allowed"), [("", True), ("-", False), (".", False), ("a;id ", False), ("é", False)]
)
def test_a_service_is_called_by_a_plain_name(name: str, passes: bool, prefix: str, allowed: bool) -> None:
    refusals = judge({"services": {(prefix + name)[:64]: {"image": "x"}}}, PurePosixPath("/repo"))

    assert (not refusals) == (passes and allowed)


def test_a_name_of_64_characters_is_refused_and_cut_where_it_is_shown() -> None:
    (refusal,) = judge({"services": {"a" * 300: {"image": "x"}}}, PurePosixPath("/repo"))

    assert len(str(refusal)) < 400


def test_a_failure_says_the_first_refusal_and_carries_all() -> None:
    service = {"image": "x", "privileged": True, "pid": "host\x1b[31m"}
    refusals = judge({"services": {"web": service}}, PurePosixPath("/repo"))
    failure = refused(refusals)

    assert failure.code == "policy_refused"
    assert failure.message.startswith("services.web.privileged: found true; ")
    assert failure.message.endswith("(and 1 more).")
    assert failure.detail == {"refusals": [str(refusal) for refusal in refusals]}
    assert "\x1b" not in str(failure.detail)


@pytest.mark.parametrize(
    ("written", "shown"),
    [("../../x", '"../../x"'), ("/etc", '"/etc"'), ("./a:b", '"a:b"'), ("/var/lib/other", '"/var/lib/other"')],
)
def test_paths_are_shown_as_their_author_wrote_them(written: str, shown: str) -> None:
    """Where the platform keeps repositories is nothing that an author would know."""
    repository = PurePosixPath("/var/lib/machete/tools/t/releases/r/source")
    path = str(repository.parents[1] / "x") if written == "../../x" else written.replace("./", f"{repository}/")
    mount = {"type": "bind", "source": path, "target": "/t"}

    (refusal,) = judge({"services": {"web": {"volumes": [mount]}}}, repository)

    assert refusal.found == shown


_PART = st.sampled_from(["..", ".", "", "repo", "Repo", "a", "REPO", "repository", "...", "~", "a:b", "tool"])


@given(parts=st.lists(_PART, max_size=8))
def test_a_path_that_leads_out_is_never_inside(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    real: list[str] = []
    for part in parts:
        if part == "..":
            real = real[:-1]
        elif part not in ("", "."):
            real.append(part)

    if inside(path, PurePosixPath("/repo/tool")):
        assert real[:2] == ["repo", "tool"]
    elif not {"..", "a:b"} & set(parts) and not path.startswith("//"):
        assert real[:2] != ["repo", "tool"]


@pytest.mark.parametrize("path", ["/repo", "/repo/", "/repo/./a", "/repo//a/", "/repo/..a", "/repo/a b"])
def test_paths_of_the_repository_are_inside(path: str) -> None:
    assert inside(path, PurePosixPath("/repo"))


@pytest.mark.parametrize(
    "path", ["/", "", ".", "repo/a", "/repository", "/Repo/a", "//repo/a", "/repo/../repo/a", "/repo/a\0", "/repo/a:/b"]
)
def test_paths_that_are_not_plainly_of_the_repository_are_outside(path: str) -> None:
    assert not inside(path, PurePosixPath("/repo"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "host", "/etc", "x", "type=local"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "source", "path", "context", "file", "limits", "x-a"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(
    key=st.sampled_from(sorted(SERVICE_KEYS)), value=_JSON, section=st.sampled_from(["services", "volumes", "networks"])
)
@example(key="sysctls", value=True, section="services")
def test_whatever_stands_there_is_judged_and_never_breaks_the_judge(key: str, value: Any, section: str) -> None:
    for config in ({"services": {"web": {key: value}}}, {"services": {}, section: value}, {section: {"a": value}}):
        for refusal in judge(config, PurePosixPath("/repo")):
            assert refusal.rule


@pytest.mark.parametrize("value", ["container:machete-orchestrator-1", "container:web:ro", "container"])
def test_a_service_that_is_called_container_gives_no_way_to_anybody_s_container(value: str) -> None:
    services = {"container": {"image": "x"}, "web": {"image": "x", "volumes_from": [value]}}
    (refusal,) = judge({"services": services}, PurePosixPath("/repo"))
    assert refusal.where == "services.web.volumes_from[0]"


@pytest.mark.parametrize("subnet", ["0.0.0.0/16", "169.254.0.0/24", "127.0.0.0/24", "10.0.0.0/8", "192.0.2.0/24"])
def test_a_network_has_private_addresses_or_none_of_its_own(subnet: str) -> None:
    networks = {"front": {"ipam": {"config": [{"subnet": subnet}]}}}
    assert judge({"services": {}, "networks": networks}, PurePosixPath("/repo"))
