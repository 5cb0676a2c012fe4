"""aioquic as a client, for tests: asks for paths by HTTP/3, or by HTTP/0.9 over QUIC, and prints one JSON object a line.

aioquic_client.py ADDRESS PORT CA PROTOCOL STEP…   (PROTOCOL: h3 or hq-interop; STEP: /path, update-keys, change-id, again)
`again` begins a second connection with the session ticket of the first: what is asked then leaves as early data.
"""

import asyncio
import hashlib
import json
import logging
import os
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, StreamDataReceived

NAME = "shop.example"


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        protocol = self._quic.configuration.alpn_protocols[0]
        self.http = H3Connection(self._quic) if protocol == "h3" else None
        self.answers = {}

    async def get(self, path):
        stream = self._quic.get_next_available_stream_id()
        done = asyncio.get_running_loop().create_future()
        self.answers[stream] = (done, {}, bytearray())
        if self.http:
            head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", NAME.encode()), (b":path", path.encode())]
            self.http.send_headers(stream, head, end_stream=True)
        else:
            self._quic.send_stream_data(stream, f"GET {path}\r\n".encode(), end_stream=True)
        self.transmit()
        head, body = await asyncio.wait_for(done, 20)
        return {"path": path, "status": head.get(":status"), "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    def piece(self, stream, head, data, ended):
        if stream not in self.answers:
            return
        done, known, body = self.answers[stream]
        known.update(head)
        body += data
        if ended and not done.done():
            done.set_result((known, bytes(body)))

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            print(json.dumps({"alpn": event.alpn_protocol, "resumed": event.session_resumed, "early": event.early_data_accepted}))
        if self.http is None:
            if isinstance(event, StreamDataReceived):
                self.piece(event.stream_id, {}, event.data, event.end_stream)
            return
        for part in self.http.handle_event(event):
            if isinstance(part, HeadersReceived):
                head = {name.decode(): value.decode() for name, value in part.headers}
                self.piece(part.stream_id, head, b"", False)
            elif isinstance(part, DataReceived):
                self.piece(part.stream_id, {}, part.data, False)
        # aioquic 1.2 says nothing of the end when the last frame is one that it does not know (RFC 9114 section 7.2.8).
        if isinstance(event, StreamDataReceived) and event.end_stream:
            self.piece(event.stream_id, {}, b"", True)


async def talk(address, port, ca, protocol, steps, ticket, early):
    tickets = []
    configuration = QuicConfiguration(alpn_protocols=[protocol], server_name=NAME, session_ticket=ticket)
    configuration.load_verify_locations(ca)
    async with connect(
        address,
        port,
        configuration=configuration,
        create_protocol=Client,
        session_ticket_handler=tickets.append,
        wait_connected=not early,
    ) as client:
        for step in steps:
            if step == "update-keys":
                client._quic.request_key_update()
                print(json.dumps({"step": step}))
            elif step == "change-id":
                client.change_connection_id()
                print(json.dumps({"step": step}))
            else:
                print(json.dumps(await client.get(step)))
    return tickets[-1] if tickets else None


async def main():
    address, port, ca, protocol, *steps = sys.argv[1:]
    rounds = " ".join(steps).split("again")
    ticket = None
    for number, words in enumerate(rounds):
        ticket = await talk(address, int(port), ca, protocol, words.split(), ticket, number > 0)


if os.environ.get("AIOQUIC_LOG"):
    logging.basicConfig(level=logging.DEBUG)
asyncio.run(main())
