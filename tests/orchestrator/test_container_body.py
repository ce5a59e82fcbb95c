from dataclasses import replace
from pathlib import Path

import pytest

from libs.contracts.manifest_values import Restart
from libs.contracts.problems import Failure
from services.orchestrator.domain import names
from services.orchestrator.domain.container_body import (
    create_body,
    folder_of,
    network_body,
    spec_hash,
    with_image_volumes,
)
from services.orchestrator.domain.specs import ContainerSpec, FolderMount, Limits, VolumeMount

DATA = Path("/data/tools/web-abc234/data")
SPEC = ContainerSpec(
    instance="abcd2345",
    tool="web-abc234",
    release="r1r1r1r1r1r1",
    image="machete/abcd2345/web-abc234:r1r1r1r1r1r1",
    environment={"B": "x=y $HOME #\n'\"ü", "A": ""},
    folders=(FolderMount("./data", "/app/data"), FolderMount("config", "/app/config", read_only=True)),
    volumes=(VolumeMount("db", "/var/lib/db"),),
    port=8080,
    limits=Limits(memory=512 * 1024 * 1024, cpus=0.5, pids=100),
)


@pytest.mark.parametrize(
    ("said", "asked"),
    [("always", "unless-stopped"), ("unless-stopped", "unless-stopped"), ("on-failure", "on-failure"), ("no", "no")],
)
def test_the_engine_starts_again_what_ended_but_never_what_was_stopped_for_good(said: Restart, asked: str):
    body = create_body(replace(SPEC, restart=said), 20123, DATA)
    assert body["HostConfig"]["RestartPolicy"] == {"Name": asked}


def test_the_engine_is_asked_for_exactly_this():
    owner = {"io.machete.instance": "abcd2345", "io.machete.tool": "web-abc234"}
    assert create_body(SPEC, 20123, DATA) == {
        "Image": "machete/abcd2345/web-abc234:r1r1r1r1r1r1",
        "Env": ["A=", "B=x=y $HOME #\n'\"ü"],
        "Labels": {
            **owner,
            "io.machete.release": "r1r1r1r1r1r1",
            "io.machete.service": "app",
            "io.machete.port": "20123",
        },
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {
            "NetworkMode": "machete-abcd2345-web-abc234",
            "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "20123"}]},
            "RestartPolicy": {"Name": "unless-stopped"},
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "40m", "max-file": "5"}},
            "Mounts": [
                {"Type": "bind", "Source": f"{DATA}/data", "Target": "/app/data", "ReadOnly": False},
                {"Type": "bind", "Source": f"{DATA}/config", "Target": "/app/config", "ReadOnly": True},
                {
                    "Type": "volume",
                    "Source": "machete-abcd2345-web-abc234_db",
                    "Target": "/var/lib/db",
                    "ReadOnly": False,
                    "VolumeOptions": {"Labels": owner},
                },
            ],
            "Memory": 536870912,
            "MemorySwap": 536870912,
            "NanoCpus": 500_000_000,
            "PidsLimit": 100,
            "ReadonlyRootfs": False,
        },
    }


def test_without_a_port_nothing_is_published():
    body = create_body(replace(SPEC, port=None), None, DATA)
    assert "ExposedPorts" not in body
    assert "PortBindings" not in body["HostConfig"]
    assert body["Labels"][names.LABEL_PORT] == "", "said, so that an image's own label does not stand there"


def test_the_order_of_the_environment_does_not_make_another_container():
    turned = replace(SPEC, environment=dict(sorted(SPEC.environment.items())))
    assert spec_hash(create_body(turned, 20123, DATA)) == spec_hash(create_body(SPEC, 20123, DATA))


def test_how_readiness_is_judged_does_not_make_another_container():
    patient = replace(SPEC, health_check="/health", readiness=5.0)
    assert spec_hash(create_body(patient, 20123, DATA)) == spec_hash(create_body(SPEC, 20123, DATA))


@pytest.mark.parametrize(
    "change",
    [
        {"release": "r2r2r2r2r2r2"},
        {"environment": {"A": "1"}},
        {"folders": ()},
        {"volumes": ()},
        {"port": 9090},
        {"limits": Limits(pids=7)},
        {"read_only": True},
        {"command": ("sleep", "1")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_container_changes_its_hash(change: dict):
    changed = replace(SPEC, **change)
    assert spec_hash(create_body(changed, 20123, DATA)) != spec_hash(create_body(SPEC, 20123, DATA))
    assert spec_hash(create_body(SPEC, 20124, DATA)) != spec_hash(create_body(SPEC, 20123, DATA))


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b", "./..", "a\0b"])
def test_a_mount_that_leads_out_of_the_tools_data_is_refused(path: str):
    with pytest.raises(Failure, match="stay inside") as refused:
        folder_of(FolderMount(path, "/x"), DATA)
    assert refused.value.code == "mount_refused"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-a", "a" * 64, "a b"])
def test_a_volume_name_that_the_engine_could_misread_is_refused(name: str):
    with pytest.raises(Failure, match="is not a volume name"):
        create_body(replace(SPEC, volumes=(VolumeMount(name, "/x"),)), 20123, DATA)


def test_volumes_an_image_declares_get_names_of_the_tool_unless_they_are_mounted():
    named = with_image_volumes(SPEC, ["/var/lib/db/", "/cache"]).volumes
    assert named[:-1] == SPEC.volumes
    assert named[-1].target == "/cache"
    assert with_image_volumes(SPEC, ["/cache"]).volumes == named


def test_two_tools_volumes_are_never_named_alike():
    one = names.volume_name("abcd2345", "web-abc234", "def567-db")
    other = names.volume_name("abcd2345", "web-abc234-def567", "db")
    assert one != other


def test_a_network_has_its_owners_labels_and_the_engines_addresses_unless_told():
    assert network_body(SPEC) == {
        "Name": "machete-abcd2345-web-abc234",
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": {"io.machete.instance": "abcd2345", "io.machete.tool": "web-abc234"},
    }
    assert network_body(SPEC, "10.213.0.16/28")["IPAM"] == {"Config": [{"Subnet": "10.213.0.16/28"}]}


@pytest.mark.parametrize("paths", [(".", "sub"), ("sub", "."), ("a", "a/b"), ("a/b/c", "a")])
def test_a_mount_within_a_mount_is_refused(paths: tuple[str, str]):
    """Else a tool puts a link to the host in place of the inner one, and the engine follows it at its next restart."""
    folders = tuple(FolderMount(path, f"/in/{number}") for number, path in enumerate(paths))
    with pytest.raises(Failure, match="one within the other") as refused:
        create_body(replace(SPEC, folders=folders), None, DATA)
    assert refused.value.problem.code == "mount_refused"


def test_folders_beside_each_other_are_mounted():
    folders = (FolderMount("a", "/a"), FolderMount("ab", "/ab"), FolderMount("a", "/again"))
    mounts = create_body(replace(SPEC, folders=folders), None, DATA)["HostConfig"]["Mounts"]
    assert [mount["Target"] for mount in mounts if mount["Type"] == "bind"] == ["/a", "/ab", "/again"]


@pytest.mark.parametrize(
    ("declared", "place"),
    [("/data/../../x", "/x"), ("//x//y/", "/x/y"), ("/a/./b", "/a/b"), ("/a:/etc:ro", "/a:/etc:ro"), ("/..a", "/..a")],
)
def test_a_volume_that_an_image_declares_oddly_is_one_of_the_tool_s_own_in_the_container(declared: str, place: str):
    (volume,) = with_image_volumes(replace(SPEC, volumes=()), [declared]).volumes
    assert volume.target == place
    assert create_body(replace(SPEC, folders=(), volumes=(volume,)), None, DATA)["HostConfig"]["Mounts"] == [
        {
            "Type": "volume",
            "Source": f"machete-abcd2345-web-abc234_{volume.name}",
            "Target": place,
            "ReadOnly": False,
            "VolumeOptions": {"Labels": {"io.machete.instance": "abcd2345", "io.machete.tool": "web-abc234"}},
        }
    ]


@pytest.mark.parametrize("declared", ["/", "//", "/..", "/a/..", "relative", "../up", ".", "", "C:/x", "x:/y"])
def test_a_volume_that_is_no_folder_in_a_container_is_told_by_its_name(declared: str):
    with pytest.raises(Failure, match="declares the volume") as refused:
        with_image_volumes(SPEC, ["/cache", declared])
    assert refused.value.code == "mount_refused"
    assert repr(declared) in refused.value.message


def test_a_place_is_mounted_once_however_often_and_however_an_image_declares_it():
    assert with_image_volumes(SPEC, ["/var/lib/../lib/db", "/app//data/", "/app/x/../config"]).volumes == SPEC.volumes
    named = with_image_volumes(SPEC, ["/cache", "/cache/", "/x/../cache"]).volumes
    assert [volume.target for volume in named[len(SPEC.volumes) :]] == ["/cache"]
