"""External upstreams: a Python service behind the gateway, registered by one line."""

import base64
import gzip
import json
import pathlib
import time
import unittest
import urllib.request

import grpc
from google.protobuf import descriptor_pool, wrappers_pb2
from google.rpc import status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import web
from contracts import Client, describe, message_class_of, reason
from mesh import Mesh
from shop import PACKAGE, POOL, Note, Server
from tap import Tap

SHOP = f"/{PACKAGE}.Shop"
TLS = pathlib.Path(__file__).resolve().parents[1] / "tls"
PASSWORD = "correct horse battery staple"


def line(server, settings='access = "public", descriptors = "reflection"', prefix=PACKAGE, section="[gateway.external]\n"):
    return f'{section}"{prefix}" = {{ to = ["{server.address}"], {settings} }}\n'


def eventually(check, seconds=20):
    """Repeats a check until it passes. Raises its last failure after a timeout."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, grpc.RpcError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Channel:
    """A plain gRPC client of one of the shop's services."""

    def __init__(self, address, service="Shop"):
        self.service = f"{PACKAGE}.{service}"
        self.channel = grpc.insecure_channel(address)

    def __getattr__(self, method):
        declared = POOL.FindServiceByName(self.service).methods_by_name[method]
        kind = f"{'stream' if declared.client_streaming else 'unary'}_{'stream' if declared.server_streaming else 'unary'}"
        make = getattr(self.channel, kind)
        return make(f"/{self.service}/{method}", request_serializer=Note.SerializeToString, response_deserializer=Note.FromString)


class UpstreamCase(unittest.TestCase):
    """A gateway with the shop as its upstream."""

    settings = 'access = "public", descriptors = "reflection", token_audience = "shop"'
    more = ""
    services = ("Shop",)
    reflects = "v1alpha"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(services=cls.services, reflects=cls.reflects)
        cls.addClassCleanup(cls.server.stop)
        cls.mesh = cls.enterClassContext(Mesh(f"[gateway]\n{cls.more}\n" + line(cls.server, cls.settings)))
        cls.gateway = cls.mesh.address["gateway"]
        cls.shop = Channel(cls.gateway)
        cls.addClassCleanup(cls.shop.channel.close)
        eventually(lambda: cls.shop.Echo(Note(text="ready"), timeout=5))

    def assert_refused(self, code, why, call):
        with self.assertRaises(grpc.RpcError) as refused:
            call()
        self.assertEqual((refused.exception.code(), reason(refused.exception)), (code, why))

    def database(self):
        """The services that the gateway's reflection lists."""
        channel = grpc.insecure_channel(self.gateway)
        self.addCleanup(channel.close)
        return ProtoReflectionDescriptorDatabase(channel)

    def sign_up(self, handle):
        """A new user's tokens."""
        client = Client(self.gateway)
        self.addCleanup(client.close)
        return client.call(
            "auth", "SignUp", email=f"{handle}@example.com", password=PASSWORD, handle=handle, display_name=handle
        ).tokens


class Translation(UpstreamCase):
    """The gateway forwards calls unchanged."""

    def test_all_kinds_of_calls_work_over_grpc(self):
        notes = [Note(text=text) for text in ("one", "two", "three")]
        self.assertEqual(self.shop.Echo(Note(text="one"), timeout=10).text, "one")
        self.assertEqual([note.count for note in self.shop.Repeat(Note(text="r", count=3), timeout=10)], [0, 1, 2])
        self.assertEqual(self.shop.Collect(iter(notes), timeout=10).text, "one two three")
        self.assertEqual([note.text for note in self.shop.Chat(iter(notes), timeout=10)], ["one", "two", "three"])

    def test_each_message_of_a_stream_is_flushed_at_once(self):
        sent = []

        def notes():
            for number in range(5):
                sent.append(number)
                yield Note(count=number)
                # Sends the next note only after the response to this one.
                while len(received) <= number:
                    time.sleep(0.005)

        received = []
        for note in self.shop.Chat(notes(), timeout=20):
            received.append(note.count)
        self.assertEqual((sent, received), ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]))

    def test_unary_calls_and_server_streams_work_over_grpc_web(self):
        for text in (False, True):
            one = web.call(self.gateway, f"{SHOP}/Echo", Note(text="hällo").SerializeToString(), text=text)
            self.assertEqual([Note.FromString(m).text for m in one.messages], ["hällo"])
            self.assertEqual((one.status, one.trailers["grpc-status"], one.frames[-1]), (200, "0", 0x80))
            many = web.call(self.gateway, f"{SHOP}/Repeat", Note(text="r", count=40).SerializeToString(), text=text)
            self.assertEqual([Note.FromString(m).count for m in many.messages], list(range(40)))
            self.assertEqual(many.trailers["grpc-status"], "0")

    def test_repeated_and_binary_metadata_is_forwarded(self):
        metadata = (
            ("x-initial-plain", "one"),
            ("x-initial-plain", "two"),
            ("x-initial-bytes-bin", b"\x00\xff\x10"),
            ("x-trailing-plain", "last"),
            ("x-trailing-bytes-bin", b"\xfe"),
        )
        call = self.shop.Echo.with_call(Note(), metadata=metadata, timeout=10)[1]
        initial = [(name, value) for name, value in call.initial_metadata() if name.startswith("x-")]
        trailing = [(name, value) for name, value in call.trailing_metadata() if name.startswith("x-")]
        self.assertEqual(sorted(initial), sorted(metadata[:3]))
        self.assertEqual(sorted(trailing), sorted(metadata[3:]))

    def test_padded_and_unpadded_metadata_passes_over_grpc_web(self):
        for value in ("/g==", "/g"):
            headers = [("x-initial-bytes-bin", value), ("x-trailing-plain", "last"), ("x-initial-plain", "a"), ("x-initial-plain", "b")]
            response = web.call(self.gateway, f"{SHOP}/Echo", b"", headers=headers)
            self.assertEqual(response.header("x-initial-bytes-bin").rstrip("="), "/g")
            self.assertEqual(response.header("x-initial-plain"), "a, b")
            self.assertEqual(response.trailers["x-trailing-plain"], "last")

    def test_error_keeps_its_message_and_details(self):
        for count in (0, 2):
            with self.assertRaises(grpc.RpcError) as refused:
                list(self.shop.Refuse(Note(count=count), timeout=10))
            error = refused.exception
            self.assertEqual((error.code(), error.details()), (grpc.StatusCode.ABORTED, "nicht heute: 100 % Ärger\n"))
            detail = wrappers_pb2.StringValue()
            self.assertTrue(rpc_status.from_call(error).details[0].Unpack(detail))
            self.assertEqual(detail.value, "Häuser 100 %")
            for text in (False, True):
                response = web.call(self.gateway, f"{SHOP}/Refuse", Note(count=count).SerializeToString(), text=text)
                self.assertEqual((len(response.messages), response.trailers["grpc-status"]), (count, "10"))
                self.assertEqual(response.trailers["grpc-message"], "nicht heute: 100 %25 %C3%84rger%0A")
                packed = base64.b64decode(response.trailers["grpc-status-details-bin"] + "==")
                self.assertEqual(status_pb2.Status.FromString(packed).message, "nicht heute: 100 % Ärger\n")
                # A Trailers-Only response stays one: its trailers are its headers.
                self.assertEqual(response.body == b"", count == 0)

    def test_deadline_reaches_the_upstream_and_is_enforced(self):
        seen = self.shop.Show(Note(), timeout=7).text
        # In whole seconds, because gRPC rounds it up.
        self.assertLess(float(seen.split("time-remaining: ")[1]), 8)
        with self.assertRaises(grpc.RpcError) as late:
            list(self.shop.Repeat(Note(text="slowly", count=1_000), timeout=0.5))
        self.assertEqual(late.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        response = web.call(
            self.gateway, f"{SHOP}/Repeat", Note(text="slowly", count=1_000).SerializeToString(), headers=[("grpc-timeout", "300m")]
        )
        self.assertEqual(response.trailers["grpc-status"], str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0]))
        self.assertGreater(len(response.messages), 0)

    def test_cancellation_reaches_the_upstream(self):
        self.server.shop.cancelled.clear()
        stream = self.shop.Repeat(Note(text="slowly", count=10_000), timeout=60)
        next(stream)
        stream.cancel()
        self.assertTrue(self.server.shop.cancelled.wait(10))

    def compressing(self):
        """A gateway, and a tap on its connection to a shop that compresses its responses."""
        server = Server(compression=grpc.Compression.Gzip)
        self.addCleanup(server.stop)
        inside = Tap(server.address.removeprefix("http://"))
        self.addCleanup(inside.stop)
        # Without descriptors, so that the tap records only the test's own calls.
        return self.enterContext(Mesh(line(inside, 'access = "public"'))).address["gateway"], inside

    def test_compressed_messages_are_forwarded_unchanged(self):
        gateway, inside = self.compressing()
        outside = Tap(gateway)
        self.addCleanup(outside.stop)
        shop = Channel(outside.at)
        self.addCleanup(shop.channel.close)
        long = "beans " * 10_000
        note = Note(text=long, count=3)
        call = shop.Echo.with_call(note, timeout=10, compression=grpc.Compression.Gzip)
        self.assertEqual(call[0].text, long)
        many = shop.Repeat(note, timeout=10, compression=grpc.Compression.Gzip)
        self.assertEqual([note.text for note in many], [long] * 3)
        # Requests and responses are byte for byte the same on both sides of the gateway.
        calls = outside.calls()
        self.assertCountEqual(calls, inside.calls())
        self.assertEqual([(request[0], response[0]) for request, response in calls], [(1, 1), (1, 1)])
        self.assertEqual([gzip.decompress(message[5:]) for message in calls[0]], [note.SerializeToString()] * 2)

    def test_compressed_grpc_web_messages_are_forwarded_unchanged(self):
        gateway, inside = self.compressing()
        headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")]
        for text in (False, True):
            note = Note(text="beans " * 10_000, count=int(text)).SerializeToString()
            # Compressing it again would write another timestamp.
            packed = gzip.compress(note, mtime=1)
            response = web.call(gateway, f"{SHOP}/Echo", packed, headers, text, flag=1)
            self.assertEqual((response.frames, response.header("grpc-encoding")), ([1, 0x80], "gzip"))
            self.assertEqual(gzip.decompress(response.messages[0]), note)
            self.assertIn((web.frame(packed, 1), web.frame(response.messages[0], 1)), inside.calls())

    def test_undeclared_method_never_reaches_the_upstream(self):
        calls = self.server.shop.calls
        channel = self.shop.channel
        for path in (f"{SHOP}/Nothing", f"/{PACKAGE}.Newcomer/Echo", f"/{PACKAGE}x.Shop/Echo"):
            with self.assertRaises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertEqual(self.server.shop.calls, calls)


class GraphQl(UpstreamCase):
    more = "graphql.enabled = true"
    settings = 'access = "public", descriptors = "reflection", graphql = true'

    def test_client_that_leaves_cancels_a_subscription(self):
        query = 'subscription { acmeShopV1Repeat(text: "slowly", count: 10000) { count } }'
        request = urllib.request.Request(
            f"http://{self.gateway}/graphql",
            json.dumps({"query": query}).encode(),
            {"content-type": "application/json", "accept": "text/event-stream"},
        )
        self.server.shop.cancelled.clear()
        with urllib.request.urlopen(request, timeout=10) as response:
            self.assertTrue(any(b'"count":1' in line for line in response), "no message")
            self.assertFalse(self.server.shop.cancelled.is_set())
        self.assertTrue(self.server.shop.cancelled.wait(10))


class Reflection(UpstreamCase):
    """The gateway's reflection lists external services like those of the mesh."""

    def test_reflection_shows_callable_methods(self):
        # Another test may have closed the shop a moment ago.
        eventually(lambda: self.assertIn(f"{PACKAGE}.Shop", self.database().get_services()))
        self.assertIn("trellis.users.v1.UsersService", self.database().get_services())
        pool = descriptor_pool.DescriptorPool(self.database())
        shop = pool.FindServiceByName(f"{PACKAGE}.Shop")
        self.assertIn("Echo", shop.methods_by_name)
        note = message_class_of(pool, shop.methods_by_name["Echo"].input_type.full_name)
        echo = self.shop.channel.unary_unary(
            f"{SHOP}/Echo", request_serializer=note.SerializeToString, response_deserializer=note.FromString
        )
        self.assertEqual(echo(note(text="learned"), timeout=10).text, "learned")

    def test_reflection_hides_closed_methods(self):
        self.addCleanup(lambda: self.mesh.configure(line(self.server, self.settings)))
        self.mesh.configure(line(self.server, 'access = "deny", descriptors = "reflection"'))
        eventually(lambda: self.assertNotIn(f"{PACKAGE}.Shop", self.database().get_services()))
        self.assertIn("trellis.users.v1.UsersService", self.database().get_services())


class Identity(UpstreamCase):
    """The identity that an upstream receives about the caller, and its validity elsewhere."""

    def seen(self, **call):
        text = self.shop.Show(Note(), timeout=10, **call).text
        return [entry.split(": ", 1) for entry in text.split("\n")]

    def test_upstream_token_is_valid_only_at_its_upstream(self):
        tokens = self.sign_up("ada")
        metadata = [
            ("authorization", f"Bearer {tokens.access_token}"),
            ("cookie", "__Host-trellis_session_a1=secret"),
            ("x-trellis-service-token", "made up"),
            ("x-trellis-client-address", "10.9.9.9"),
            ("x-forwarded-for", "10.9.9.9"),
            ("forwarded", "for=10.9.9.9"),
        ]
        seen = self.seen(metadata=metadata)
        self.assertNotIn(tokens.access_token, str(seen))
        self.assertNotIn("secret", str(seen))
        self.assertFalse([name for name, _ in seen if name.startswith("x-trellis")])
        self.assertNotIn("10.9.9.9", str(seen))
        self.assertIn(["x-forwarded-for", "127.0.0.1"], seen)
        (bearer,) = [value for name, value in seen if name == "authorization"]
        header, claims, _ = [part + "==" for part in bearer.removeprefix("Bearer ").split(".")]
        header, claims = (json.loads(base64.urlsafe_b64decode(part)) for part in (header, claims))
        self.assertEqual((claims["iss"], claims["aud"], claims["sub"]), ("trellis-gateway", "shop", tokens.user_id))
        self.assertEqual((claims["sid"], claims["amr"]), (tokens.session_id, ["pwd"]))
        self.assertLessEqual(claims["auth_time"], claims["iat"])
        self.assertLessEqual(claims["exp"] - claims["iat"], 60)
        keys = json.load(urllib.request.urlopen(f"http://{self.gateway}/.well-known/trellis-gateway/jwks.json"))["keys"]
        self.assertIn(header["kid"], [key["kid"] for key in keys])
        # Replayed to the mesh, the token is rejected: by the gateway and by a service itself.
        replayed = bearer.removeprefix("Bearer ")
        for address in (self.gateway, self.mesh.address["messaging"]):
            stranger = Client(address)
            self.addCleanup(stranger.close)
            self.assert_refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_INVALID",
                lambda stranger=stranger: stranger.call("messaging", "ListConversations", token=replayed),
            )
        direct = grpc.insecure_channel(self.mesh.address["messaging"])
        self.addCleanup(direct.close)
        with self.assertRaises(grpc.RpcError) as refused:
            internal = direct.unary_unary("/trellis.messaging.v1.MessagingService/ListContacts")
            internal(b"", metadata=[("x-trellis-service-token", replayed)], timeout=10)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(reason(refused.exception), "SERVICE_TOKEN_INVALID")

    def test_anonymous_call_carries_no_identity(self):
        self.assertNotIn("authorization", dict(self.seen()))
        # The same for a caller with a token of another issuer.
        self.assertNotIn("authorization", dict(self.seen(metadata=[("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")])))


class Closed(UpstreamCase):
    """Without a configured access, no client may call."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.mesh = cls.enterClassContext(Mesh(line(cls.server, 'access = "deny"')))
        cls.gateway = cls.mesh.address["gateway"]
        cls.shop = Channel(cls.gateway)
        cls.addClassCleanup(cls.shop.channel.close)

    def test_calls_are_refused_without_configured_access(self):
        self.assert_refused(grpc.StatusCode.PERMISSION_DENIED, "METHOD_CLOSED", lambda: self.shop.Echo(Note(), timeout=10))

    def test_reload_opens_access_and_invalid_one_changes_nothing(self):
        self.mesh.configure(line(self.server, 'access = "signed_in"'))
        eventually(
            lambda: self.assert_refused(
                grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_REQUIRED", lambda: self.shop.Echo(Note(), timeout=10)
            )
        )
        self.mesh.configure(line(self.server, 'access = "public"'))
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        stream = self.shop.Repeat(Note(text="slowly", count=100), timeout=30)
        next(stream)
        for bad, words in (
            (line(self.server, 'access = "anyone"'), "anyone"),
            (line(self.server, prefix="trellis.users.v1"), "is served by Trellis itself"),
            ("[gateway]\nlisten = 5\n", "gateway.listen"),
        ):
            self.mesh.configure(bad)
            eventually(lambda words=words: self.assertIn(words, self.mesh.output()))
        # The open stream and the routes are unchanged.
        self.assertEqual(len(list(stream)), 99)
        self.shop.Echo(Note(), timeout=10)
        self.mesh.configure(line(self.server, 'access = "deny"'))
        eventually(self.assert_closed)

    def assert_closed(self):
        self.assert_refused(grpc.StatusCode.PERMISSION_DENIED, "METHOD_CLOSED", lambda: self.shop.Echo(Note(), timeout=10))

    def test_upstream_without_descriptors_opens_no_methods(self):
        self.mesh.configure(line(self.server, 'access = "public", descriptors = "reflection"'))
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        self.mesh.configure(line(self.server, 'access = "deny"'))
        eventually(self.assert_closed)


class Descriptors(UpstreamCase):
    """A failure never makes a method more accessible."""

    more = 'descriptors_refresh = "200ms"'
    settings = 'access = "public", descriptors = "reflection"'

    def newcomer(self):
        path = f"/{PACKAGE}.Newcomer/Echo"
        call = self.shop.channel.unary_unary(path, request_serializer=Note.SerializeToString)
        return call(Note(text="new"), timeout=10, wait_for_ready=False)

    def assert_newcomer(self, code):
        with self.assertRaises(grpc.RpcError) as refused:
            self.newcomer()
        self.assertEqual(refused.exception.code(), code, refused.exception.details())

    def test_last_good_descriptors_outlive_upstream_failures(self):
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        port = self.server.port
        self.server.stop()
        # While the upstream is unreachable, its last good descriptors stay in force.
        time.sleep(0.6)
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        self.assert_refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", lambda: self.shop.Echo(Note(), timeout=10))
        # It returns without reflection: the last good descriptors stay in force.
        silent = Server(port, services=("Shop", "Newcomer"), reflects=False)
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        time.sleep(0.6)
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        silent.stop()
        # It returns with another service, which its reflection lists.
        back = Server(port, services=("Shop", "Newcomer"))
        self.addCleanup(back.stop)
        eventually(self.newcomer)


class Unread(unittest.TestCase):
    """An upstream whose descriptors were never read is closed until they are read."""

    def test_upstream_opens_once_descriptors_are_read(self):
        server = Server()
        port = server.port
        server.stop()
        with Mesh('[gateway]\ndescriptors_refresh = "200ms"\n' + line(server)) as mesh:
            shop = Channel(mesh.address["gateway"])
            self.addCleanup(shop.channel.close)
            with self.assertRaises(grpc.RpcError) as refused:
                shop.Echo(Note(), timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)
            late = Server(port)
            self.addCleanup(late.stop)
            eventually(lambda: shop.Echo(Note(), timeout=10))


class File(unittest.TestCase):
    """Descriptors from a file."""

    def test_descriptor_file_declares_methods(self):
        server = Server(reflects=False)
        self.addCleanup(server.stop)
        mesh = Mesh()
        path = mesh.folder / "shop.binpb"
        describe(path, POOL, "shop.proto")
        mesh.configure(line(server, f'access = "public", descriptors = "{path}"'))
        with mesh:
            shop = Channel(mesh.address["gateway"])
            self.addCleanup(shop.channel.close)
            self.assertEqual(shop.Echo(Note(text="by file"), timeout=10).text, "by file")
            with self.assertRaises(grpc.RpcError) as refused:
                shop.channel.unary_unary(f"{SHOP}/Nothing")(b"", timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
            # An invalid file is refused with its name, and the previous one stays in force.
            broken = pathlib.Path(mesh.folder / "broken.binpb")
            broken.write_bytes(b"no descriptors")
            mesh.configure(line(server, f'access = "public", descriptors = "{broken}"'))
            eventually(lambda: self.assertIn("broken.binpb", mesh.output()))
            shop.Echo(Note(), timeout=10)


class Secure(unittest.TestCase):
    """An upstream over TLS. The gateway verifies its certificate, and the upstream may request one from the gateway."""

    def shop(self, asks=False):
        pem = [(TLS / name).read_bytes() for name in ("server.key", "server.crt", "authority.crt")]
        credentials = grpc.ssl_server_credentials([tuple(pem[:2])], pem[2] if asks else None, asks)
        server = Server(credentials=credentials)
        self.addCleanup(server.stop)
        return server

    def through(self, mesh):
        shop = Channel(mesh.address["gateway"])
        self.addCleanup(shop.channel.close)
        return shop

    def test_trusted_upstream_is_called_and_described_over_tls(self):
        server = self.shop()
        settings = f'access = "public", descriptors = "reflection", ca = "{TLS}/authority.crt"'
        with Mesh(line(server, settings)) as mesh:
            shop = self.through(mesh)
            eventually(lambda: self.assertEqual(shop.Echo(Note(text="sealed"), timeout=5).text, "sealed"))
            self.assertEqual(len(list(shop.Repeat(Note(text="r", count=50), timeout=10))), 50)

    def test_upstream_with_untrusted_certificate_gets_no_call(self):
        server = self.shop()
        for ca in (f', ca = "{TLS}/one.crt"', ""):
            with Mesh(line(server, f'access = "public"{ca}')) as mesh:
                self.assert_unavailable(self.through(mesh))
        self.assertEqual(server.shop.calls, 0)

    def test_client_certificate_is_presented_on_request(self):
        server = self.shop(asks=True)
        trust = f'access = "public", ca = "{TLS}/authority.crt"'
        with Mesh(line(server, trust)) as mesh:
            shop = self.through(mesh)
            self.assert_unavailable(shop)
            # The next configuration presents one, on new connections.
            mesh.configure(line(server, f'{trust}, certificate = "{TLS}/client.crt", key = "{TLS}/client.key"'))
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def test_renewed_client_certificate_applies_without_reload(self):
        server = self.shop(asks=True)
        with Mesh() as mesh:
            # First a certificate that the upstream does not trust, then a trusted one under the same name.
            shown = self.show(mesh, "one")
            refresh = '[gateway]\ndescriptors_refresh = "200ms"\n'
            mesh.configure(refresh + line(server, f'access = "public", ca = "{TLS}/authority.crt", {shown}'))
            shop = self.through(mesh)
            eventually(lambda: self.assert_unavailable(shop))
            self.show(mesh, "client")
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def test_bad_file_of_one_upstream_does_not_block_other_renewals(self):
        server = self.shop(asks=True)
        with Mesh() as mesh:
            ca = mesh.folder / "ca"
            ca.write_bytes((TLS / "authority.crt").read_bytes())
            shown = self.show(mesh, "one")
            mesh.configure(
                '[gateway]\ndescriptors_refresh = "200ms"\n'
                + line(server, f'ca = "{ca}"', prefix="acme.other")
                + line(server, f'access = "public", ca = "{TLS}/authority.crt", {shown}', section="")
            )
            shop = self.through(mesh)
            eventually(lambda: self.assert_unavailable(shop))
            ca.write_bytes(b"no certificate")
            eventually(lambda: self.assertIn('acme.other\\".ca', mesh.output()))
            self.show(mesh, "client")
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def show(self, mesh, name):
        """Stores a certificate for the gateway, and returns the settings that name it."""
        for file, ending in (("key", "key"), ("certificate", "crt")):
            (mesh.folder / file).write_bytes((TLS / f"{name}.{ending}").read_bytes())
            # The gateway refuses a key that other users may read.
            (mesh.folder / file).chmod(0o600)
        return f'certificate = "{mesh.folder}/certificate", key = "{mesh.folder}/key"'

    def assert_unavailable(self, shop):
        with self.assertRaises(grpc.RpcError) as refused:
            shop.Echo(Note(), timeout=10)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_error_names_the_invalid_tls_file(self):
        server = self.shop()
        for settings, words in (
            (f'ca = "{TLS}/none.crt"', '"acme.shop.v1".ca: '),
            (f'ca = "{TLS}/README.md"', "contains no certificate"),
            (f'certificate = "{TLS}/client.crt"', "is empty; name a PEM file"),
            (f'certificate = "{TLS}/client.crt", key = "{TLS}/server.key"', '"acme.shop.v1".key: '),
        ):
            with self.assertRaises(RuntimeError) as refused, Mesh(line(server, f'access = "public", {settings}')):
                pass
            self.assertIn(words, str(refused.exception))


if __name__ == "__main__":
    unittest.main()
