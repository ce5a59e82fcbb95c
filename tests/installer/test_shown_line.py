"""What a log shows of a line that a stranger wrote."""

import pytest

from services.installer.adapters.git import LONGEST_LINE, LONGEST_READ, shown_line
from tests.support.growth import grows_with_its_input

SECRET = "s3cret" * 20


def test_a_line_is_shown_as_it_is_up_to_a_length() -> None:
    assert shown_line("remote: hello \x1b[2J\n") == "remote: hello \\x1b[2J"
    assert shown_line("a " * LONGEST_READ) == ("a " * LONGEST_READ)[:LONGEST_LINE]


@pytest.mark.parametrize(
    "secret", [f"https://user:{SECRET}@host/", f"Bearer {SECRET}", f"https://host/?token={SECRET}"]
)
@pytest.mark.parametrize("cut", [LONGEST_LINE, LONGEST_READ])
def test_no_part_of_a_secret_is_shown_wherever_the_line_is_cut(secret: str, cut: int) -> None:
    for filling in ("a", f"https://{'b' * 1000}@x ", "Bearer " + "1" * 90 + " "):
        for end in range(cut - len(secret), cut + 2):
            beginning = (filling * end)[: end - 1] + " "
            assert "s3c" not in shown_line(beginning + secret + " and more" * LONGEST_READ)


def test_a_word_too_long_to_be_looked_at_is_not_shown() -> None:
    assert shown_line(f"https://user:{SECRET * LONGEST_READ}@host/") == "…"
    assert shown_line(f"remote: https://user:{SECRET * LONGEST_READ}@host/") == "remote: …"


def test_the_work_on_a_line_grows_with_its_length() -> None:
    assert grows_with_its_input(lambda size: shown_line("bearer." * size), 300)
