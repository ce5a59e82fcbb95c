"""The port that a Dockerfile exposes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.installer.domain.dockerfile import exposed_port


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
        ("", None),
    ],
)
def test_the_first_tcp_port_of_the_last_stage_is_found(text: str, port: int | None) -> None:
    assert exposed_port(text) == port


@given(st.text("FROMEXPSARGV0123456789 $\\{}:-<\n#=\"'`", max_size=200))
def test_no_text_is_too_odd_to_be_looked_at(text: str) -> None:
    port = exposed_port(text)
    assert port is None or 1 <= port <= 65535
