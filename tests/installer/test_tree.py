"""Where links lead: out of the repository is out of the question."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.installer.domain.failures import FetchFailed
from services.installer.domain.tree import LeadsOut, check_folder, check_links, follow


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
