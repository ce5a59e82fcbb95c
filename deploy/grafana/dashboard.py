"""The dashboard: what a person on call asks, in the order in which they ask it.

`python -m docs.generate` writes it to dashboards/machete.json, which Grafana loads by itself. A query for faults ends
in `or vector(0)`: a line at zero says that all is well, and an empty panel says that nobody looked.
"""

from __future__ import annotations

from collections.abc import Sequence

from deploy.grafana.layout import Group, Json, Panel, Query, dashboard, datasource_variable, label_variable

HERE = 'service=~"$service"'
NOT_WAITED_FOR = 'route!~".*/(log|logs|live)|/api/v1/operations/{id}"'


def build() -> Json:
    variables = [datasource_variable(), label_variable("service", "Service", "machete_build_info")]
    groups = [well(), stuck(), operations(), engine(), seen(), cost()]
    return dashboard("MACHETE", "machete", groups, variables)


def _rate(metric: str, *by: str, where: str = "", quiet: bool = False) -> str:
    """A second's worth of a counter; `quiet`: it counts faults, and is at zero while there are none."""
    selector = f"{metric}{{{where}}}" if where else metric
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({selector}[$__rate_interval]))" + (" or vector(0)" if quiet else "")


def _quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    inner = _rate(f"{histogram}_bucket", "le", *by, where=where)
    return f"histogram_quantile({share}, {inner})"


def _lines(*each: tuple[str, str]) -> Sequence[Query]:
    return [Query(promql, legend) for promql, legend in each]


def well() -> Group:
    return Group(
        "Is it there and well?",
        [
            Panel(
                "Services that run",
                "Fewer than there should be: look whether the process runs and what its log ends with; the page "
                "of targets in Prometheus says why a process that runs is not read.",
                _lines((f"count by (service) (machete_build_info{{{HERE}}})", "{{service}}")),
                kind="stat",
                limit=1,
                red_below=True,
            ),
            Panel(
                "Health checks that fail",
                "`machete doctor` and /api/health say what is missing and what to do about it.",
                _lines((f"count(machete_check_ok{{{HERE}}} == 0) or vector(0)", "failing")),
                kind="stat",
                limit=1,
            ),
            Panel(
                "Connected to NATS",
                "0 for one service: its network or its credentials; for all of them: the NATS server is away.",
                _lines((f"min by (service, user) (machete_nats_connected{{{HERE}}})", "{{user}}")),
                kind="stat",
                limit=1,
                red_below=True,
            ),
            Panel(
                "Versions that run",
                "More than one while nobody is upgrading: a process was not restarted.",
                _lines((f"count by (version) (machete_build_info{{{HERE}}})", "{{version}}")),
                kind="stat",
            ),
            Panel(
                "Health by check",
                "A check at 0 names what is missing; `engine` alone leaves the platform up and tools running.",
                _lines((f"min by (service, check) (machete_check_ok{{{HERE}}})", "{{service}} {{check}}")),
            ),
            Panel(
                "Trouble with NATS",
                "Lost connections: look at the server's own log. `refused`: a stream or its disk is full.",
                _lines(
                    (_rate("machete_nats_disconnects_total", "user", where=HERE), "{{user}} lost it"),
                    (
                        _rate("machete_nats_publish_troubles_total", "stream", "trouble", where=HERE, quiet=True),
                        "{{stream}} {{trouble}}",
                    ),
                ),
                unit="cps",
            ),
            Panel(
                "How full the streams are",
                "EVENTS and LOGS drop their oldest when full; COMMANDS refuses what is new: find out why nobody works.",
                _lines(
                    (
                        "max by (stream) (machete_stream_bytes) / max by (stream) (machete_stream_limit_bytes)",
                        "{{stream}}",
                    )
                ),
                unit="percentunit",
                limit=0.9,
            ),
        ],
    )


def stuck() -> Group:
    return Group(
        "Is anything stuck?",
        [
            Panel(
                "Oldest unfinished command",
                "Older than its deadline: its worker is gone or hangs. The list of operations says which one it is; "
                "cancel it, or restart the service that has it.",
                _lines(("max by (action) (machete_commands_oldest_seconds)", "{{action}}")),
                unit="s",
                limit=1800,
            ),
            Panel(
                "Commands to do",
                "All far above those in hand: workers are missing. In hand far above running: one tool has a "
                "long queue, or all places are taken.",
                _lines(
                    ('max(machete_stream_messages{stream="COMMANDS"})', "unfinished"),
                    ('sum(machete_in_hand_messages{consumer!="orchestrator-tasks"})', "in hand"),
                    ('sum(machete_running_messages{consumer!="orchestrator-tasks"})', "running"),
                ),
            ),
            Panel(
                "Handed to nobody, and who asks",
                "Messages that wait while nobody asks: that service does not run, or cannot reach NATS.",
                _lines(
                    ("max by (consumer) (machete_queue_undelivered_messages)", "{{consumer}} waiting"),
                    ("max by (consumer) (machete_queue_unacknowledged_messages)", "{{consumer}} in hand"),
                    ("max by (consumer) (machete_queue_askers)", "{{consumer}} askers"),
                ),
            ),
            Panel(
                "Age of a command when it is begun, 95 %",
                "Rising with few commands to do: workers are slow to answer; see the engine and this machine's load.",
                _lines((_quantile(0.95, "machete_command_age_seconds", "action", where=HERE), "{{action}}")),
                unit="s",
            ),
            Panel(
                "Deliveries",
                "Repeated ones: workers die or fall silent for longer than MACHETE_ACK_WAIT. Look for restarts and for "
                "a machine without memory or CPU to spare.",
                _lines(
                    (
                        _rate("machete_deliveries_total", "consumer", "repeated"),
                        "{{consumer}} repeated: {{repeated}}",
                    )
                ),
                unit="cps",
            ),
            Panel(
                "Given up",
                "Dead letters are kept in the stream DLQ with their reason; `retried` and `fenced` are work that began "
                "anew or was taken over.",
                _lines(
                    (_rate("machete_dead_letters_total", "stream", quiet=True), "dead letters {{stream}}"),
                    (_rate("machete_dead_letters_taken_out_total", "how", quiet=True), "dead letters {{how}}"),
                    (
                        _rate(
                            "machete_commands_handled_total",
                            "service",
                            "outcome",
                            where=f'{HERE}, outcome=~"retried|fenced"',
                            quiet=True,
                        ),
                        "{{service}} {{outcome}}",
                    ),
                ),
                unit="cps",
            ),
        ],
    )


def operations() -> Group:
    ended = _rate("machete_operation_seconds_count", "kind")
    failed = _rate("machete_operation_seconds_count", "kind", where='outcome="failed"')
    return Group(
        "How do installs, starts and the rest go?",
        [
            Panel(
                "Operations that ended",
                "None at all although people ask for them: see what is stuck, above.",
                _lines((_rate("machete_operation_seconds_count", "kind", "outcome"), "{{kind}} {{outcome}}")),
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Share that failed",
                "One kind: the reasons beside this say why. All kinds at once: the engine or the disk.",
                _lines((f"({failed} or 0 * {ended}) / ({ended} > 0) or vector(0)", "{{kind}}")),
                unit="percentunit",
                limit=0.5,
            ),
            Panel(
                "Why they fail",
                "The code of the problem: `build_failed`, `exited` and `not_ready` are faults of tools; `engine_away`, "
                "`internal_error`, `given_up` and `deadline_exceeded` are ours to look into.",
                _lines((_rate("machete_operation_failures_total", "kind", "code", quiet=True), "{{kind}} {{code}}")),
                unit="cps",
            ),
            Panel(
                "How long they take",
                "Installs wait for Git and for builds: compare with the parts beside this.",
                _lines(
                    (_quantile(0.5, "machete_operation_seconds", "kind"), "{{kind}} half"),
                    (_quantile(0.95, "machete_operation_seconds", "kind"), "{{kind}} 95 %"),
                ),
                unit="s",
            ),
            Panel(
                "How long parts take, 95 %",
                "Builds: a cold cache or a slow registry; or they wait for a slot, since only so many run at once. "
                "Starts: tools that are slow to become ready.",
                _lines(
                    (_quantile(0.95, "machete_task_seconds", "task"), "{{task}}"),
                    (_quantile(0.95, "machete_build_wait_seconds"), "waiting to build"),
                ),
                unit="s",
            ),
            Panel(
                "Tools by state",
                "`unknown`: the engine is away. `degraded` and `failed`: the list of tools gives the reason of each.",
                _lines(("max by (state) (machete_tools)", "{{state}}")),
                stacked=True,
            ),
            Panel(
                "Tools that should run and do not",
                "`waiting`: started again at the time that the tool's reason tells. `left`: somebody stopped them by "
                "hand, or their manifest says so; start or stop them.",
                _lines(
                    ("max by (standing) (machete_tools_drifted)", "{{standing}}"),
                    (_rate("machete_repairs_total", "cause", quiet=True), "started again: {{cause}}"),
                ),
            ),
        ],
    )


def engine() -> Group:
    faults = 'outcome!~"succeeded|cancelled|not_found"'
    return Group(
        "Does the Docker Engine answer?",
        [
            Panel(
                "Calls",
                "None: the orchestrator does not run, or has nothing to do.",
                _lines((_rate("machete_engine_calls_total", "outcome"), "{{outcome}}")),
                unit="cps",
                stacked=True,
            ),
            Panel(
                "Calls that failed",
                "`engine_away`: start the engine; its log says why it ended. `conflict` and `engine_error`: the engine "
                "refuses; the failed operation quotes its words.",
                _lines(
                    (
                        _rate("machete_engine_calls_total", "call", "outcome", where=faults, quiet=True),
                        "{{call}} {{outcome}}",
                    )
                ),
                unit="cps",
            ),
            Panel(
                "How long a call takes, 95 %",
                "All slow: the engine's disk, or many containers at once. `stop` lasts as long as a tool takes to end; "
                "waiting for a container's end is left out.",
                _lines((_quantile(0.95, "machete_engine_call_seconds", "call", where='call!~".* wait"'), "{{call}}")),
                unit="s",
            ),
        ],
    )


def seen() -> Group:
    return Group(
        "What do people see?",
        [
            Panel(
                "Requests",
                "By route, never by path. A route that grew suddenly: who does that is in the access log.",
                _lines((_rate("machete_http_requests_total", "service", "route", where=HERE), "{{service}} {{route}}")),
                unit="reqps",
            ),
            Panel(
                "Refused and failed",
                "5xx: the log has the cause under the request's id; 503 names what is missing. Many 401: an old token. "
                "Too many waiting: one tool, one asker, or everybody asks for more than is done.",
                _lines(
                    (
                        _rate("machete_http_requests_total", "status", where=f'{HERE}, status=~"[45].."', quiet=True),
                        "{{status}}",
                    ),
                    (
                        _rate("machete_commands_turned_away_total", "scope", quiet=True),
                        "too many waiting: {{scope}}",
                    ),
                    (
                        _rate("machete_streams_turned_away_total", quiet=True),
                        "too many open: live connections and logs",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Time to answer, 95 %",
                "Changes wait for NATS to store them, views for the projection. What is waited for on purpose, as a "
                "followed log, is left out.",
                _lines(
                    (
                        _quantile(
                            0.95, "machete_http_request_seconds", "method", "route", where=f"{HERE}, {NOT_WAITED_FOR}"
                        ),
                        "{{method}} {{route}}",
                    )
                ),
                unit="s",
            ),
            Panel(
                "Agents",
                "Refused ones: their key has too small a role. Turned away: wrong credentials, intruders, or a flood.",
                _lines(
                    (_rate("machete_agent_requests_total", "door", "status", quiet=True), "{{door}} {{status}}"),
                    (_rate("machete_agent_turned_away_total", "reason", quiet=True), "turned away: {{reason}}"),
                ),
                unit="reqps",
            ),
            Panel(
                "Projection behind",
                "Not back at zero within seconds: the log of status and its check `projection` say what holds it.",
                _lines(("max by (projection) (machete_projection_lag_events)", "{{projection}}")),
                limit=1000,
            ),
            Panel(
                "Database errors",
                "A full disk, or a PostgreSQL that is away: the status service's log quotes the database.",
                _lines((_rate("machete_database_errors_total", "service", where=HERE, quiet=True), "{{service}}")),
                unit="cps",
            ),
            Panel(
                "WebSockets and their frames",
                "Many sockets and no frames: nothing happens, or the readers are stuck; look at the projection first. "
                "`gap`: somebody came back for what is no longer kept.",
                _lines(
                    (f"sum by (service) (machete_websockets_open{{{HERE}}})", "{{service}} open"),
                    (_rate("machete_live_frames_total", "kind"), "{{kind}} frames/s"),
                ),
            ),
            Panel(
                "Log lines stored",
                "One tool that prints without end pushes out its own older lines: chunks that made way for others.",
                _lines(
                    (_rate("machete_log_lines_total", "origin"), "{{origin}}"),
                    (_rate("machete_log_chunks_cleared_total", quiet=True), "chunks that made way"),
                ),
                unit="cps",
            ),
            Panel(
                "Log lines that were no longer kept",
                "Readers come later than lines are dropped: see how full LOGS is. Printed too fast: a tool floods.",
                _lines(
                    (_rate("machete_log_lines_missed_total", "reader", quiet=True), "{{reader}}"),
                    (_rate("machete_log_lines_dropped_total", quiet=True), "printed too fast"),
                ),
                unit="cps",
            ),
        ],
    )


def cost() -> Group:
    return Group(
        "What does it cost?",
        [
            Panel(
                "CPU",
                "Near 1, a process has no more: what is asked of it is above. NATS and builds are not in this.",
                _lines((_rate("process_cpu_seconds_total", "instance", where='job="machete"'), "{{instance}}")),
                unit="percentunit",
                limit=0.9,
            ),
            Panel(
                "Memory",
                "Growing for days: restart the process, which loses nothing, and keep its numbers.",
                _lines(('sum by (instance) (process_resident_memory_bytes{job="machete"})', "{{instance}}")),
                unit="bytes",
            ),
            Panel(
                "Open files",
                "Near the limit, nothing new can be opened: raise it (`ulimit -n`), and look at who follows logs.",
                _lines(
                    ('sum by (instance) (process_open_fds{job="machete"})', "{{instance}}"),
                    ('sum by (instance) (process_max_fds{job="machete"})', "{{instance}} limit"),
                ),
            ),
        ],
    )
