"""The port that a Dockerfile exposes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.installer.domain.dockerfile import exposed_port
from tests.support.growth import grows_with_its_input


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("FROM x\nEXPOSE 8080", 8080),
        ("from x\nexpose 8080/tcp 9090", 8080),
        ("FROM x\nEXPOSE 53/udp 80", 80),
        ("FROM x\nEXPOSE 3000-3005", 3000),
        ("FROM x\n# EXPOSE 1\nEXPOSE \\\n  # a comment\n  8080", 8080),
        ("ARG PORT=81\nFROM x\nEXPOSE $PORT", 81),
        ("FROM x\nENV PORT 82\nEXPOSE ${PORT}/tcp", 82),
        ('FROM x\nENV A=1 PORT="83"\nEXPOSE ${PORT}', 83),
        ("FROM x\nEXPOSE ${PORT:-84}", 84),
        ("FROM x\nEXPOSE ${PORT}", None),
        ("FROM x AS build\nEXPOSE 1000\nFROM y\nEXPOSE 80", 80),
        ("FROM x AS build\nEXPOSE 1000\nFROM y", None),
        ("FROM --platform=linux/amd64 x AS base\nEXPOSE 85\nFROM base", 85),
        ("FROM x\nRUN <<EOF\nEXPOSE 1\nEOF\nEXPOSE 86", 86),
        ("# escape=`\nFROM x\nEXPOSE `\n 87", 87),
        ("FROM x\nEXPOSE 99999 http", None),
        ("FROM x\nENV A='b c=1' PORT=88\nEXPOSE $PORT", 88),
        ("FROM x\nEXPOSE 89 90\nFROM 0 as y\nEXPOSE 1", 89),
        ("FROM x\nRUN a \\\n\\\n # a comment\n EXPOSE 1 \\\n\nEXPOSE 91", 91),
        (f"FROM x\nEXPOSE {' ' * 9000}1\nEXPOSE 92", 92),
        (f"FROM x\nRUN {'a' * 9000} <<EOF\nEXPOSE 1\nEOF\nEXPOSE 93", 93),
        ("", None),
    ],
)
def test_the_first_tcp_port_of_the_last_stage_is_found(text: str, port: int | None) -> None:
    assert exposed_port(text) == port


@given(st.text("FROMEXPSARGV0123456789 $\\{}:-<\n#=\"'`", max_size=200))
def test_no_text_is_too_odd_to_be_looked_at(text: str) -> None:
    port = exposed_port(text)
    assert port is None or 1 <= port <= 65535


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        ("ENV ", "a"),
        ("ENV A", "="),
        ("ENV A=", "'\""),
        ("FROM ", "-"),
        ("FROM ", "--a"),
        ("EXPOSE ", "${a"),
        ("EXPOSE ${", "a"),
        ("RUN ", "<<'"),
    ],
)
def test_the_work_on_a_line_grows_with_its_length(before: str, repeated: str) -> None:
    assert grows_with_its_input(lambda size: exposed_port(before + repeated * (size // len(repeated))), 1000)


@pytest.mark.parametrize(
    ("before", "repeated"),
    [
        ("RUN ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\\n"),
        ("EXPOSE 1 2 3\n", "EXPOSE 4 5 6 7 8 9\nFROM 0\n"),
    ],
)
def test_the_work_on_a_file_grows_with_its_lines(before: str, repeated: str) -> None:
    assert grows_with_its_input(lambda size: exposed_port(before + repeated * size), 1000)


def test_variables_that_double_each_other_stay_small() -> None:
    assert exposed_port("ENV A=12345678\n" + "ENV A=$A$A\n" * 100 + "EXPOSE $A 94") == 94
