"""Restarts a tool when it degrades: a whole agent, with nothing but the NATS client.

machete agent add night-watch --role operator
python examples/agents/restart_degraded.py nats://127.0.0.1:4222 night-watch night-watch.creds
"""

import asyncio
import json
import sys

import nats


async def main(server: str, name: str, credentials: str) -> None:
    inbox = f"_INBOX_agent.{name}".encode()
    client = await nats.connect(server, user_credentials=credentials, inbox_prefix=inbox, max_reconnect_attempts=-1)

    async def ask(door: str, **fields: object) -> dict:
        answer = await client.request(f"machete.agent.v1.{name}.{door}", json.dumps(fields).encode(), timeout=15)
        return {**json.loads(answer.data), "http_status": (answer.headers or {})["Machete-Status"]}

    async def seen(message) -> None:
        what = json.loads(message.data)["data"]
        if what["state"] == "degraded":
            tool = await ask("tools.show", name=what["tool"])
            # However often it is seen to be unwell, it is restarted once for each operation it was last changed by.
            key = f"{what['tool']} degraded after {what['judged_by']}"
            answer = await ask("tools.restart", name=tool["name"], idempotency_key=key)
            print(tool["name"], what["reason"], answer["http_status"], answer.get("detail", ""), flush=True)

    await client.subscribe("machete.evt.v1.tool.*.engine", cb=seen)
    await client.flush()
    print("watching", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
