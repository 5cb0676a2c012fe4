"""aioquic as a server, for tests: `GET /20k` is answered with as many bytes, by HTTP/3 or by HTTP/0.9 over QUIC.

aioquic_server.py ADDRESS PORT CERTIFICATE KEY [retry]      It prints `listens`, then a line for each request.
"""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived
from aioquic.tls import SessionTicket

UNITS = {"k": 1000, "M": 1000000}


def size(path):
    text = path.lstrip("/")
    return int(text.rstrip("kM") or 0) * UNITS.get(text[-1:], 1)


class Server(QuicConnectionProtocol):
    http = None

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol == "h3":
            self.http = H3Connection(self._quic)
        if self.http is not None:
            for event in self.http.handle_event(event):
                if isinstance(event, HeadersReceived):
                    path = dict(event.headers)[b":path"].decode()
                    print("GET", path, flush=True)
                    self.http.send_headers(event.stream_id, [(b":status", b"200"), (b"server", b"aioquic")])
                    self.http.send_data(event.stream_id, b"q" * size(path), end_stream=True)
        elif isinstance(event, StreamDataReceived) and event.data.startswith(b"GET "):
            path = event.data.split()[1].decode()
            print("GET", path, flush=True)
            self._quic.send_stream_data(event.stream_id, b"q" * size(path), end_stream=True)
        self.transmit()


class Tickets:
    def __init__(self):
        self.kept = {}

    def add(self, ticket: SessionTicket):
        self.kept[ticket.ticket] = ticket

    def pop(self, label):
        return self.kept.pop(label, None)


async def main():
    address, port, certificate, key, *words = sys.argv[1:]
    configuration = QuicConfiguration(alpn_protocols=["h3", "hq-interop"], is_client=False)
    configuration.load_cert_chain(certificate, key)
    tickets = Tickets()
    await serve(
        address,
        int(port),
        configuration=configuration,
        create_protocol=Server,
        retry="retry" in words,
        session_ticket_fetcher=tickets.pop,
        session_ticket_handler=tickets.add,
    )
    print("listens", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
