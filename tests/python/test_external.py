"""External upstreams: calls of a Python service behind the gateway, registered by one line."""

import base64
import gzip
import json
import time
import unittest
import urllib.request

import grpc
from google.protobuf import wrappers_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

import web
from contracts import Client, reason
from mesh import Mesh
from shop import PACKAGE, Note, Server
from tap import Tap
from upstream import SHOP, Channel, UpstreamCase, line


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


if __name__ == "__main__":
    unittest.main()
