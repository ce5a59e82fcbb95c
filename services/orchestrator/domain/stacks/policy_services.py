"""What a service of a stack may ask for: every key that Compose knows, and what is thought of it."""

from collections.abc import Iterator
from typing import Any

from libs.contracts.written import Place
from services.orchestrator.domain.stacks.policy_builds import BUILD
from services.orchestrator.domain.stacks.policy_counts import SERVICE_PROCESSES, SERVICE_REPLICAS
from services.orchestrator.domain.stacks.policy_mounts import MOUNTS
from services.orchestrator.domain.stacks.policy_rules import (
    Judged,
    Refusal,
    Rule,
    anything,
    as_list,
    as_mapping,
    at_least,
    each,
    in_repository,
    matching,
    never,
    only,
    refusal,
    said,
    shape,
)


def _namespace(kind: str, alone: tuple[str, ...]) -> Rule:
    """A namespace is the service's own, or that of another service of the stack."""
    rule = f"a tool has {kind} of its own; leave it out, or name a service of the stack, like service:web"

    def judge(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
        if not said(value) or value in alone:
            return
        if not (str(value).startswith("service:") and str(value).removeprefix("service:") in judged.services):
            yield refusal(place, value, rule)

    return judge


def _volumes_from(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    first = str(value).split(":")[0]
    # `container:NAME` is anybody's container, even where a service of the stack is called `container`.
    if first == "container" or first not in judged.services:
        yield refusal(place, value, "volumes are taken over from a service of the stack only; name one, like web:ro")


def _sysctl(place: Place, value: Any, _judged: Judged) -> Iterator[Refusal]:
    mapping, entries = as_mapping(value), as_list(value)
    if not said(value):
        return
    if entries is not None:
        names = [(index, str(entry).partition("=")[0]) for index, entry in enumerate(entries)]
    else:
        names = [(name, name) for name in (mapping if mapping is not None else [str(value)])]
    for step, name in names:
        # Those that the kernel keeps for each container alone: its network's, its queues' and shared memory's.
        if not (name.startswith(("net.", "kernel.msg", "kernel.shm", "fs.mqueue.")) or name == "kernel.sem"):
            yield refusal(
                (*place, step),
                name,
                "this is the whole host's; leave it out, only net.* and those of IPC are the tool's",
            )


def _env_file(place: Place, value: Any, judged: Judged) -> Iterator[Refusal]:
    """Mostly read and gone by now; a Compose that leaves it in would read it again."""
    entry = as_mapping(value)
    yield from _ENV_FILE(place, value if entry is None else entry.get("path"), judged)


_ENV_FILE = in_repository("the file has to lie in the repository; write its path, like ./tool.env")
_HOOKS = each(
    shape(
        {
            "command": anything,
            "user": anything,
            "privileged": never("a hook has no more rights than its service; leave privileged out"),
            "working_dir": anything,
            "environment": anything,
        }
    )
)
_DEVICES = never("devices belong to the host; a tool is given none, take them out")
_RUNTIME = never("the runtime belongs to the host; leave it out")
_REALTIME = never("real time is taken from everybody else; use cpus or cpu_shares")
_MODELS = never("models would be run by a program of the host; give the tool an address in its environment")
_REFERENCES = each(
    shape(dict.fromkeys(("source", "target", "uid", "gid", "mode"), anything)),
)

_DEPLOY = shape(
    {
        # A swarm's, and without effect here.
        **dict.fromkeys(("mode", "endpoint_mode", "placement", "rollback_config", "update_config"), anything),
        "replicas": SERVICE_REPLICAS,
        "labels": anything,
        "restart_policy": anything,
        "resources": shape(
            {
                "limits": shape({"cpus": anything, "memory": anything, "pids": SERVICE_PROCESSES}),
                "reservations": shape(
                    {"cpus": anything, "memory": anything, "generic_resources": anything, "devices": _DEVICES}
                ),
            }
        ),
    }
)

_NETWORKS = each(
    shape(
        {
            **dict.fromkeys(("aliases", "ipv4_address", "ipv6_address", "link_local_ips", "mac_address"), anything),
            **dict.fromkeys(("priority", "gw_priority", "interface_name"), anything),
            "driver_opts": never("options like these reach into the host's own network; leave them out"),
        }
    )
)

_HARMLESS: dict[str, Rule] = dict.fromkeys(
    (
        # What runs, and what it is told.
        *("command", "entrypoint", "environment", "working_dir", "user", "group_add", "platform", "init", "tty"),
        *("stdin_open", "stop_grace_period", "stop_signal", "healthcheck", "depends_on", "attach"),
        # Taken from it, not given to it.
        *("cap_drop", "read_only", "ulimits", "shm_size", "tmpfs", "blkio_config"),
        *("cpus", "cpuset", "cpu_count", "cpu_percent", "cpu_shares", "cpu_quota", "cpu_period"),
        *("mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit"),
        # Its own network: names in it, and who may be reached there.
        *("dns", "dns_opt", "dns_search", "domainname", "hostname", "extra_hosts", "expose", "links", "mac_address"),
        # Settled when the configuration is resolved, or without effect.
        *("container_name", "image", "labels", "logging", "ports", "profiles", "pull_policy", "pull_refresh_after"),
        *("restart", "develop"),
    ),
    anything,
)

_JUDGED: dict[str, Rule] = {
    # The runtime reads properties of the host's own units in them.
    "annotations": never("annotations instruct the host's runtime; use labels"),
    "build": BUILD,
    "cap_add": each(
        never("capabilities are rights on the host; a tool has the engine's default ones, take the others out")
    ),
    "cgroup": only(("private",), "a tool has a control group of its own; leave it out"),
    "cgroup_parent": never("a tool's limits are its own; leave it out"),
    "configs": _REFERENCES,
    "cpu_rt_period": _REALTIME,
    "cpu_rt_runtime": _REALTIME,
    "credential_spec": never("credentials of the host are given to no tool; use secrets"),
    "deploy": _DEPLOY,
    "device_cgroup_rules": each(_DEVICES),
    "devices": each(_DEVICES),
    "env_file": each(_env_file),
    "external_links": each(never("containers of others are not reached; put both into one stack")),
    "gpus": _DEVICES,
    "ipc": _namespace("shared memory", ("none", "private", "shareable")),
    "isolation": only(("default",), "how containers are isolated is the host's; leave it out"),
    "models": _MODELS,
    # The engine's own bridge is everybody's: containers of others are reached there.
    "network_mode": _namespace("a network", ("none",)),
    "networks": _NETWORKS,
    "oom_kill_disable": never("what takes too much memory is ended; raise mem_limit instead"),
    "oom_score_adj": at_least(0, "others would be ended in its place; write 0 or more"),
    "pid": _namespace("processes", ()),
    "pids_limit": SERVICE_PROCESSES,
    "post_start": _HOOKS,
    "pre_stop": _HOOKS,
    "privileged": never("a privileged container rules the whole host; leave it out"),
    "provider": never("a provider is a program of the host; run a container instead"),
    "runtime": _RUNTIME,
    "scale": SERVICE_REPLICAS,
    "secrets": _REFERENCES,
    "security_opt": each(
        matching(
            r"no-new-privileges([:=]true)?",
            "what confines a tool is not loosened; write no-new-privileges:true or nothing",
        )
    ),
    "storage_opt": shape({"size": anything}, "only a size may be said of its own storage; leave the rest out"),
    "sysctls": _sysctl,
    "use_api_socket": never("whoever reaches the engine's socket rules the whole host; leave it out"),
    "userns_mode": only(("private",), "a tool has the engine's user namespace; leave it out"),
    "uts": only(("private",), "a tool has a host name of its own; leave it out"),
    "volumes": MOUNTS,
    "volumes_from": each(_volumes_from),
}

SERVICE: Rule = shape({**_HARMLESS, **_JUDGED})
SERVICE_KEYS = frozenset(_JUDGED)
