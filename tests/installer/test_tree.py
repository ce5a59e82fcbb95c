"""Where links lead: out of the repository is out of the question."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.installer.domain.failures import FetchFailed
from services.installer.domain.tree import (
    MAX_PATH,
    MAX_STEPS,
    LeadsOut,
    LeadsTooFar,
    Steps,
    check_folder,
    check_links,
    check_name,
    follow,
)
from tests.support.growth import grows_with_its_input


def test_links_that_stay_inside_are_kept() -> None:
    check_links({"a": "b/c", "b/up": "../x", "b/dangling": "nowhere", "loop": "loop", "b/c/top": "../../a"})


@pytest.mark.parametrize(
    "links",
    [
        {"a": "/etc/passwd"},
        {"a": ".."},
        {"a": "../x"},
        {"a/b": "../../x"},
        {"a/b/c/up": "../../..", "m": "a/b/c/up/../x"},
        {"here": ".", "out": "here/../x"},
        {"a": "b", "b": "c", "c": "/"},
        {"a/deep/link": "../../..//etc"},
    ],
)
def test_a_link_that_leads_out_is_refused_by_its_name(links: dict[str, str]) -> None:
    with pytest.raises(FetchFailed, match=r"leads out of the repository") as refused:
        check_links(links)
    assert refused.value.code == "link_leads_out"
    assert any(f"The link {path} " in refused.value.message for path in links)


def test_a_circle_leads_nowhere() -> None:
    assert follow("a/x", {"a": "b", "b": "a"}) is None


def chained(count: int) -> dict[str, str]:
    """Links of which each leads over the next, by a target as long as one may be."""
    return {f"l{number:04}": "a/" * 2040 + f"../../l{number + 1:04}" for number in range(count)}


def test_the_links_of_a_repository_take_a_bounded_number_of_steps() -> None:
    for links in ({f"l{n:04}": "./" * 2040 + f"l{n + 1:04}" for n in range(400)}, chained(400)):
        with pytest.raises(FetchFailed, match=rf"more than {MAX_STEPS} folders, at l\d{{4}};") as refused:
            check_links(links)
        assert refused.value.code == "repository_unsafe"


def test_many_honest_links_are_let_in() -> None:
    check_links({f"a/b/c/d/l{number}": "../../e/f" for number in range(15_000)})


def test_a_path_takes_its_steps_from_what_is_left() -> None:
    steps = Steps(left=7)
    assert follow("a/x", {"a": "b/./c"}, steps) == "b/c/x"
    assert steps.left == 2
    with pytest.raises(LeadsTooFar):
        follow("a/x", {"a": "b/./c"}, steps)


def test_the_work_on_a_link_grows_with_its_steps() -> None:
    assert grows_with_its_input(lambda size: follow("x/" * size, {}, Steps(left=2 * size)), 4000)


def test_a_link_at_the_longest_path_is_seen() -> None:
    path = "a" * (MAX_PATH - 2) + "/b"
    assert len(path) == MAX_PATH
    with pytest.raises(LeadsOut):
        follow(path, {path: "/"})


def test_between_one_link_and_the_next_the_check_can_be_stopped() -> None:
    class Stopped(Exception):
        pass

    asked: list[int] = []

    def between() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        check_links({"a": "x", "b": "x", "c": "/", "d": "/"}, between)


PARTS = st.sampled_from(["a", "b", "c", "..", ".", ""])
TARGETS = st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(bool)
PLACES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=200)
@given(st.dictionaries(PLACES, TARGETS, max_size=4), PLACES)
def test_links_are_followed_as_the_kernel_follows_them(links: dict[str, str], path: str) -> None:
    links = {place: target for place, target in links.items() if not any(p + "/" in place for p in links)}
    try:
        ours = follow(path, links)
    except LeadsOut:
        ours = "out"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "1/2/3/4/5/6/7/8/9/root"
        root.mkdir(parents=True)
        for place, target in links.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).symlink_to(target)
        if ours is None or ours == "out":
            # What leads out may come back in: refused all the same, so the kernel is not asked.
            return
        if (root / path).exists():
            assert os.path.realpath(root / path) == os.path.realpath(root / ours)
            assert Path(os.path.realpath(root / path)).is_relative_to(root)


def test_a_folder_that_is_not_there_is_answered_with_those_that_are() -> None:
    paths = ["README.md", "tools/a/x", "tools/b/x", "docs/x"]
    check_folder("tools/a", paths)
    with pytest.raises(FetchFailed, match=r"no folder tools/c; there are tools/a, tools/b\."):
        check_folder("tools/c", paths)
    with pytest.raises(FetchFailed, match=r"no folder x; there are docs, tools\."):
        check_folder("x", paths)
    with pytest.raises(FetchFailed, match=r"no folder README.md; "):
        check_folder("README.md", paths)


@pytest.mark.parametrize("name", ["", ".", "..", ".git", ".GIT", ".Git", "a/b", "/", "a\0", "../x"])
def test_a_name_that_means_another_place_is_refused(name: str) -> None:
    with pytest.raises(FetchFailed, match="an entry that no file can be made of"):
        check_name(name, f"folder/{name}")


@pytest.mark.parametrize("name", ["...", ".gitignore", ".github", "git", "a.git", " ", "größe"])
def test_a_name_that_only_looks_odd_is_kept(name: str) -> None:
    check_name(name, name)
