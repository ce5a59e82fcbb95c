"""Compose stacks of different shapes: each installed, seen, stopped, started again, and gone without a trace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.platform import Platform
from tests.support.platform_checks import fresh
from tests.support.platform_stacks import (
    container,
    did,
    inside,
    inspected,
    installed,
    page,
    removed,
    serves,
    service,
    stack,
    states,
    waits,
)
from tests.support.platform_tools import Files
from tests.support.platform_waiting import until

Shown = dict[str, Any]
Look = Callable[[Shown], Awaitable[None]]

UP = ("running", "none")
DONE = ("exited", "none")
DOCKERFILE = "ARG BASE_IMAGE=nothere\nFROM $BASE_IMAGE\nRUN mkdir -p /www && echo whole > /www/index.html\n"
COMMAND = 'CMD ["sh", "-c", "trap \'exit 0\' TERM; httpd -f -p 8080 -h /www & wait $!"]\n'


async def lives(platform: Platform, files: Files, look: Look, **body: Any) -> None:
    """A whole life; `look` is called whenever the stack has just been started."""
    name, install = await installed(platform, files, **body)
    tool = await platform.api.tool(name)
    assert (tool["kind"], tool["state"], tool["reason"]) == ("stack", "running", None)
    await look(tool)
    stopped = await did(platform, "stop", name)
    assert (stopped["state"], await platform.hand.running(install.tool)) == ("stopped", [])
    again = await did(platform, "start", name)
    assert (again["state"], again["urls"]) == ("running", tool["urls"])
    await look(again)
    await removed(platform, name, install.tool)


async def lines(platform: Platform, tool: Shown, **query: Any) -> list[str]:
    """What its services printed, once all that is to come has come."""
    return [line["text"] for line in await platform.api.all_lines(f"/api/v1/tools/{tool['name']}/logs", **query)]


async def printed(platform: Platform, tool: Shown, service: str, text: str) -> None:
    async def look() -> bool:
        return text in await lines(platform, tool, service=service)

    await until(look, f"{service} of {tool['name']} is shown to have printed {text!r}")


# Shapes.


async def test_a_job_that_others_wait_for_ends_before_they_start_and_counts_as_well(platform: Platform) -> None:
    """It lives for a moment only, and what it said is kept all the same, and told apart."""
    done = {"migrate": {"condition": "service_completed_successfully"}}
    services = {
        "migrate": service("echo migrated; cp /etc/hostname /state/by", volumes=["state:/state"]),
        "web": serves("by $(cat /state/by)", before="echo served;", volumes=["state:/state"], depends_on=done),
    }
    services["web"]["ports"] = ["8080"]

    async def look(tool: Shown) -> None:
        assert states(tool) == {"migrate": DONE, "web": UP}
        (job,) = (each for each in tool["services"] if each["name"] == "migrate")
        assert (job["job"], job["exit_code"]) == (True, 0)
        await page(tool)
        await printed(platform, tool, "migrate", "migrated")
        await printed(platform, tool, "web", "served")
        assert "served" not in await lines(platform, tool, service="migrate")

    await lives(platform, stack(services, volumes={"state": None}), look)


async def test_a_service_can_live_in_the_network_of_another(platform: Platform) -> None:
    healthy = {"test": ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"], "interval": "1s"}
    ask = "wget -q -O - http://127.0.0.1:8080/ && sleep 5000 & wait $!"
    services = {
        "main": serves("seen from beside", ports=["8080"], healthcheck={**healthy, "retries": 30}),
        "beside": service(ask, network_mode="service:main", depends_on={"main": {"condition": "service_healthy"}}),
    }

    async def look(tool: Shown) -> None:
        assert states(tool) == {"beside": UP, "main": ("running", "healthy")}
        assert await page(tool) == "seen from beside"
        await printed(platform, tool, "beside", "seen from beside")

    await lives(platform, stack(services), look)


async def test_networks_part_those_who_are_to_be_parted(platform: Platform) -> None:
    services = {
        "web": serves("web", ports=["8080"], networks=["front", "back"]),
        "db": serves("db", port=9000, networks={"back": {"aliases": ["store"]}}, container_name="the-database"),
        "other": waits(networks=["front"]),
    }
    files = stack(services, networks={"front": None, "back": {"internal": True}})

    async def look(tool: Shown) -> None:
        async def reaches(who: str, address: str) -> bool:
            argv = ("timeout", "3", "wget", "-q", "-O", "-", f"http://{address}/")
            return (await inside(platform, container(platform, tool["id"], who), *argv))[0] == 0

        database = await inspected(platform, container(platform, tool["id"], "db"))
        (network,) = database["NetworkSettings"]["Networks"].values()
        reached = [
            reaches("web", "db:9000"),
            reaches("web", "store:9000"),
            reaches("web", "the-database:9000"),
            reaches("web", f"{network['IPAddress']}:9000"),
            reaches("other", "web:8080"),
            reaches("other", "db:9000"),
            reaches("other", f"{network['IPAddress']}:9000"),
            reaches("db", f"{platform.forge.url('x').split('/')[2].replace('127.0.0.1', '172.17.0.1')}"),
        ]
        assert await asyncio.gather(*reached) == [True, True, True, True, True, False, False, False]

    await lives(platform, files, look)


async def test_images_are_built_with_target_and_arguments_from_a_folder_that_holds_several(platform: Platform) -> None:
    """The tool lies in a folder of the repository, and its build reads the folder above."""
    dockerfile = (
        DOCKERFILE.replace("FROM $BASE_IMAGE", "FROM $BASE_IMAGE AS first")
        + f"ARG WORD=none\nRUN echo first $WORD > /www/index.html\n{COMMAND}"
        + "FROM first AS second\nCOPY shared.txt /www/index.html\n"
    )
    build = {"context": "..", "dockerfile": "docker/Dockerfile"}
    services = {
        "web": {"build": {**build, "target": "first", "args": {"WORD": "said $$1"}}, "ports": ["8080"]},
        "beside": {"build": {**build, "target": "second"}, "image": "example/mine:1"},
        "same": {"image": "example/mine:1", "command": ["sleep", "5000"], "init": True, "depends_on": ["beside"]},
    }
    inner = stack(services, {"port": 8080, "health_check": "/"})
    files = {f"tools/one/{name}": content for name, content in inner.items()}
    files |= {"tools/docker/Dockerfile": dockerfile.encode(), "tools/shared.txt": b"from above\n"}

    async def look(tool: Shown) -> None:
        assert await page(tool) == "first said $1"
        assert states(tool) == {"beside": UP, "same": UP, "web": UP}
        _, seen = await inside(platform, container(platform, tool["id"], "same"), "cat", "/www/index.html")
        assert seen.strip() == "from above"
        assert len((await platform.hand.seen(tool["id"])).images) == 2

    await lives(platform, files, look, subdir="tools/one")


async def test_files_folders_and_volumes_are_seen_where_the_author_put_them_and_kept(platform: Platform) -> None:
    files = {
        "conf/site.conf": "shipped",
        "seeds/a.txt": "seed",
        "page/index.html": "a page",
        "keep/Dockerfile": f'{DOCKERFILE}VOLUME /declared\nCMD ["sleep", "5000"]\n',
    }
    binds = [
        "./conf/site.conf:/etc/site.conf:ro",
        "./seeds:/seeds",
        "./not/there:/empty",
        ".:/code",
        "./page:/code/www",
        "named:/named",
    ]
    services = {
        "web": service("httpd -f -p 8080 -h /code & wait $!", volumes=binds, ports=["8080"]),
        "keeps": {"build": "keep", "init": True, "volumes": ["named:/named:ro"]},
    }
    rounds: list[int] = []

    async def look(tool: Shown) -> None:
        web, keeps = (container(platform, tool["id"], each) for each in ("web", "keeps"))
        assert await page(tool, "www/index.html") == "a page"
        # All that the repository ships is there, also what is bound by itself.
        assert (await inside(platform, web, "cat", "/code/seeds/a.txt", "/code/conf/site.conf"))[0] == 0
        assert (await inside(platform, web, "sh", "-c", "echo x > /etc/site.conf"))[0] != 0
        kept = "cat /seeds/mine /empty/mine /named/mine /code/www/mine"
        if rounds:
            assert (await inside(platform, web, "sh", "-c", kept)) == (0, "mine\n" * 4)
            assert (await inside(platform, web, "cat", "/seeds/a.txt")) == (0, "changed\n")
            assert (await inside(platform, keeps, "cat", "/declared/mine", "/named/mine")) == (0, "mine\n" * 2)
        else:
            assert (await inside(platform, web, "cat", "/seeds/a.txt")) == (0, "seed")
            write = "for f in /seeds /empty /named /code/www; do echo mine > $f/mine; done; echo changed > /seeds/a.txt"
            assert (await inside(platform, web, "sh", "-c", write))[0] == 0
            assert (await inside(platform, keeps, "sh", "-c", "echo mine > /declared/mine"))[0] == 0
        rounds.append(1)

    await lives(platform, stack(services, files=files, volumes={"named": None}), look)


async def test_a_stack_without_ports_has_no_address_and_runs(platform: Platform) -> None:
    services = {"worker": service("echo at work; sleep 5000 & wait $!"), "helper": waits(deploy={"replicas": 2})}

    async def look(tool: Shown) -> None:
        assert tool["urls"] == []
        assert states(tool) == {"worker": UP, "helper": UP, "helper-2": UP}
        await printed(platform, tool, "worker", "at work")

    await lives(platform, stack(services), look)


# What else is promised of them.


async def test_volumes_that_an_image_declares_outlive_the_tool_unless_its_data_goes_too(platform: Platform) -> None:
    services = {"keeps": {"build": "."}}
    dockerfile = f'{DOCKERFILE}VOLUME /declared\nCMD ["sleep", "5000"]\n'
    name, install = await installed(platform, stack(services, files={"Dockerfile": dockerfile}))
    volumes = (await platform.hand.seen(install.tool)).volumes
    assert len(volumes) == 1
    assert (await platform.api.done(await platform.api.uninstall(name, data=False)))["state"] == "succeeded"
    left = await platform.hand.seen(install.tool)
    assert (left.volumes, left.containers, left.images, left.networks) == (volumes, set(), set(), set())


async def test_a_stack_is_found_by_each_name_that_compose_looks_for(platform: Platform) -> None:
    async def one(file: str) -> None:
        name, install = await installed(platform, stack({"worker": waits()}, compose=file))
        assert (await platform.api.tool(name))["kind"] == "stack"
        await removed(platform, name, install.tool)

    files = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
    await asyncio.gather(*map(one, files))


async def test_the_manifest_says_which_file_service_and_port_and_more_of_that_service(platform: Platform) -> None:
    whole = "\"'` $HOME ${X} $$ # = ü🔧 \\ \\n\nsecond line"
    machete = {
        "compose": "deploy/stack.yml",
        "service": "page",
        "port": 8080,
        "health_check": "/index.html",
        "environment": {"WHOLE": whole, "EMPTY": "", "BOTH": "manifest"},
        "volumes": ["./own:/own", "kept:/kept"],
    }
    services = {
        "page": serves("page", environment={"BOTH": "compose", "TAKEN": "${WHOLE}", "HOLLOW": "[${EMPTY}]"}),
        "front": serves("another", ports=["8080"]),
    }
    files = stack(services, machete, compose="deploy/stack.yml")
    manifest = json.loads(files["machete.yml"]) | {"resources": {"memory": "64Mi", "cpu": "500m"}}
    files["machete.yml"] = json.dumps(manifest, ensure_ascii=False).encode()
    name, install = await installed(platform, files)
    tool = await platform.api.tool(name)
    assert await page(tool) == "page"
    details = await inspected(platform, container(platform, install.tool, "page"))
    seen = dict(pair.split("=", 1) for pair in details["Config"]["Env"])
    wanted = {"WHOLE": whole, "EMPTY": "", "BOTH": "manifest", "TAKEN": whole, "HOLLOW": "[]"}
    assert {key: seen.get(key) for key in wanted} == wanted
    assert (details["HostConfig"]["Memory"], details["HostConfig"]["NanoCpus"]) == (64 * 1024**2, 500_000_000)
    mounts = {mount["Destination"]: mount["Type"] for mount in details["Mounts"]}
    assert mounts == {"/own": "bind", "/kept": "volume"}
    other = await inspected(platform, container(platform, install.tool, "front"))
    assert (other["HostConfig"]["Memory"], other["Mounts"]) == (1024**3, [])


async def test_every_service_is_confined_and_restarted_as_promised(platform: Platform) -> None:
    services = {
        "server": serves("x", ports=["8080"]),
        "once": service("exit 0", restart="no"),
        "awaited": service("exit 0"),
        "waiting": waits(depends_on={"awaited": {"condition": "service_completed_successfully"}}),
        "own": waits(restart="always"),
    }
    _, install = await installed(platform, stack(services))
    found = {each: await inspected(platform, container(platform, install.tool, each)) for each in services}
    restart = {name: each["HostConfig"]["RestartPolicy"]["Name"] for name, each in found.items()}
    assert restart == {
        "server": "unless-stopped",
        "once": "no",
        "awaited": "no",
        "waiting": "unless-stopped",
        "own": "unless-stopped",
    }
    for each in found.values():
        host = each["HostConfig"]
        assert (host["Memory"], host["PidsLimit"]) == (1024**3, 2048)
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["LogConfig"]["Config"] == {"max-size": "40m", "max-file": "5"}
    (binding,) = found["server"]["HostConfig"]["PortBindings"]["8080/tcp"]
    assert binding["HostIp"] == "127.0.0.1"


async def test_two_tools_from_one_repository_never_meet(platform: Platform) -> None:
    services = {"web": serves("$(hostname)", ports=["8080"], volumes=["db:/db", "./data:/data"])}
    url = platform.forge.tool(fresh("repo"), stack(services, volumes={"db": None}))
    names = fresh("one"), fresh("two")
    installs = [await platform.api.install(name, url, start=True) for name in names]
    for install in installs:
        assert (await platform.api.done(install))["state"] == "succeeded"
    one, two = [await platform.api.tool(name) for name in names]
    assert one["urls"] != two["urls"]
    assert await page(one) != await page(two)
    here, there = (container(platform, install.tool, "web") for install in installs)
    await inside(platform, here, "touch", "/db/mine", "/data/mine")
    assert (await inside(platform, there, "ls", "/db", "/data"))[1] == "/data:\n\n/db:\n"
    _, address = await inside(platform, here, "hostname", "-i")
    assert address.strip()
    assert (await inside(platform, there, "timeout", "2", "wget", "-O", "-", f"http://{address.strip()}:8080/"))[0]
    await removed(platform, names[0], installs[0].tool)
    assert await page(two)


async def test_nothing_of_the_platform_s_own_environment_reaches_a_stack(platform: Platform) -> None:
    """Neither by being named in the file, nor by a `.env` that would tell Compose what to do."""
    settings = ("DOCKER_HOST=tcp://127.0.0.1:9", "export COMPOSE_FILE=other.yml", "COMPOSE_PROJECT_NAME=else")
    settings += ("LD_PRELOAD=/x.so", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9", 'Q="x"DOCKER_CONFIG=/x')
    ordinary = ("ORDINARY=yes", "LDAP_URL=ldap://x", "GOAL=reached", "DOCKER_TAG=v1", "MULTI='a\nb'")
    named = ["MACHETE_DATA", "HOME", "PATH", "DOCKER_HOST", "ORDINARY", "LDAP_URL", "GOAL", "DOCKER_TAG", "MULTI"]
    said = {f"SEEN_{name}": f"[${{{name}}}]" for name in named}
    services = {"a": waits(environment=said), "b": waits(environment=["MACHETE_DATA", "HOME", "DOCKER_HOST"])}
    _, install = await installed(platform, stack(services, files={".env": "\n".join((*settings, *ordinary))}))
    environment = (await inspected(platform, container(platform, install.tool, "a")))["Config"]["Env"]
    seen = dict(each.split("=", 1) for each in environment)
    assert {name: seen[f"SEEN_{name}"] for name in named} == {
        **dict.fromkeys(("MACHETE_DATA", "HOME", "PATH", "DOCKER_HOST"), "[]"),
        "ORDINARY": "[yes]",
        "LDAP_URL": "[ldap://x]",
        "GOAL": "[reached]",
        "DOCKER_TAG": "[v1]",
        "MULTI": "[a\nb]",
    }
    bare = (await inspected(platform, container(platform, install.tool, "b")))["Config"]["Env"]
    assert [each.partition("=")[0] for each in bare] == ["PATH"]  # the image's own


async def test_who_needs_another_is_stopped_before_it(platform: Platform) -> None:
    services = {
        "web": waits(depends_on=["app"]),
        "app": waits(depends_on=["db"]),
        "db": waits(),
        "apart": waits(),
    }
    name, install = await installed(platform, stack(services))
    await did(platform, "stop", name)
    ended = {
        each: (await inspected(platform, container(platform, install.tool, each)))["State"]["FinishedAt"]
        for each in services
    }
    assert ended["web"] < ended["app"] < ended["db"]
