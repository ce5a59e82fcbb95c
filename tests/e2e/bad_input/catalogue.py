"""All cases, in the order of the table."""

from __future__ import annotations

from tests.e2e.bad_input.addresses import REFUSED_ADDRESSES, UNREACHABLE
from tests.e2e.bad_input.case import Case
from tests.e2e.bad_input.outages import OUTAGES
from tests.e2e.bad_input.repositories import MANIFESTS, REFS, REFUSED_PLACES
from tests.e2e.bad_input.requests import IN_ORDER, NAMED, REQUESTS
from tests.e2e.bad_input.running import BUILDS, STARTS
from tests.e2e.bad_input.stacks import STACKS

GROUPS: dict[str, tuple[Case, ...]] = {
    "Git addresses": REFUSED_ADDRESSES,
    "Refs and folders": REFUSED_PLACES,
    "Names": NAMED,
    "Requests": REQUESTS,
    "Requests after others": IN_ORDER,
    "Fetching": UNREACHABLE,
    "What is in the repository": REFS,
    "Manifests": MANIFESTS,
    "Builds": BUILDS,
    "Starts": STARTS,
    "Stacks": STACKS,
    "Outages": OUTAGES,
}
CASES = tuple(case for cases in GROUPS.values() for case in cases)
# Refused before anything is stored, which can be told only while nothing else is asked.
STORES_NOTHING = (*REFUSED_ADDRESSES, *REFUSED_PLACES, *NAMED, *REQUESTS)
# They come to nothing together as they do alone.
SIDE_BY_SIDE = (*IN_ORDER, *UNREACHABLE, *REFS, *MANIFESTS, *BUILDS, *STARTS, *STACKS)
