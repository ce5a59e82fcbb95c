from services.orchestrator.domain.engine_events import EngineEvent, parse_event

DIED = {
    "Type": "container",
    "Action": "die",
    "Actor": {
        "ID": "c" * 64,
        "Attributes": {
            "name": "machete-abcd2345-web-abc234",
            "io.machete.instance": "abcd2345",
            "io.machete.tool": "web-abc234",
            "io.machete.service": "app",
            "exitCode": "137",
        },
    },
    "timeNano": 1_763_712_000_123_456_789,
}


def changed(**changes: object) -> dict:
    return {**DIED, **changes}


def test_an_end_is_read_with_its_exit_code_and_its_instant():
    assert parse_event(DIED) == EngineEvent(
        container_id="c" * 64,
        container="machete-abcd2345-web-abc234",
        tool="web-abc234",
        service="app",
        action="die",
        time=1_763_712_000_123_456_789,
        exit_code=137,
    )


def test_a_signal_is_read_if_it_is_to_end_something():
    def killed(signal: str):
        attributes = {**DIED["Actor"]["Attributes"], "signal": signal}
        return parse_event(changed(Action="kill", Actor={"ID": "c", "Attributes": attributes}))

    for signal in ("9", "15"):
        event = killed(signal)
        assert event is not None
        assert event.action == "kill"
    for signal in ("1", "10", "12"):
        assert killed(signal) is None


def test_health_is_read_apart_from_the_action():
    event = parse_event(changed(Action="health_status: unhealthy"))
    assert event is not None
    assert (event.action, event.health) == ("health_status", "unhealthy")


def test_a_service_of_a_stack_keeps_its_name_and_its_second_container_is_told_apart():
    for number, name in (("1", "db"), ("2", "db-2")):
        labels = {"io.machete.tool": "t", "io.machete.service": "db", "com.docker.compose.container-number": number}
        event = parse_event(changed(Actor={"ID": "c", "Attributes": labels}))
        assert event is not None
        assert event.service == name


def test_whether_a_container_under_another_name_is_the_tools_stays_open():
    """Somebody may have renamed it; or it has the tool's labels of an image that `docker commit` wrote them into."""
    of_stack = {"com.docker.compose.service": "db", "com.docker.compose.container-number": "2"}
    own = DIED["Actor"]["Attributes"]
    for attributes, is_certain in (
        ({**own, "name": "backup"}, False),
        ({**own, "name": "machete-abcd2345-web-abc234-db-2"}, False),
        ({**own, **of_stack}, False),
        ({**own, **of_stack, "name": "machete-abcd2345-web-abc234-db-1"}, False),
        ({**own, **of_stack, "name": "machete-abcd2345-web-abc234-db-2"}, True),
        ({**own, **of_stack, "name": "0123456789ab_machete-abcd2345-web-abc234-db-2"}, True),
    ):
        event = parse_event(changed(Actor={"ID": "c", "Attributes": attributes}))
        assert event is not None
        assert event.doubtful is not is_certain


def test_everyone_who_sees_an_event_gives_it_the_same_identity():
    first, again = parse_event(DIED), parse_event(dict(DIED))
    other = parse_event(changed(timeNano=DIED["timeNano"] + 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.identity == again.identity != other.identity


def test_what_is_not_about_a_tool_is_no_event():
    assert parse_event(changed(Type="network")) is None
    assert parse_event(changed(Action="exec_start: sh")) is None
    assert parse_event(changed(Actor={"ID": "c", "Attributes": {"name": "other"}})) is None
    assert parse_event({}) is None
