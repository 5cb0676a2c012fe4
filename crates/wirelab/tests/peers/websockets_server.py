# Python's `websockets` as an echo server: python3 websockets_server.py PORT
import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def main():
    async with serve(
        echo, "0.0.0.0", int(sys.argv[1]), subprotocols=["chat.v1"], max_size=100_000, ping_interval=0.2, ping_timeout=5
    ):
        await asyncio.Event().wait()


asyncio.run(main())
