"""What containers of the tests do. Real engines run the commands; the fake one knows them by heart."""

from dataclasses import dataclass

IMAGE = "machete-busybox:latest"
SERVES = ("sh", "-c", "trap 'exit 143' TERM; httpd -f -p 8080 -h / & wait")
HEALTHY_PATH, MISSING_PATH = "/bin/busybox", "/nothing"
SLEEPS = ("sleep", "1000")
PRINTS = ("sh", "-c", "echo first; sleep 0.1; echo second >&2; sleep 0.1; echo third; exec sleep 1000")
FAILS = ("sh", "-c", "echo something; echo is wrong; exit 3")
ENDS_WELL = ("sh", "-c", "echo done")


@dataclass(frozen=True)
class Behaviour:
    """`exit_code` None: it stays up. `answers` are the HTTP statuses of its port by path, None: no port is open."""

    prints: tuple[tuple[str, str], ...] = ()
    exit_code: int | None = None
    answers: dict[str, int] | None = None


WELL = Behaviour(answers={HEALTHY_PATH: 200, MISSING_PATH: 404})
BEHAVIOURS: dict[tuple[str, ...] | None, Behaviour] = {
    SERVES: WELL,
    SLEEPS: Behaviour(),
    PRINTS: Behaviour(prints=(("stdout", "first"), ("stderr", "second"), ("stdout", "third"))),
    FAILS: Behaviour(prints=(("stdout", "something"), ("stdout", "is wrong")), exit_code=3),
    ENDS_WELL: Behaviour(prints=(("stdout", "done"),), exit_code=0),
}
