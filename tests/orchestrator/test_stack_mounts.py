"""What the services of a stack see of the host, and how its folders are filled with what the repository ships."""

from pathlib import Path
from typing import Any

import pytest

from libs.contracts.problems import Failure
from services.orchestrator.adapters.seeding import seed, seed_noting
from services.orchestrator.adapters.unowned import Unowned
from services.orchestrator.domain.stacks.places import Place, placed
from tests.orchestrator.a_stack import DATA, PROJECT, a_stack, bind, resolved


def seen(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """By target: what of the data folder, or which volume, and whether it is read-only."""
    return {
        each["target"]: (each["source"].removeprefix(f"{DATA}/"), bool(each.get("read_only")))
        for each in service["volumes"]
    }


def test_a_folder_of_the_repository_is_the_tool_s_own():
    found = resolved(a_stack(), {"web": {"volumes": [bind("data", "/d"), bind("x.conf", "/c", read_only=True)]}})
    assert seen(found.config["services"]["web"]) == {"/d": ("data", False), "/c": ("x.conf", True)}
    assert set(found.places) == {Place("data", "data", "web"), Place("x.conf", "x.conf", None)}
    assert all(each["bind"] == {"create_host_path": False} for each in found.config["services"]["web"]["volumes"])


def test_the_first_who_writes_owns_what_several_see():
    services = {
        "a": {"volumes": [bind("data", "/d", read_only=True)]},
        "b": {"volumes": [bind("data", "/d")]},
        "c": {"volumes": [bind("data", "/d")]},
    }
    assert resolved(a_stack(), services).places == (Place("data", "data", "b"),)


def test_what_lies_within_a_folder_is_mounted_over_its_place_wherever_the_folder_is_seen():
    services = {
        "web": {"volumes": [bind(".", "/code", read_only=True), bind("data", "/elsewhere")]},
        "other": {"volumes": [bind(".", "/code"), bind("data", "/code/data", read_only=True)]},
    }
    found = resolved(a_stack(), services).config["services"]
    assert seen(found["web"]) == {
        "/code": ("_tool", True),
        "/elsewhere": ("_within/data", False),
        "/code/data": ("_within/data", True),
    }
    assert seen(found["other"]) == {"/code": ("_tool", False), "/code/data": ("_within/data", True)}


def test_the_manifest_s_volumes_are_the_front_s_and_take_the_place_of_the_compose_file_s():
    volumes = [
        {"kind": "path", "source": "own", "target": "/own"},
        {"kind": "named", "source": "kept", "target": "/kept", "read_only": True},
    ]
    services = {
        "web": {"ports": [{"target": 80, "protocol": "tcp"}], "volumes": [bind("theirs", "/own"), bind("x", "/x")]},
        "db": {"volumes": [bind("theirs", "/own")]},
    }
    found = resolved(a_stack("tools/one", volumes=volumes), services).config
    assert seen(found["services"]["web"]) == {
        "/own": ("own", False),
        "/kept": ("kept", True),
        "/x": ("_repository/x", False),
    }
    assert seen(found["services"]["db"]) == {"/own": ("_repository/theirs", False)}
    assert found["volumes"]["kept"]["name"] == f"{PROJECT}_kept"


def test_dollars_in_paths_mean_dollars():
    services = {"web": {"volumes": [bind("a$$b", "/a$$b"), bind("a$$b/c$$d", "/y")]}}
    found = resolved(a_stack(), services)
    assert {place.origin for place in found.places} == {"a$b", "a$b/c$d"}
    targets = {each["target"]: each["source"] for each in found.config["services"]["web"]["volumes"]}
    assert targets["/a$$b"] == f"{DATA}/a$$b"
    assert targets["/a$$b/c$$d"] == f"{DATA}/_within/a$$b~c$$d"


def test_a_volume_without_a_name_keeps_the_same_one():
    stated = {"web": {"volumes": [{"type": "volume", "target": "/v"}]}, "db": {"volumes": []}}
    (volume,) = resolved(a_stack(), stated).config["volumes"]
    assert volume in resolved(a_stack(), stated).config["volumes"]
    assert volume.startswith("image-")


# Filling.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "conf" / "deep").mkdir(parents=True)
    (root / "conf" / "a.txt").write_text("shipped")
    (root / "conf" / "link").symlink_to("a.txt")
    (root / "site.conf").write_text("site")
    return root


def places(*origins: str) -> list[Place]:
    return list(placed(dict.fromkeys(origins), ".").values())


def test_what_is_shipped_is_copied_what_is_not_becomes_a_folder_and_what_is_there_stays(repository: Path):
    data = repository.parent / "data"
    made = seed(places("conf", "site.conf", "nothing/there"), repository, data)
    assert set(made) == {data / "conf", data / "site.conf", data / "nothing" / "there"}
    assert (data / "conf" / "a.txt").read_text() == "shipped"
    assert (data / "conf" / "link").readlink() == Path("a.txt")
    assert (data / "site.conf").read_text() == "site"
    assert (data / "nothing" / "there").is_dir()
    (data / "conf" / "a.txt").write_text("mine")
    (data / "site.conf").unlink()
    assert seed(places("conf", "site.conf"), repository, data) == [data / "site.conf"]
    assert (data / "conf" / "a.txt").read_text() == "mine"


def test_what_was_made_is_named_until_it_is_its_user_s_though_whoever_made_it_was_cut_off(repository: Path):
    data, unowned = repository.parent / "data", Unowned(repository.parent / "unowned.json")
    unowned.note(["conf"])  # cut off before it was made
    wanted = places("conf", "site.conf")
    everything = {data / "conf", data / "site.conf"}
    assert set(seed_noting(wanted, repository, data, unowned)) == everything
    assert set(seed_noting(wanted, repository, data, unowned)) == everything
    unowned.forget()
    assert seed_noting(wanted, repository, data, unowned) == []
    (data / "site.conf").unlink()
    assert seed_noting(wanted, repository, data, unowned) == [data / "site.conf"]


def test_there_is_a_place_to_mount_over_also_in_a_folder_that_is_read_only(repository: Path):
    data = repository.parent / "data"
    seed(places("conf", "conf/new/er", "conf/a.txt", "conf/link/x"), repository, data)
    assert (data / "conf" / "new" / "er").is_dir()
    assert (data / "conf" / "a.txt").read_text() == "shipped"
    assert (data / "conf" / "link").is_symlink()


def test_a_copy_that_was_broken_off_is_begun_anew(repository: Path):
    data = repository.parent / "data"
    (data / ".conf.seeding" / "half").mkdir(parents=True)
    seed(places("conf"), repository, data)
    assert sorted(path.name for path in (data / "conf").iterdir()) == ["a.txt", "deep", "link"]
    assert [path.name for path in data.iterdir()] == ["conf"]


@pytest.mark.parametrize("link", ["conf", "outer"])
@pytest.mark.parametrize("leads", ["/etc", "elsewhere", "nowhere"])
def test_a_link_in_the_way_is_refused_wherever_it_leads(repository: Path, link: str, leads: str):
    data = repository.parent / "data"
    (data / "elsewhere").mkdir(parents=True)
    (data / link).symlink_to(leads)
    with pytest.raises(Failure, match="through a link: remove it") as refused:
        seed(places("conf" if link == "conf" else "outer/inner"), repository, data)
    assert refused.value.code == "mount_refused"
