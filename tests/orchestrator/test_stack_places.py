"""Where the folders of a stack lie: each by itself, so that no tool can put a link in the way of another mount."""

from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.orchestrator.domain.stacks.places import Bind, mounted_over, outer, placed

_PARTS = st.sampled_from(["a", "b", "a~b", "~", "~0", "_within", "_tool", "_repository", "__tool", "__within", "_"])
_ORIGINS = st.lists(_PARTS, max_size=3).map(lambda parts: "/".join(parts) or ".")


@pytest.mark.parametrize(
    ("origin", "folder", "path"),
    [
        ("data", ".", "data"),
        ("nginx/default.conf", ".", "nginx/default.conf"),
        (".", ".", "_tool"),
        ("tools/one/data", "tools/one", "data"),
        ("tools/one", "tools/one", "_tool"),
        ("tools/shared", "tools/one", "_repository/tools/shared"),
        (".", "tools/one", "_repository"),
        ("_tool", ".", "__tool"),
        ("_within/x", ".", "__within/x"),
        ("__repository", ".", "___repository"),
        ("_other", ".", "_other"),
    ],
)
def test_a_folder_of_the_repository_has_its_place_in_the_tool_s_data(origin: str, folder: str, path: str):
    assert placed({origin: None}, folder)[origin].path == path


def test_a_folder_within_another_lies_apart():
    found = placed({".": None, "data": "web", "data/deep/er": None}, ".")
    assert {origin: place.path for origin, place in found.items()} == {
        ".": "_tool",
        "data": "_within/data",
        "data/deep/er": "_within/data~deep~er",
    }
    assert found["data"].owner == "web"


def test_what_lies_around_a_folder_is_found_by_whole_names():
    assert outer("data/x", ["data", "dat", "data/x", ".", "data/x/y"]) == ("data", ".")


@given(st.sets(_ORIGINS, min_size=1, max_size=6), st.sampled_from([".", "a", "a/b"]))
@example({"data", "data/sub", "_within"}, ".")
@example({"a", "a/b~c", "a~b", "a~b/c"}, ".")
@example({"_repository", "b"}, "a")
def test_no_place_is_another_s_or_lies_within_another(origins: set[str], folder: str):
    paths = [PurePosixPath(place.path) for place in placed(dict.fromkeys(origins), folder).values()]
    for number, path in enumerate(paths):
        assert not path.is_absolute()
        assert ".." not in path.parts
        for other in paths[:number] + paths[number + 1 :]:
            assert not path.is_relative_to(other), (origins, paths)


def test_what_lies_within_is_mounted_over_its_place_as_the_nearest_folder_around_it_is():
    origins = [".", "data", "data/deep"]
    code = Bind(".", PurePosixPath("/code"), read_only=True)
    data = Bind("data", PurePosixPath("/code/data"))
    deep = Bind("data/deep", PurePosixPath("/code/data/deep"))
    assert mounted_over([code, data], origins, [code.target, data.target]) == [deep]
    assert mounted_over([code, data, deep], origins, [each.target for each in (code, data, deep)]) == []
    assert {(each.origin, each.read_only) for each in mounted_over([code], origins, [code.target])} == {
        ("data", True),
        ("data/deep", True),
    }
