"""Ways to hide from us what Compose sees: each is tried on Compose itself, and refused by us."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.stack_files import Files, failure_of, opens, outside, repository_beside_canaries


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return repository_beside_canaries(tmp_path)


# Ways to have something outside opened, all of which Compose follows; OUT is its absolute path.
OPENED: dict[str, Files] = {
    "short": {"compose.yaml": "services: {a: {image: x, env_file: OUT}}"},
    "list": {"compose.yaml": "services: {a: {image: x, env_file: [OUT]}}"},
    "long": {"compose.yaml": "services: {a: {image: x, env_file: [{path: OUT, required: false}]}}"},
    "upwards": {"compose.yaml": "services: {a: {image: x, env_file: ../../../canary.env}}"},
    "upwards from where nothing is": {"compose.yaml": "services: {a: {image: x, env_file: no/../../../../canary.env}}"},
    "labels": {"compose.yaml": "services: {a: {image: x, label_file: OUT}}"},
    "include": {"compose.yaml": "include: [YML]"},
    "include, long": {"compose.yaml": "include: [{path: [YML]}]"},
    "include, cased": {"compose.yaml": "include: [{PATH: YML}]"},
    "include, upwards": {"compose.yaml": "include: [../../../canary.yml]"},
    "include, variables": {
        "compose.yaml": "include: [{path: i.yml, env_file: OUT}]",
        "i.yml": "services: {a: {image: '${CANARY:+CANARY}x'}}",
    },
    "include, folder": {
        "compose.yaml": "include: [{path: i.yml, project_directory: ../../..}]",
        "i.yml": "services: {a: {image: x, env_file: canary.env}}",
    },
    "include, folder taken back": {
        "compose.yaml": "include: [{path: p/i.yml, project_directory: !reset p/q/r/s/t}]",
        "p/i.yml": "services: {a: {image: x, env_file: ../../../../canary.env}}",
    },
    "include, taken back by a merge": {
        "compose.yaml": "include: [{<<: !reset {project_directory: p/q/r/s/t}, path: p/i.yml}]",
        "p/i.yml": "services: {a: {image: x, env_file: ../../../../canary.env}}",
    },
    "include, first path taken back": {
        "compose.yaml": "include: [{path: [!reset p/q/r/s/t/j.yml, p/i.yml]}]",
        "p/q/r/s/t/j.yml": "services: {b: {image: x}}",
        "p/i.yml": "services: {a: {image: x, env_file: ../../../../canary.env}}",
    },
    "include, two paths": {
        "compose.yaml": "include: [{<<: [{path: p/i.yml}, {path: p/q/r/s/t/i.yml}]}]",
        "p/i.yml": "services: {a: {image: x, env_file: ../../../../canary.env}}",
        "p/q/r/s/t/i.yml": "services: {b: {image: x}}",
    },
    "include, two paths in turn": {
        "compose.yaml": "include: [{<<: {path: p/q/r/s/t/i.yml}, path: p/i.yml}]",
        "p/i.yml": "services: {a: {image: x, env_file: ../../../../canary.env}}",
        "p/q/r/s/t/i.yml": "services: {b: {image: x}}",
    },
    "extends": {"compose.yaml": "services: {a: {extends: {file: YML, service: s}}}"},
    "extends, upwards": {"compose.yaml": "services: {a: {extends: {file: ../../../canary.yml, service: s}}}"},
    "extends, merged": {"compose.yaml": "x-e: &e {file: YML}\nservices: {a: {extends: {<<: *e, service: s}}}"},
    "interpolated": {"compose.yaml": 'services: {a: {image: x, env_file: "${X:-OUT}"}}'},
    "interpolated include": {"compose.yaml": 'include: ["${X:-YML}"]'},
    "merged": {"compose.yaml": "x-m: &m {env_file: OUT}\nservices: {a: {<<: *m, image: x}}"},
    "merged from a list": {"compose.yaml": "x-m: &m {env_file: OUT}\nservices: {a: {<<: [{x-a: b}, *m], image: x}}"},
    "merged, tagged": {"compose.yaml": "services: {a: {!!merge <<: {env_file: OUT}, image: x}}"},
    "merged services": {"compose.yaml": "<<: {services: {a: {image: x, env_file: OUT}}}"},
    "merged entry": {"compose.yaml": "services: {a: {image: x, env_file: [{<<: {path: OUT}}]}}"},
    "anchor said twice": {"compose.yaml": "x-a: &k {a: b}\nx-b: &k {env_file: OUT}\nservices: {a: {<<: *k, image: x}}"},
    "aliased key": {"compose.yaml": "x-k: &k env_file\nservices: {a: {image: x, *k : OUT}}"},
    "aliased key, said twice": {"compose.yaml": "x-k: &k env_file\nservices: {a: {image: x, env_file: [], *k : OUT}}"},
    "binary key": {"compose.yaml": "services: {a: {image: x, !!binary ZW52X2ZpbGU=: OUT}}"},
    "unknown tag": {"compose.yaml": "services: {a: {image: x, env_file: !foo OUT}}"},
    "string tag": {"compose.yaml": "services: {a: {image: x, !!str env_file: !!str OUT}}"},
    "tag by directive": {
        "compose.yaml": "%TAG ! tag:yaml.org,2002:\n---\nservices: {a: {image: x, env_file: !str OUT}}"
    },
    "override": {"compose.yaml": "services: {a: {image: x, env_file: !override [OUT]}}"},
    "escaped key": {"compose.yaml": 'services: {a: {image: x, "env\\x5ffile": OUT}}'},
    "question mark": {"compose.yaml": "? services\n: a:\n    image: x\n    ? env_file\n    : OUT\n"},
    "folded": {"compose.yaml": "services:\n  a:\n    image: x\n    env_file: >-\n      OUT\n"},
    "second document": {"compose.yaml": "services: {a: {image: x}}\n---\nservices: {a: {env_file: OUT}}"},
    "after an end mark": {"compose.yaml": "services: {a: {image: x}}\n...\n---\nservices: {a: {env_file: OUT}}"},
    "next line": {"compose.yaml": "x-a: b\u0085services: {a: {image: x, env_file: OUT}}"},
    "line separator": {"compose.yaml": "# a comment\u2028services: {a: {image: x, env_file: OUT}}"},
    "carriage return": {"compose.yaml": "# a comment\rservices: {a: {image: x, env_file: OUT}}"},
    "byte order mark": {"compose.yaml": "\ufeffservices: {a: {image: x, env_file: OUT}}"},
    "UTF-16": {"compose.yaml": "services: {a: {image: x, env_file: OUT}}".encode("utf-16")},
    "tabs": {"compose.yaml": "services:\t{a: {image:\tx, env_file:\tOUT}}"},
    "a service called y": {"compose.yaml": "services: {y: {image: x, env_file: OUT}}"},
}


@pytest.mark.parametrize("way", OPENED)
def test_whatever_compose_would_open_outside_is_refused_before_it_does(world: Path, way: str) -> None:
    files: dict[str, str | bytes] = {}
    for name, text in OPENED[way].items():
        if isinstance(text, bytes):
            files[name] = text.decode("utf-16").replace("OUT", outside(world)).encode("utf-16")
        else:
            files[name] = text.replace("OUT", outside(world)).replace("YML", outside(world, "canary.yml"))

    assert opens(world, files), "this way leads nowhere, so its refusal proves nothing"
    assert failure_of(files).code in ("policy_refused", "compose_invalid")


_PIECES = st.sampled_from(
    [
        *" \t\n#:-'\"{}[]&*!|>%@?,\r\\",
        "\u0085",
        "\u2028",
        "\ufeff",
        "\u00a0",
        "<<",
        "---\n",
        "...\n",
        "x-a: b\n",
        "  ",
        "",
        "",
    ]
)
_FORMS = [
    "services:\n  a:\n    image: x\n    env_file: OUT\n",
    "services:\n  a:\n    image: x\n    env_file:\n    - OUT\n",
    "x-m: &m {env_file: OUT}\nservices:\n  a:\n    <<: *m\n    image: x\n",
    "services: {a: {image: x, env_file: [{path: OUT}]}}\n",
    "x-q: &q OUT\nservices:\n  a: {image: x, env_file: *q}\n",
    "x-n: |\n  text\nservices:\n  a:\n    image: x # c\n    ? env_file\n    : OUT\n",
]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(form=st.sampled_from(_FORMS), noise=st.lists(st.tuples(st.integers(0, 200), _PIECES), max_size=2))
def test_no_odd_writing_hides_from_us_what_compose_sees(world: Path, form: str, noise: list[tuple[int, str]]) -> None:
    for where, piece in noise:
        at = min(where, len(form))
        form = form[:at] + piece + form[at:]
    files = {"compose.yaml": form.replace("OUT", outside(world))}

    if opens(world, files):
        assert failure_of(files).code in ("policy_refused", "compose_invalid")
