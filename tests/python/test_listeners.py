"""The gateway's listeners: TLS, the PROXY protocol, client addresses, and closed connections."""

import contextlib
import http.client
import re
import shutil
import socket
import ssl
import struct
import time
import unittest

import grpc

import web
from contracts import REPOSITORY, message_class
from mesh import Mesh, free_ports
from shop import Note, Server
from upstream import SHOP, Channel, eventually, line

FIXTURES = REPOSITORY / "tests" / "tls"
JWKS = "/trellis.auth.v1.AuthService/GetJwks"


class Tls(unittest.TestCase):
    """One gateway with one listener without TLS and one with TLS."""

    @classmethod
    def setUpClass(cls):
        (port,) = free_ports(1)
        cls.port = port
        mesh = Mesh()
        cls.files = [mesh.folder / name for name in ("tls.crt", "tls.key")]
        cls.install("one")
        mesh.configure(
            f'[limits]\nrequest_head = "1s"\n[gateway]\nidle_timeout = "2s"\ndescriptors_refresh = "200ms"\n[gateway.tls]\nlisten = ["localhost:{port}"]\n'
            f'certificate = "{cls.files[0]}"\nkey = "{cls.files[1]}"\n'
        )
        cls.mesh = cls.enterClassContext(mesh)

    @classmethod
    def install(cls, name):
        for file, suffix in zip(cls.files, ("crt", "key")):
            new = file.with_suffix(".new")
            shutil.copy(FIXTURES / f"{name}.{suffix}", new)
            new.replace(file)

    def connect(self, name, protocols=("h2", "http/1.1"), version=None):
        context = ssl.create_default_context(cafile=FIXTURES / f"{name}.crt")
        context.set_alpn_protocols(list(protocols))
        if version:
            context.maximum_version = context.minimum_version = version
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return context.wrap_socket(plain, server_hostname="localhost")

    def test_tls_serves_grpc_and_browsers(self):
        self.install("one")
        eventually(lambda: self.connect("one").close())
        roots = grpc.ssl_channel_credentials((FIXTURES / "one.crt").read_bytes())
        with grpc.secure_channel(f"localhost:{self.port}", roots) as channel:
            keys = channel.unary_unary(JWKS, response_deserializer=message_class("trellis.auth.v1.GetJwksResponse").FromString)
            self.assertTrue(keys(b"", timeout=10).keys)
        context = ssl.create_default_context(cafile=FIXTURES / "one.crt")
        browser = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=10)
        self.addCleanup(browser.close)
        browser.request("GET", "/")
        page = browser.getresponse()
        self.assertEqual(page.status, 200)
        self.assertEqual(page.getheader("strict-transport-security"), "max-age=31536000")
        page.read()
        browser.request("POST", JWKS, web.frame(b""), {"content-type": "application/grpc-web+proto"})
        response = browser.getresponse()
        self.assertEqual(response.getheader("strict-transport-security"), "max-age=31536000")
        self.assertEqual(response.getheader("x-content-type-options"), "nosniff")
        self.assertEqual(response.getheader("cache-control"), "no-store")
        response.read()
        self.assertIn("default-src 'none'", page.getheader("content-security-policy"))

    def test_early_responses_are_not_lost_over_tls(self):
        self.install("one")
        eventually(lambda: self.connect("one").close())
        context = ssl.create_default_context(cafile=FIXTURES / "one.crt")
        client = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=30)
        self.addCleanup(client.close)
        for size in [5] * 50 + [100_000] * 20:
            client.request("POST", f"{JWKS}Missing", b"x" * size, {"content-type": "application/grpc-web+proto"})
            response = client.getresponse()
            self.assertEqual(response.getheader("grpc-status"), "12")
            self.assertIsNone(response.getheader("connection"))
            response.read()

    def test_silent_clients_are_closed_in_time(self):
        self.install("one")
        eventually(lambda: self.connect("one").close())
        # With either protocol, and also after a part of the preface.
        for offered, begun in ((["h2"], b""), (["h2"], b"PRI * HTTP/2.0\r\n"), (["http/1.1"], b"")):
            with self.connect("one", offered) as connection:
                connection.settimeout(20)
                connection.sendall(begun)
                with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                    while connection.recv(65_536):
                        pass

    def test_alpn_offers_both_versions_of_http(self):
        self.install("one")
        eventually(lambda: self.connect("one").close())
        for offered, agreed in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
            with self.connect("one", offered) as connection:
                self.assertEqual(connection.selected_alpn_protocol(), agreed)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.connect("one", version=version).close()

    def test_renewed_certificate_applies_and_connections_stay(self):
        self.install("one")
        eventually(lambda: self.connect("one").close())
        old = self.connect("one", ["http/1.1"])
        self.addCleanup(old.close)
        self.install("two")
        eventually(lambda: self.connect("two").close())
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.connect("one")
        old.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.assertIn(b"200 OK", old.recv(1_000))
        # A key of another certificate is refused, and the last good pair stays in force.
        shutil.copy(FIXTURES / "one.key", self.files[1])
        eventually(lambda: self.assertIn("tls.key", self.mesh.output()))
        self.connect("two").close()

    def test_plain_text_on_the_tls_listener_gets_no_response(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP", plain.recv(1_000))


class Behind(unittest.TestCase):
    """Behind trusted proxies, and with clients that forge their headers."""

    def client_address(self, mesh, headers=(), prefix=b""):
        """The client address in the access log."""
        host, port = mesh.address["gateway"].split(":")
        marker = f"{time.monotonic_ns():032x}"
        body = web.frame(b"")
        head = f"POST {JWKS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n"
        head += f"content-length: {len(body)}\r\ntraceparent: 00-{marker}-0000000000000001-01\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers) + "connection: close\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(prefix + head.encode() + body)
            response = b""
            while piece := connection.recv(65_536):
                response += piece
        if b"200 OK" not in response:
            return None

        def logged():
            found = re.search(rf"trace.id={marker}.*?client.address=(\S+)", mesh.output())
            self.assertTrue(found, mesh.output())
            return found[1]

        return eventually(logged)

    def test_only_trusted_proxies_set_the_client_address(self):
        x_forwarded_for = ("x-forwarded-for", "198.51.100.7, 192.0.2.9, 10.0.0.2")
        forwarded = ("forwarded", 'for="[2001:db8::9]:4711";proto=https')
        trusted = '[gateway]\ntrusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]\n'
        with Mesh(trusted) as mesh:
            # The proxies write one header; the other is from the client.
            expected = {(x_forwarded_for, forwarded): "192.0.2.9", (forwarded,): "127.0.0.1", (): "127.0.0.1"}
            # Non-ASCII bytes before the proxy's entry have no effect; as the proxy's entry they make the client unknown.
            expected |= {(("x-forwarded-for", "é, 192.0.2.9"),): "192.0.2.9", (("x-forwarded-for", "192.0.2.9, é"),): "::"}
            for headers, address in expected.items():
                self.assertEqual(self.client_address(mesh, headers), address)
        with Mesh(trusted + 'client_address_header = "forwarded"\n') as mesh:
            expected = {(x_forwarded_for, forwarded): "2001:db8::9", (x_forwarded_for,): "127.0.0.1"}
            for headers, address in expected.items():
                self.assertEqual(self.client_address(mesh, headers), address)
        with Mesh() as mesh:
            self.assertEqual(self.client_address(mesh, [("x-forwarded-for", "192.0.2.9")]), "127.0.0.1")

    def test_proxy_protocol_sets_the_client_address(self):
        signature = b"\r\n\r\n\0\r\nQUIT\n"
        addresses = socket.inet_aton("192.0.2.9") + socket.inet_aton("10.0.0.1") + struct.pack(">HH", 4711, 80)
        header = signature + bytes([0x21, 0x11]) + struct.pack(">H", len(addresses)) + addresses
        with Mesh('[gateway]\nproxy_protocol = true\ntrusted_proxies = ["127.0.0.2"]\n') as mesh:
            host, port = mesh.address["gateway"].split(":")

            def from_the_proxy(data, path="/livez"):
                with socket.socket() as connection:
                    connection.settimeout(10)
                    connection.bind(("127.0.0.2", 0))
                    connection.connect((host, int(port)))
                    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                    connection.sendall(data + request.encode())
                    try:
                        return connection.recv(1_000)
                    except ConnectionResetError:
                        return b"closed"

            self.assertIn(b"200 OK", from_the_proxy(header))
            # A health probe from the same network works without it, but only for health.
            self.assertIn(b"200 OK", from_the_proxy(b""))
            self.assertIn(b"403 Forbidden", from_the_proxy(b"", path="/"))
            self.assertNotIn(b"200 OK", from_the_proxy(b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 80\r\n"))
        with Mesh('[gateway]\nproxy_protocol = false\ntrusted_proxies = ["127.0.0.1"]\n') as mesh:
            self.assertIsNone(self.client_address(mesh, prefix=header))


class Doors(unittest.TestCase):
    """The gateway closes idle and stalled connections."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        settings = '[gateway]\nidle_timeout = "2s"\nstall_timeout = "2s"\nheader_count = 20\n[limits]\nrequest_head = "1s"\n'
        cls.mesh = cls.enterClassContext(Mesh(settings + line(cls.server)))
        cls.host, port = cls.mesh.address["gateway"].split(":")
        cls.port = int(port)
        cls.shop = Channel(cls.mesh.address["gateway"])
        cls.addClassCleanup(cls.shop.channel.close)
        eventually(lambda: cls.shop.Echo(Note(), timeout=5))

    def connect(self):
        connection = socket.create_connection((self.host, self.port), timeout=40)
        self.addCleanup(connection.close)
        return connection

    def seconds_until_closed(self, connection):
        begun = time.monotonic()
        try:
            while connection.recv(65_536):
                pass
        except ConnectionResetError:
            pass
        return time.monotonic() - begun

    def test_idle_connection_is_closed(self):
        connection = self.connect()
        # HTTP/2 without a call.
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        self.assertLess(self.seconds_until_closed(connection), 20)

    def test_connection_may_be_idle_between_requests(self):
        connection = self.connect()
        get = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
        connection.sendall(get)
        self.assertIn(b"200 OK", connection.recv(1_000))
        # Longer than the timeout of a request head, and shorter than the idle timeout.
        time.sleep(1.6)
        connection.sendall(get)
        self.assertIn(b"200 OK", connection.recv(1_000))

    def test_incomplete_request_head_is_closed(self):
        connection = self.connect()
        connection.sendall(b"POST / HTTP/1.1\r\n")
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < 20:
                connection.sendall(b"x-slow: loris\r\n")
                time.sleep(0.2)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertLess(time.monotonic() - begun, 10)

    def test_client_that_does_not_read_is_closed_alone(self):
        connection = self.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        body = web.frame(Note(text="beans" * 1_000, count=1_000_000).SerializeToString())
        head = f"POST {SHOP}/Repeat HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: {len(body)}\r\n\r\n"
        self.server.shop.cancelled.clear()
        others = self.shop.Repeat(Note(text="slowly", count=80), timeout=60)
        connection.sendall(head.encode() + body)
        self.assertTrue(self.server.shop.cancelled.wait(20), "the upstream still sends to a closed connection")
        self.assertEqual(len(list(others)), 80)

    def test_number_of_request_headers_is_limited(self):
        for count, status in ((19, 200), (20, 431)):
            connection = self.connect()
            # `host` counts too.
            head = "GET /livez HTTP/1.1\r\nhost: a\r\n" + "".join(f"x-{n}: 1\r\n" for n in range(count))
            connection.sendall(head.encode() + b"\r\n")
            self.assertIn(str(status).encode(), connection.recv(100))
        with self.assertRaises(grpc.RpcError) as refused:
            self.shop.Echo(Note(), metadata=[(f"x-{n}", "1") for n in range(30)], timeout=10)
        self.assertIn("431", refused.exception.details())


if __name__ == "__main__":
    unittest.main()
