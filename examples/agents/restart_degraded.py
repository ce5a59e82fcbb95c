"""Restarts a tool when it degrades: a whole agent, with nothing but the NATS client.

`machete agent add night-watch --role operator` lets it in, and prints the line that starts it.
"""

import asyncio
import json
import sys

from nats import connect, errors


async def main(servers: str, name: str, credentials: str) -> None:
    opened = asyncio.Event()

    async def trouble(problem: Exception) -> None:
        if not opened.is_set():
            raise problem  # the first time a mistake; later an outage, after which the client connects again
        print(problem, file=sys.stderr)

    options = {"inbox_prefix": f"_INBOX_agent.{name}".encode(), "max_reconnect_attempts": -1, "error_cb": trouble}
    client = await connect(servers.split(","), user_credentials=credentials, **options)
    opened.set()

    async def ask(door: str, **fields: object) -> dict:
        answer = await client.request(f"machete.agent.v1.{name}.{door}", json.dumps(fields).encode(), timeout=15)
        return {**json.loads(answer.data), "http_status": (answer.headers or {})["Machete-Status"]}

    async def seen(message) -> None:
        what = json.loads(message.data)["data"]
        tool = await ask("tools.show", name=what["tool"]) if what["state"] == "degraded" else {}
        # What is being stopped or started is not well for a moment either, and what was stopped is to stay so.
        if tool.get("desired") == "running" and not tool["operation"]:
            # However often it is seen to be unwell, it is restarted once for each operation it was last changed by.
            key = f"{what['tool']} degraded after {what['judged_by']}"
            answer = await ask("tools.restart", name=tool["name"], idempotency_key=key)
            print(tool["name"], what["reason"], answer["http_status"], answer.get("detail", ""), flush=True)

    await client.subscribe("machete.evt.v1.tool.*.engine", cb=seen)
    await client.flush()
    print("watching", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: python {sys.argv[0]} nats://HOST:PORT AGENT AGENT.creds; `machete agent add` prints it all")
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (OSError, ValueError, errors.Error) as problem:
        sys.exit(f"not connected to {sys.argv[1]} with {sys.argv[3]}: {str(problem) or 'no answer'}")
