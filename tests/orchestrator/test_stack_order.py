"""In which order a stack is stopped."""

from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.domain.stacks.order import dependencies, waves

_NAMES = st.sampled_from("abcdef")
_NEEDS = st.dictionaries(_NAMES, st.frozensets(_NAMES, max_size=3), max_size=6)


def test_compose_s_label_says_who_is_needed():
    assert dependencies("db:service_healthy:true,cache:service_started:false") == {"db", "cache"}
    assert dependencies("") == frozenset()


def test_whoever_needs_another_goes_before_it_and_the_rest_at_once():
    needs = {"web": {"app"}, "app": {"db", "cache"}, "db": set[str](), "cache": set[str](), "apart": set[str]()}
    found = waves({name: frozenset(others) for name, others in needs.items()})
    assert found == [{"web", "apart"}, {"app"}, {"db", "cache"}]


def test_a_circle_is_stopped_at_once_and_who_needs_it_before():
    needs = {"a": frozenset("b"), "b": frozenset("a"), "c": frozenset("a")}
    assert waves(needs) == [{"c"}, {"a", "b"}]


@given(_NEEDS)
def test_everybody_is_stopped_once_and_never_after_who_is_needed(needs: dict[str, frozenset[str]]):
    found = waves(needs)
    at = {name: number for number, wave in enumerate(found) for name in wave}
    assert sorted(name for wave in found for name in wave) == sorted(needs)
    for name, others in needs.items():
        assert all(at[name] <= at[other] for other in others if other in needs)
