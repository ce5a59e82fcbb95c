"""What a stack may ask of the host: every rule on what Compose itself makes of a file, with a twin that passes."""

from pathlib import Path, PurePosixPath

import pytest
import yaml

from services.orchestrator.domain.stacks.policy import judge
from services.orchestrator.domain.stacks.policy_rules import Refusal
from services.orchestrator.domain.stacks.policy_services import SERVICE_KEYS
from tests.support.compose import compose_config, write_files

# What is refused, where in the service, and what is asked for instead by a twin that passes.
SERVICES = [
    ("privileged: true", "privileged", "privileged: false"),
    ("network_mode: host", "network_mode", "network_mode: none"),
    ("network_mode: bridge", "network_mode", "network_mode: 'service:plain'"),
    ("network_mode: 'container:other'", "network_mode", "networks: [default]"),
    ("network_mode: somebodys", "network_mode", "networks: {default: {aliases: [a], ipv4_address: 172.28.0.9}}"),
    ("pid: host", "pid", "pid: 'service:plain'"),
    ("pid: 'container:other'", "pid", "init: true"),
    ("ipc: host", "ipc", "ipc: 'service:plain'"),
    ("ipc: 'container:other'", "ipc", "ipc: shareable"),
    ("uts: host", "uts", "hostname: web"),
    ("cgroup: host", "cgroup", "cgroup: private"),
    ("userns_mode: host", "userns_mode", "user: '1000'"),
    ("cap_add: [NET_BIND_SERVICE]", "cap_add[0]", "cap_drop: [ALL]"),
    ("devices: ['/dev/kvm:/dev/kvm']", "devices[0]", "group_add: [audio]"),
    ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules[0]", "blkio_config: {weight: 300}"),
    ("gpus: all", "gpus", "cpus: 0.5"),
    (
        "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
        "deploy.resources.reservations.devices",
        "deploy: {mode: global, replicas: 1, placement: {constraints: [node.role==manager]}, "
        "resources: {limits: {cpus: '1', memory: 1G, pids: 100}, reservations: {memory: 1M}}}",
    ),
    ("deploy: {resources: {limits: {pids: -1}}}", "deploy.resources.limits.pids", "pids_limit: 100"),
    ("pids_limit: -1", "pids_limit", "mem_limit: 1G"),
    ("pids_limit: 16385", "pids_limit", "pids_limit: 16384"),
    ("deploy: {resources: {limits: {pids: 4194304}}}", "deploy.resources.limits.pids", "pids_limit: 2048"),
    ("scale: 21", "scale", "scale: 0"),
    ("deploy: {replicas: 1000000}", "deploy.replicas", "deploy: {replicas: 3}"),
    ("security_opt: ['seccomp=unconfined']", "security_opt[0]", "security_opt: ['no-new-privileges:true']"),
    ("security_opt: ['no-new-privileges:false']", "security_opt[0]", "security_opt: [no-new-privileges]"),
    ("security_opt: ['label:disable']", "security_opt[0]", "security_opt: ['no-new-privileges=true']"),
    ("volumes_from: ['container:other']", "volumes_from[0]", "volumes_from: ['plain:ro']"),
    ("external_links: [other]", "external_links[0]", "links: ['plain:other']"),
    ("cgroup_parent: /system.slice", "cgroup_parent", "cpu_shares: 512"),
    ("runtime: io.containerd.wasmedge.v1", "runtime", "platform: linux/amd64"),
    ("credential_spec: {file: ./spec.json}", "credential_spec", "stop_signal: SIGINT"),
    ("isolation: hyperv", "isolation", "isolation: default"),
    ("oom_kill_disable: true", "oom_kill_disable", "oom_kill_disable: false"),
    ("oom_score_adj: -500", "oom_score_adj", "oom_score_adj: 500"),
    ("storage_opt: {size: 1G, other: x}", "storage_opt.other", "storage_opt: {size: 1G}"),
    ("sysctls: [kernel.panic=1]", 'sysctls["kernel.panic"]', "sysctls: [net.core.somaxconn=1024]"),
    ("sysctls: {vm.swappiness: 1}", 'sysctls["vm.swappiness"]', "sysctls: {kernel.shmmax: 1, fs.mqueue.msg_max: 5}"),
    ("annotations: {org.systemd.property.X: y}", "annotations", "labels: {org.example: y}"),
    ("cpu_rt_runtime: 1000", "cpu_rt_runtime", "cpu_quota: 50000"),
    (
        "post_start: [{command: id, privileged: true}]",
        "post_start[0].privileged",
        "pre_stop: [{command: id, user: root, working_dir: /, environment: {A: b}}]",
    ),
    (
        "networks: {default: {driver_opts: {com.docker.network.endpoint.sysctls: a=b}}}",
        "networks.default.driver_opts",
        "networks: {default: {priority: 5, mac_address: '02:42:ac:11:00:09'}}",
    ),
    ("volumes: ['/etc:/host:ro']", "volumes[0]", "volumes: ['./etc:/host:ro']"),
    ("volumes: [{type: bind, source: /etc, target: /host}]", "volumes[0]", "volumes: ['.:/code']"),
    ("volumes: ['../outside:/x']", "volumes[0]", "volumes: ['./a/../inside:/x']"),
    ("volumes: [{type: bind, source: ../outside, target: /x}]", "volumes[0]", "volumes: ['~/data:/x']"),
    ("volumes: ['/var/run/docker.sock:/x.sock:ro']", "volumes[0]", "volumes: ['named:/var/run/docker.sock']"),
    ("volumes: ['/run:/host-run']", "volumes[0]", "tmpfs: ['/run']"),
    (
        "volumes: ['/run/containerd/containerd.sock:/s']",
        "volumes[0]",
        "volumes: [/anonymous, {type: tmpfs, target: /t}]",
    ),
    ("volumes: ['/:/host']", "volumes[0]", "volumes: [{type: volume, source: named, target: /d}]"),
    (
        "volumes: [{type: bind, source: ./d, target: /d, bind: {propagation: rshared}}]",
        "volumes[0].bind.propagation",
        "volumes: [{type: bind, source: ./d, target: /d, bind: {propagation: rprivate, create_host_path: false}}]",
    ),
    ("volumes: ['./d:/d:rslave']", "volumes[0].bind.propagation", "volumes: ['./d:/d:z']"),
    ("volumes: [{type: npipe, source: x, target: /p}]", "volumes[0].type", "working_dir: /app"),
    ("volumes: ['${UNSET:-/etc}:/host']", "volumes[0]", "volumes: ['${UNSET:-./etc}:/host']"),
    (
        "volumes: [{type: bind, source: './a:b', target: /x}]",
        "volumes[0]",
        "volumes: [{type: volume, source: named, target: /x, volume: {nocopy: true, subpath: y}}]",
    ),
    ("build: https://example.org/tool.git", "build.context", "build: ."),
    ("build: {context: ..}", "build.context", "build: {context: ./app, target: dev, args: {A: b}}"),
    ("build: {context: /etc}", "build.context", "build: {context: ./app, dockerfile: ../docker/Dockerfile}"),
    (
        "build: {context: ., dockerfile: ../Dockerfile}",
        "build.dockerfile",
        "build: {context: ., dockerfile_inline: FROM scratch}",
    ),
    ("build: {context: ., dockerfile: /etc/passwd}", "build.dockerfile", "build: {context: ., network: none}"),
    (
        "build: {context: ., additional_contexts: {host: /etc}}",
        "build.additional_contexts.host",
        "build: {context: ., additional_contexts: {base: 'docker-image://debian', own: ./lib}}",
    ),
    (
        "build: {context: ., additional_contexts: ['far=https://example.org/x.git']}",
        "build.additional_contexts.far",
        "build: {context: ., no_cache: true, pull: true, tags: [x]}",
    ),
    (
        "build: {context: ., additional_contexts: {oci: 'oci-layout:///etc'}}",
        "build.additional_contexts.oci",
        "build: {context: ., ulimits: {nofile: 5}, shm_size: 1m}",
    ),
    ("build: {context: ., privileged: true}", "build.privileged", "build: {context: ., labels: {a: b}}"),
    (
        "build: {context: ., entitlements: [network.host]}",
        "build.entitlements[0]",
        "build: {context: ., extra_hosts: ['h:1.2.3.4']}",
    ),
    ("build: {context: ., network: host}", "build.network", "build: {context: ., network: default}"),
    ("build: {context: ., network: 'container:other'}", "build.network", "build: {context: ., platforms: []}"),
    ("build: {context: ., ssh: [default]}", "build.ssh[0]", "build: {context: ., secrets: [inner]}"),
    (
        "build: {context: ., cache_to: ['type=local,dest=/etc']}",
        "build.cache_to[0]",
        "build: {context: ., cache_to: ['type=inline'], cache_from: [alpine, 'type=registry,ref=x/y']}",
    ),
    ("build: {context: ., cache_from: ['type=local,src=/etc']}", "build.cache_from[0]", "command: [a]"),
    (
        "build: {context: ., args: {BUILDKIT_SYNTAX: me/mine}}",
        "build.args.BUILDKIT_SYNTAX",
        "build: {context: ., args: {BUILDKIT_SYNTAX: 'docker/dockerfile:1.7', A: me/mine}}",
    ),
    (
        "build: {context: ., dockerfile_inline: '# syntax=me/mine'}",
        "build.dockerfile_inline",
        "build: {context: ., dockerfile_inline: '# syntax=docker/dockerfile:1'}",
    ),
    ("build: {context: ., isolation: process}", "build.isolation", "entrypoint: [a]"),
    ("image: x", None, "logging: {driver: syslog, options: {syslog-address: 'tcp://10.0.0.1:514'}}"),
    ("image: y", None, "ports: ['80:80', '0.0.0.0:81:81/udp', {target: 82, host_ip: 10.0.0.1, published: '82'}]"),
    ("image: z", None, "extra_hosts: ['host.docker.internal:host-gateway']"),
    ("ulimits: {nofile: 1024}", None, "develop: {watch: [{path: /etc, action: rebuild}]}"),
    ("container_name: mine", None, "restart: always"),
    ("configs: [inner]", None, "secrets: [{source: inner, target: /s, mode: 0400}]"),
    ("profiles: [debug]", None, "pull_policy: always"),
    ("healthcheck: {test: [CMD, x], interval: 5s}", None, "depends_on: {plain: {condition: service_started}}"),
    ("x-anything: {privileged: true}", None, "env_file: [{path: missing.env, required: false}]"),
]

# The same for what the stack declares: the section, what stands in it, and where it is refused.
RESOURCES = [
    ("volumes", "{external: true, name: theirs}", "external", "{name: mine, labels: {a: b}}"),
    ("volumes", "{driver: rclone}", "driver", "{driver: local}"),
    ("volumes", "{driver_opts: {type: none, o: bind, device: /}}", "driver_opts", ""),
    ("volumes", "{driver_opts: {o: 'rbind,rw', device: /etc}}", "driver_opts", "{}"),
    ("volumes", "{driver_opts: {type: nfs, o: 'addr=10.0.0.1,rw', device: ':/x'}}", "driver_opts", "{driver_opts: {}}"),
    ("volumes", "{driver_opts: {type: cifs, device: '//h/x', o: 'username=a'}}", "driver_opts", "{x-a: b}"),
    ("volumes", "{driver_opts: {type: ext4, device: /dev/sda1}}", "driver_opts", "{driver: local, driver_opts: {}}"),
    (
        "volumes",
        "{driver_opts: {type: tmpfs, device: /etc, o: bind}}",
        "driver_opts.device",
        "{driver_opts: {type: tmpfs, device: tmpfs, o: 'size=100m,uid=1000,mode=0700'}}",
    ),
    ("volumes", "{driver_opts: {type: tmpfs, device: tmpfs, o: 'size=1m,bind'}}", "driver_opts.o", "{}"),
    ("volumes", "{name: /etc}", "name", "{name: etc}"),
    ("networks", "{external: true, name: theirs}", "external", "{internal: true, attachable: true}"),
    ("networks", "{driver: host}", "driver", "{driver: bridge}"),
    ("networks", "{driver: macvlan, driver_opts: {parent: eth0}}", "driver", "{enable_ipv6: true}"),
    (
        "networks",
        "{driver_opts: {com.docker.network.bridge.name: docker0}}",
        'driver_opts["com.docker.network.bridge.name"]',
        "{driver_opts: {com.docker.network.driver.mtu: 1400}}",
    ),
    (
        "networks",
        "{ipam: {config: [{subnet: 0.0.0.0/1}]}}",
        "ipam.config[0].subnet",
        "{ipam: {config: [{subnet: 172.20.0.0/24, gateway: 172.20.0.1, ip_range: 172.20.0.0/25}]}}",
    ),
    ("networks", "{ipam: {config: [{subnet: 8.8.8.0/24}]}}", "ipam.config[0].subnet", "{ipam: {driver: default}}"),
    (
        "networks",
        "{ipam: {config: [{subnet: 10.0.0.0/8}]}}",
        "ipam.config[0].subnet",
        "{ipam: {config: [{subnet: 'fd00:1::/64'}]}}",
    ),
    ("networks", "{ipam: {driver: dhcp}}", "ipam.driver", "{labels: {a: b}}"),
    ("secrets", "{external: true, name: theirs}", "external", "{file: ./secret.txt}"),
    ("secrets", "{file: /etc/shadow}", "file", "{file: a/../secret.txt}"),
    ("secrets", "{environment: PATH}", "environment", "{file: secret.txt}"),
    ("secrets", "{file: ./s, template_driver: x}", "template_driver", "{file: secret.txt}"),
    ("configs", "{external: true, name: theirs}", "external", "{content: inline}"),
    ("configs", "{file: ../../etc/passwd}", "file", "{file: ./config.ini}"),
    ("configs", "{environment: PATH}", "environment", "{content: '$${X}'}"),
]
_USED = {
    "volumes": "volumes: ['{}:/v']",
    "networks": "networks: [{}]",
    "secrets": "secrets: [{}]",
    "configs": "configs: [{}]",
}


def _stack() -> str:
    """One file with all of both tables, so that Compose is asked once."""
    lines = ["services:", "  plain: {image: x}"]
    for index, (bad, _, good) in enumerate(SERVICES):
        lines += [f"  {kind}{index}: {{image: x, {text}}}" for kind, text in (("bad", bad), ("good", good))]
    for index, (section, *_) in enumerate(RESOURCES):
        lines += [f"  {kind}-user{index}: {{image: x, {_USED[section].format(f'{kind}{index}')}}}" for kind in KINDS]
    extra = {"volumes": ["  named:"], "secrets": ["  inner: {file: ./s}"], "configs": ["  inner: {content: c}"]}
    for section in _USED:
        lines += [f"{section}:", *extra.get(section, [])]
        for index, (its, bad, _, good) in enumerate(RESOURCES):
            if its == section:
                lines += [f"  bad{index}: {bad}", f"  good{index}: {good}"]
    return "\n".join(lines).replace("{image: x, image", "{image").replace("image: x, build", "build") + "\n"


KINDS = ("bad", "good")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Refusal, ...]:
    root = tmp_path_factory.mktemp("repository")
    write_files(root, {"compose.yaml": _stack()})
    return judge(compose_config(root), PurePosixPath(root))


def _within(verdicts: tuple[Refusal, ...], around: str) -> list[str]:
    return [refusal.where for refusal in verdicts if refusal.where == around or refusal.where.startswith(f"{around}.")]


@pytest.mark.parametrize("index", range(len(SERVICES)), ids=[row[0][:60] for row in SERVICES])
def test_a_service_is_refused_what_reaches_the_host_and_its_twin_is_not(
    verdicts: tuple[Refusal, ...], index: int
) -> None:
    _, where, _ = SERVICES[index]
    expected = [f"services.bad{index}.{where}".replace('["', ".").replace('"]', "")] if where else []

    assert _within(verdicts, f"services.bad{index}") == expected
    assert _within(verdicts, f"services.good{index}") == []


@pytest.mark.parametrize("index", range(len(RESOURCES)), ids=[" ".join(row[:2])[:60] for row in RESOURCES])
def test_what_a_stack_declares_is_its_own(verdicts: tuple[Refusal, ...], index: int) -> None:
    section, _, where, _ = RESOURCES[index]
    found = _within(verdicts, f"{section}.bad{index}")

    assert f"{section}.bad{index}.{where}".replace('["', ".").replace('"]', "") in found
    assert _within(verdicts, f"{section}.good{index}") == []


def test_every_refusal_says_what_would_be_right(verdicts: tuple[Refusal, ...]) -> None:
    for refusal in verdicts:
        assert refusal.found
        assert "; " in refusal.rule, refusal
        assert not refusal.rule.endswith(".")
        assert str(refusal).isprintable()


def test_nothing_of_the_platforms_environment_reaches_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose is run with no environment at all, and that is enough for it to read files."""
    monkeypatch.setenv("MACHETE_TOKEN", "canary")
    names = ("MACHETE_TOKEN", "PATH", "HOME", "USER")
    values = ", ".join(f"{name}_: '${{{name}}}'" for name in names)
    write_files(tmp_path, {"compose.yaml": f"services: {{web: {{image: x, environment: {{{values}, PATH: }}}}}}"})

    environment = compose_config(tmp_path)["services"]["web"]["environment"]

    assert environment == {**{f"{name}_": "" for name in names}, "PATH": None}


SHAPES = {
    "a tool that shows containers": (
        "volumes: ['/var/run/docker.sock:/var/run/docker.sock', 'data:/data']",
        ["volumes[0]"],
    ),
    "a proxy that listens to the engine": (
        "volumes: [/var/run/docker.sock:/var/run/docker.sock]\n    ports: ['80:80']",
        ["volumes[0]"],
    ),
    "a name server with rights on the network": (
        "cap_add: [NET_ADMIN]\n    volumes: ['/etc/dns/:/etc/dns/', '/etc/d.d/:/etc/d.d/']",
        ["cap_add[0]", "volumes[0]", "volumes[1]"],
    ),
    "a media server on the host's network": ("network_mode: host\n    restart: always", ["network_mode"]),
    "a tunnel that loads modules": (
        "cap_add: [NET_ADMIN, SYS_MODULE]\n    volumes: ['/lib/modules:/lib/modules']\n"
        "    sysctls: [net.ipv4.conf.all.src_valid_mark=1]",
        ["cap_add[0]", "cap_add[1]", "volumes[0]"],
    ),
    "another runtime": ("platform: wasi/wasm\n    runtime: io.containerd.wasmedge.v1", ["runtime"]),
    "a game server with data in a home": (
        "volumes: ['~/game:/data']\n    deploy: {resources: {limits: {memory: 1.5G}}}",
        [],
    ),
    "a database with a secret and a volume": (
        "secrets: [password]\n    volumes: ['data:/var/lib/db']\n    expose: [3306, 33060]\n"
        "    environment: [PASSWORD_FILE=/run/secrets/password]",
        [],
    ),
    "code bound from the repository": ("build: {context: ., target: dev}\n    volumes: ['.:/code', /code/modules]", []),
    "a fixed address": ("networks: {inner: {ipv4_address: 172.20.0.2}}\n    container_name: cloud", []),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_stacks_as_people_write_them_are_run_or_refused_for_what_they_ask(tmp_path: Path, shape: str) -> None:
    service, refused_at = SHAPES[shape]
    tail = "\nvolumes: {data: }\nsecrets: {password: {file: db/password.txt}}\n"
    tail += "networks: {inner: {ipam: {config: [{subnet: 172.20.0.0/24}]}}}\n"
    write_files(tmp_path, {"compose.yaml": f"version: '3.7'\nservices:\n  one:\n    image: x\n    {service}{tail}"})

    refusals = judge(compose_config(tmp_path), PurePosixPath(tmp_path))

    assert [refusal.where for refusal in refusals] == [f"services.one.{where}" for where in refused_at]


def test_the_table_reaches_every_key_that_is_judged() -> None:
    """A rule that no row of the table meets could be lost unseen."""
    said = {key for row in SERVICES for text in (row[0], row[2]) for key in yaml.safe_load(f"{{{text}}}")}
    newer = {"models", "provider", "use_api_socket", "cpu_rt_period"}

    assert SERVICE_KEYS - said - newer == set()
