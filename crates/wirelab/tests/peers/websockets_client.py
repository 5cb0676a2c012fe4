# Python's `websockets` as a client of our ws-server: python3 websockets_client.py ws://ADDRESS/
import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = sys.argv[1]


async def talk():
    async with connect(URL, origin="http://shop.example", subprotocols=["other", "chat.v1"], proxy=None) as ws:
        assert ws.subprotocol == "chat.v1", ws.subprotocol
        # Its offer of permessage-deflate is not taken up.
        assert not ws.protocol.extensions, ws.protocol.extensions
        for text in ["hello", "", "€" * 20_000]:
            await ws.send(text)
            assert await ws.recv() == text
        for size in [0, 125, 126, 65_535, 65_536]:
            data = bytes(i % 251 for i in range(size))
            await ws.send(data)
            assert await ws.recv() == data
        await ws.send(["in ", "three ", "parts"])
        assert await ws.recv() == "in three parts"
        latency = await asyncio.wait_for(await ws.ping(), 5)
        assert 0 < latency < 5, latency
        await asyncio.sleep(0.7)  # our pings are answered meanwhile
        await ws.close(4001, "enough")
    assert (ws.close_code, ws.close_reason) == (4001, "enough"), (ws.close_code, ws.close_reason)


async def refused():
    try:
        async with connect(URL, origin="http://evil.example", proxy=None):
            raise AssertionError("another page's script was let in")
    except InvalidStatus as error:
        assert error.response.status_code == 403, error.response


async def too_large():
    # Not `async with`: closing what the server has closed in the middle of a send fails in the library.
    ws = await connect(URL, proxy=None)
    try:
        await ws.send(b"x" * 200_000)
        await ws.recv()
        raise AssertionError("200,000 bytes were taken")
    except ConnectionClosed as error:
        assert error.rcvd.code == 1009, error


asyncio.run(talk())
asyncio.run(refused())
asyncio.run(too_large())
print("all is well")
