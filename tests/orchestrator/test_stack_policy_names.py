"""Services of a stack go by names that lists and logs can tell apart."""

from pathlib import PurePosixPath
from typing import Any

import pytest

from services.orchestrator.domain.stacks.policy import judge

OPERATION = "op-" + "a2" * 13


def judged(services: dict[str, Any]) -> list[str]:
    return [str(each) for each in judge({"services": services}, PurePosixPath("/repo"))]


def test_two_services_whose_dots_and_underscores_alone_differ_are_refused_and_both_named():
    assert judged({"a.b": {}, "c": {}, "a_b": {}}) == [
        'services.a_b: found "a_b"; in lists and logs it is called "a_b", as "a.b" is; call one of them otherwise'
    ]


def test_a_service_that_is_called_like_a_further_container_of_another_one_is_refused_and_both_named():
    (sentence,) = judged({"w-2": {}, "w": {"deploy": {"replicas": 2}}})
    assert sentence == (
        'services.w-2: found "w-2"; containers of "w" after the first are called so too; call one of them otherwise'
    )


@pytest.mark.parametrize(
    "services",
    [
        {"w": {"scale": 2}, "w-3": {}},  # Compose gives one that it makes anew the next number
        {"w": {"scale": 3}, "w-10": {}},
        {"a.b": {"scale": 2}, "a_b-2": {}},
        {"a_b": {"scale": 2}, "a.b-2": {"scale": 0}},
        {"w": {"scale": 2}, "w-2": {"scale": 2}},
        {"w-2": {"scale": 2}, "w-2-2": {}},
    ],
)
def test_so_is_whatever_number_it_may_get_and_however_it_is_written(services: dict[str, Any]):
    (sentence,) = judged(services)
    assert "call one of them otherwise" in sentence


@pytest.mark.parametrize(
    "services",
    [
        {"w": {}, "w-2": {}},
        {"w": {"scale": 1}, "w-2": {"scale": 2}},
        {"w": {"scale": 0}, "w-2": {}},
        {"w": {"scale": 2}, "w-1": {}, "w-0": {}, "w-02": {}, "w-x": {}, "w2": {}},
        {"a.b": {}, "a-b": {}, "a.B": {}, "ab": {}},
        {OPERATION + "a": {}, OPERATION.upper(): {}, OPERATION[:-1]: {}},
    ],
)
def test_names_that_can_be_told_apart_pass(services: dict[str, Any]):
    assert judged(services) == []


def test_a_service_that_is_called_like_an_operation_is_refused():
    (sentence,) = judged({OPERATION: {}})
    assert sentence == (
        f'services.{OPERATION}: found "{OPERATION}"; this is how the log of an operation is called; call it otherwise'
    )


def test_what_others_are_called_is_shown_safely():
    (sentence,) = [each for each in judged({"a\x1b.": {}, "a\x1b_": {}}) if "otherwise" in each]
    assert sentence.isprintable()
