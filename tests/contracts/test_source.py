"""What is let in as address, ref, folder and name: the same at every door."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from libs.contracts.names import ToolName, is_tool_name
from libs.contracts.source import (
    Refused,
    check_git_url,
    check_ref,
    check_subdir,
    check_tool_name,
    shown,
    slug,
)

HOSTILE_NAMES = [
    "a;id",
    "$(id)",
    "../x",
    "",
    "x" * 300,
    "A",
    "a_b",
    "-a",
    "a-",
    "a\n",
    "ａ",
    "a b",
    "a.b",
    "a/b",
    "a\0",
]
HOSTILE_REFS = [
    "main;curl",
    "--upload-pack=x",
    "-x",
    "a b",
    "a\nb",
    "main\n",
    "a'b",
    'a"b',
    "a`id`",
    "$(id)",
    "a..b",
    "a@{1}",
    "a:b",
    "+a",
    "^a",
    "a~1",
    "a*",
    "a?",
    "a[b",
    "a\\b",
    "a//b",
    "a/",
    "/a",
    "a.lock",
    "a/.b",
    "a.",
    "",
    "x" * 256,
    "a\0",
    "a\x7f",
]
HOSTILE_SUBDIRS = [
    "..",
    "../x",
    "a/../b",
    "/etc",
    "-x",
    "a/-x",
    ".",
    "",
    "a\\b",
    "a\nb",
    "a\0",
    ".git",
    "a/.GIT/b",
    "x" * 501,
]


def refusal(url: str, *protocols: str) -> Refused:
    with pytest.raises(Refused) as refused:
        check_git_url(url, protocols or ("https", "ssh"))
    return refused.value


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_that_could_mean_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="is no tool name"):
        check_tool_name(name)
    with pytest.raises(ValidationError):
        TypeAdapter(ToolName).validate_python(name)


@pytest.mark.parametrize("ref", HOSTILE_REFS)
def test_a_ref_that_could_be_more_than_a_ref_is_refused(ref: str) -> None:
    with pytest.raises(Refused, match="is no branch, tag or commit") as refused:
        check_ref(ref)
    assert refused.value.code == "git_ref_invalid"


@pytest.mark.parametrize(
    "ref", ["main", "v1.0.0", "feature/a-b_c", "refs/pull/1/head", "größe", "0" * 40, "a#1", "a@b", "1+2", "HEAD"]
)
def test_refs_that_people_use_are_let_in_unchanged(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize("subdir", HOSTILE_SUBDIRS)
def test_a_folder_that_is_not_below_the_root_is_refused(subdir: str) -> None:
    with pytest.raises(Refused, match="is no folder inside the repository"):
        check_subdir(subdir)


@pytest.mark.parametrize("subdir", ["a/b", "./a/b", "a/b/", "a//b", "a/./b"])
def test_a_folder_has_one_form(subdir: str) -> None:
    assert check_subdir(subdir) == "a/b"


@pytest.mark.parametrize(
    ("url", "protocol", "host", "name"),
    [
        ("https://git.example.org/team/My_Tool.git", "https", "git.example.org", "my-tool"),
        ("https://git.example.org:8443/tool/", "https", "git.example.org", "tool"),
        ("HTTPS://git.example.org/tool", "https", "git.example.org", "tool"),
        ("https://[::1]:8443/tool", "https", "[::1]", "tool"),
        ("ssh://git@git.example.org:2222/team/tool.git", "ssh", "git.example.org", "tool"),
        ("git@git.example.org:team/tool.git", "ssh", "git.example.org", "tool"),
        ("git@git.example.org:tool", "ssh", "git.example.org", "tool"),
    ],
)
def test_addresses_that_git_clone_takes_are_let_in(url: str, protocol: str, host: str, name: str) -> None:
    checked = check_git_url(url)
    assert (checked.protocol, checked.host, checked.default_name) == (protocol, host, name)
    assert checked.value.lower() == url.lower()


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "/etc/passwd",
        "./here",
        "../here",
        "here",
        "~/here",
        "C:\\here",
        "-oProxyCommand=id",
        "--upload-pack=id",
        "https://-oProxyCommand=id/x",
        "ssh://-oProxyCommand=id/x",
        "git@-oProxyCommand=id:x",
        "git@host:-x",
        "https://host/x\n",
        "https://host/x y",
        "https://host/x%0ay",
        "https://host/%00",
        "https://host/x\x1b[0m",
        "https://ho\u202est/x",
        "https:///x",
        "https://",
        "https://host",
        "https://host/",
        "https://host:99999/x",
        "https://host:x/y",
        "https://host:0/y",
        "https://[::1/x",
        "https://h_st;id/x",
        "https://host/x?a=b",
        "https://host/x#a",
        "",
        "https://host/" + "x" * 2000,
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    assert refusal(url).code == "git_url_invalid"


@pytest.mark.parametrize(
    "url", ["http://host/x", "file:///x", "git://host/x", "ftp://host/x", "ext::sh://x", "git+ssh://host/x", "://x"]
)
def test_only_allowed_protocols_are_let_in(url: str) -> None:
    assert refusal(url).code == "git_protocol_not_allowed"
    assert "allowed: https, ssh (setting MACHETE_GIT_PROTOCOLS)." in refusal(url).message


def test_http_and_file_are_let_in_where_a_setting_says_so() -> None:
    assert check_git_url("http://127.0.0.1:8000/x", ["http"]).host == "127.0.0.1"
    assert check_git_url("file:///srv/x.git", ["file"]).default_name == "x"
    assert refusal("git@host:x", "https").code == "git_protocol_not_allowed"
    assert refusal("file://host/x", "file").code == "git_url_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret@host/x",
        "https://s3cret@host/x",
        "https://:s3cret@host/x",
        "https://host:s3cret@host/x",
        "ssh://git:s3cret@host/x",
        "http://s3cret@host/x",
        "git:s3cret@host:x",
        "s3cret:x@host:y:z",
        "https://host/x?token=s3cret",
        "https://a@s3cret@host/x",
        "https://user:s3cret@/x",
        "https://user:s3cret@host:port/x",
        "user:s3cret@host/a://b",
        "https://host/s3cret\n",
        "ext::sh -c s3cret",
    ],
)
def test_a_credential_in_an_address_is_refused_and_never_repeated(url: str) -> None:
    refused = refusal(url, "https", "http", "ssh")
    assert "s3cret" not in refused.message
    assert "s3cret" not in str(refused.problem)


@given(st.text(max_size=60) | st.from_regex(r"(https?|ssh|file|ext)(://|::)[ -~]{0,30}", fullmatch=True))
def test_what_is_let_in_can_be_nothing_but_an_address_to_git(url: str) -> None:
    try:
        checked = check_git_url(url, ["https", "ssh"])
    except Refused as refused:
        assert refused.message.isprintable()  # noqa: PT017
        return
    assert checked.value.startswith(("https://", "ssh://")) or "@" in checked.value.split(":")[0]
    assert checked.value.isprintable()
    assert not checked.host.startswith("-")
    assert "::" not in checked.value.split("/")[0].split("[")[0]


@given(st.text(max_size=80))
def test_a_slug_is_a_tool_name_or_nothing(text: str) -> None:
    assert slug(text) == "" or is_tool_name(slug(text))


def test_an_address_that_gives_no_name_asks_for_one() -> None:
    with pytest.raises(Refused, match="choose a name") as refused:
        _ = check_git_url("https://host/🔧.git").default_name
    assert refused.value.code == "tool_name_needed"


@given(st.text())
def test_a_strangers_text_is_shown_on_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 63
