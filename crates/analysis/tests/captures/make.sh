#!/usr/bin/env bash
# Makes web.pcapng and quic.pcapng again, beside this file: real clients and servers on the loopback of an own network
# namespace, their TLS secrets put into the captures. Needs root; Debian: tshark curl openssl nginx bind9 bind9-dnsutils
# nghttp2-client; PyPI: aioquic websockets.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj "/CN=wirelab CA" -days 3650 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout s.key -out s.csr -subj "/CN=shop.example" 2>/dev/null
echo "subjectAltName=DNS:shop.example" >ext
openssl x509 -req -in s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out s.pem -extfile ext -days 3650 2>/dev/null
cat s.pem ca.pem >chain.pem
mkdir www
echo "<h1>hello</h1>" >www/index.html
head -c 20000 /dev/urandom >www/big.bin
for i in 1 2 3; do echo "x$i" >www/$i.js; done
cat >nginx.conf <<E
worker_processes 1; daemon off; pid $work/nginx.pid; error_log $work/err.log; user root;
events { worker_connections 100; }
http { access_log off; server_tokens off; client_body_temp_path $work/cb; proxy_temp_path $work/pt;
fastcgi_temp_path $work/ft; uwsgi_temp_path $work/ut; scgi_temp_path $work/st;
types { text/html html; application/javascript js; } gzip on; gzip_min_length 1;
server { listen 80; listen 443 ssl http2; ssl_certificate $work/chain.pem; ssl_certificate_key $work/s.key;
ssl_protocols TLSv1.2 TLSv1.3; ssl_early_data on; ssl_ciphers ALL; root $work/www; }
server { listen 81 http2; root $work/www; } }
E
cat >named.conf <<E
tls local { cert-file "$work/chain.pem"; key-file "$work/s.key"; };
options { directory "$work"; recursion no; listen-on port 53 { 127.0.0.1; }; listen-on port 853 tls local { 127.0.0.1; };
listen-on port 8443 tls local http default { 127.0.0.1; }; listen-on-v6 { none; }; pid-file none;
session-keyfile "$work/sess.key"; };
zone "example" { type master; file "$work/example.zone"; };
E
x=$(printf 'x%.0s' $(seq 1 200))
cat >example.zone <<E
\$TTL 300
@ SOA ns1.example. root.example. 1 3600 600 86400 60
@ NS ns1.example.
ns1 A 192.0.2.53
www A 192.0.2.80
www AAAA 2001:db8::80
alias CNAME www
sub NS ns.sub
ns.sub A 192.0.2.99
mail MX 10 www
txt TXT "hello world"
svc HTTPS 1 . alpn="h3,h2" port=443 ipv4hint=192.0.2.80
big TXT "${x}1"
big TXT "${x}2"
big TXT "${x}3"
E
cat >ws.py <<'E'
import asyncio, websockets
async def echo(ws, *_):
    async for m in ws:
        await ws.send(m)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 8080):
        for zip_ in (None, "deflate"):
            async with websockets.connect("ws://127.0.0.1:8080/chat", compression=zip_) as ws:
                await ws.send("hello"); await ws.recv(); await ws.send(b"\0" * 300); await ws.recv()
                await (await ws.ping())
                await ws.close(1000, "done")
asyncio.run(main())
E
cat >qserver.py <<'E'
import asyncio, sys
from aioquic.asyncio import serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated
class Server(QuicConnectionProtocol):
    h3 = None
    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.h3 = H3Connection(self._quic)
        for e in self.h3.handle_event(event) if self.h3 else []:
            if isinstance(e, HeadersReceived):
                body = b"x" * (4000 if dict(e.headers)[b":path"] == b"/big" else 12)
                self.h3.send_headers(e.stream_id, [(b":status", b"200"), (b"content-type", b"text/plain"),
                    (b"server", b"wl"), (b"content-length", str(len(body)).encode())])
                self.h3.send_data(e.stream_id, body, True)
                self.transmit()
tickets = {}
async def main():
    c = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False)
    c.load_cert_chain("s.pem", "s.key")
    await serve("127.0.0.1", 4433, configuration=c, create_protocol=Server, retry=len(sys.argv) > 1,
        session_ticket_fetcher=lambda l: tickets.pop(l, None),
        session_ticket_handler=lambda t: tickets.__setitem__(t.ticket, t))
    await asyncio.Event().wait()
asyncio.run(main())
E
cat >qclient.py <<'E'
import asyncio, ssl, sys
from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import CipherSuite
class Client(QuicConnectionProtocol):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.h3, self.wait = H3Connection(self._quic), {}
    def get(self, path):
        i = self._quic.get_next_available_stream_id()
        self.h3.send_headers(i, [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"shop.example"),
            (b":path", path), (b"user-agent", b"aio")], end_stream=True)
        self.wait[i] = asyncio.get_event_loop().create_future()
        self.transmit()
        return self.wait[i]
    def quic_event_received(self, event):
        for e in self.h3.handle_event(event):
            if isinstance(e, (HeadersReceived, DataReceived)) and e.stream_ended:
                self.wait[e.stream_id].set_result(1)
tickets = []
async def go(suite=None, update=False, early=False, rebind=False):
    c = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name="shop.example", verify_mode=ssl.CERT_NONE)
    c.secrets_log_file = open("quic.log", "a")
    if suite:
        c.cipher_suites = [suite]
    if early and tickets:
        c.session_ticket = tickets[-1]
    async with connect("127.0.0.1", 4433, configuration=c, create_protocol=Client,
            session_ticket_handler=tickets.append, wait_connected=not early) as p:
        await p.get(b"/")
        if update:
            p._quic.request_key_update()
        if rebind:
            p.change_connection_id()
        await p.get(b"/big")
    c.secrets_log_file.close()
async def main():
    await go(CipherSuite.AES_128_GCM_SHA256, rebind=True)
    if len(sys.argv) == 1:
        await go(CipherSuite.CHACHA20_POLY1305_SHA256, update=True)
        await go()
        await go(early=True)
asyncio.run(main())
E
cat >web.sh <<'E'
ip link set lo up; ip link set lo mtu 1500
nginx -c $PWD/nginx.conf & N=$!
named -f -c $PWD/named.conf -u root >named.out 2>&1 & B=$!
sleep 2
tshark -q -i lo -w web.raw 2>/dev/null & T=$!
sleep 2.5
export SSLKEYLOGFILE=$PWD/web.log
C="curl -s -o /dev/null --cacert ca.pem --connect-to ::127.0.0.1"
D="dig @127.0.0.1 +tries=1 +time=2"
exec 2>>dig.err
$D www.example A >/dev/null; $D www.example AAAA >/dev/null; $D alias.example >/dev/null; $D nope.example >/dev/null
$D x.sub.example >/dev/null; $D mail.example MX +tcp >/dev/null; $D txt.example TXT >/dev/null
$D svc.example HTTPS >/dev/null; $D +bufsize=512 big.example TXT >/dev/null
$D +tls www.example A >/dev/null; $D +https -p 8443 www.example A >/dev/null
$C http://shop.example/; $C -I http://shop.example/; $C --compressed http://shop.example/1.js
$C http://shop.example/big.bin; $C -d a=b http://shop.example/nope
curl -s -o /dev/null --http2-prior-knowledge http://127.0.0.1:81/ http://127.0.0.1:81/1.js -o /dev/null
$C --http1.1 https://shop.example/
$C --http1.1 --tls-max 1.2 https://shop.example/
$C --http1.1 --tls-max 1.2 --ciphers AES256-GCM-SHA384 https://shop.example/
$C --http1.1 --tls-max 1.2 --ciphers ECDHE-RSA-CHACHA20-POLY1305 https://shop.example/
$C --http1.1 --tls-max 1.2 --ciphers AES128-SHA https://shop.example/
$C --http1.1 --tls13-ciphers TLS_CHACHA20_POLY1305_SHA256 https://shop.example/big.bin
curl -s -o /dev/null --connect-to ::127.0.0.1 https://shop.example/
$C https://shop.example/ https://shop.example/1.js -o /dev/null https://shop.example/big.bin -o /dev/null
S="openssl s_client -connect 127.0.0.1:443 -servername shop.example -alpn http/1.1 -keylogfile web.log"
R="GET / HTTP/1.1\r\nHost: shop.example\r\n"
printf "${R}Connection: close\r\n\r\n" >early.txt
(printf "$R\r\n"; sleep 0.6) | timeout 2 $S -sess_out sess.pem >/dev/null 2>&1
(sleep 0.6) | timeout 2 $S -sess_in sess.pem -early_data early.txt >/dev/null 2>&1
(printf "GET / HTTP/1.1\r\n"; sleep 0.3; printf "K\n"; sleep 0.3; printf "Host: shop.example\r\n\r\n"; sleep 0.3) |
    timeout 3 $S >/dev/null 2>&1
python3 ws.py
# dig tells its secrets as log lines.
sed -nE 's/^[0-9].* ([A-Z_0-9]+ [0-9a-f]+ [0-9a-f]+)$/\1/p' dig.err >>web.log
sleep 1.5; kill $T; wait $T; kill $N $B; wait
E
cat >quic.sh <<'E'
ip link set lo up; ip link set lo mtu 1500
python3 qserver.py & Q=$!
sleep 2
tshark -q -i lo -w quic.raw 2>/dev/null & T=$!
sleep 2.5
timeout 20 python3 qclient.py
kill $Q; sleep 0.3; python3 qserver.py retry & Q=$!
sleep 2
timeout 20 python3 qclient.py once
sleep 1.5; kill $T; wait $T; kill $Q; wait
E
for kind in web quic; do
    unshare -n bash $kind.sh
    editcap --inject-secrets tls,$kind.log $kind.raw "$here/$kind.pcapng"
done
