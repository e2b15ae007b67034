"""GraphQL over WebSockets (graphql-transport-ws), with the library `websockets`."""

import json
import unittest

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from shop import PACKAGE
from upstream import UpstreamCase

SUBPROTOCOL = "graphql-transport-ws"
ME = "{ listUsers { nodes { handle } } }"


class SocketCase(UpstreamCase):
    settings = 'access = "public", descriptors = "reflection", graphql = true'

    def open(self, **options):
        return connect(f"ws://{self.gateway}/graphql", **{"subprotocols": [SUBPROTOCOL], "open_timeout": 10, **options})

    def init(self, socket, payload=None):
        self.say(socket, type="connection_init", payload=payload)
        self.assertEqual(self.hear(socket), {"type": "connection_ack"})

    def say(self, socket, **message):
        socket.send(json.dumps(message))

    def hear(self, socket):
        return json.loads(socket.recv(timeout=20))

    def rest(self, socket, *kinds):
        """The payloads of an operation to its end, which is one of `kinds`."""
        received = []
        while True:
            message = self.hear(socket)
            received.append(message.get("payload"))
            if message["type"] in kinds:
                return received


class GraphqlSockets(SocketCase):
    more = "graphql.enabled = true\n[limits]\nmessage_bytes = 1048576"

    def test_each_kind_of_operation_has_its_results(self):
        token = f"Bearer {self.sign_up('ada').access_token}"
        for payload in ({"Authorization": token}, {"headers": {"authorization": token}}):
            with self.open() as socket:
                self.init(socket, payload)
                self.say(socket, type="subscribe", id="q", payload={"query": ME, "variables": None, "operationName": None})
                data, _ = self.rest(socket, "complete")
                self.assertEqual(data["data"]["listUsers"]["nodes"][0]["handle"], "ada")
        with self.open(additional_headers={"authorization": token}) as socket:
            self.init(socket)
            query = 'subscription ($text: String!) { acmeShopV1Repeat(text: $text, count: 3) { count } }'
            self.say(socket, type="subscribe", id="s", payload={"query": query, "variables": {"text": "r"}})
            counts = [one["data"]["acmeShopV1Repeat"]["count"] for one in self.rest(socket, "complete")[:-1]]
            self.assertEqual(counts, [0, 1, 2])
            self.say(socket, type="subscribe", id="e", payload={"query": "{ nothing }"})
            (errors,) = self.rest(socket, "error")
            self.assertEqual(errors[0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED")

    def test_result_of_several_frames_arrives_whole(self):
        with self.open(max_size=None) as socket:
            self.init(socket)
            part = "types { name description fields { name description } inputFields { name description } }"
            types = f"{{ __schema {{ a: {part} b: {part} }} }}"
            self.say(socket, type="subscribe", id="1", payload={"query": types})
            data, _ = self.rest(socket, "complete")
            self.assertGreater(len(json.dumps(data)), 64 * 1024)

    def test_completed_subscription_is_cancelled(self):
        query = 'subscription { acmeShopV1Repeat(text: "slowly", count: 10000) { count } }'
        for leave in (lambda socket: self.say(socket, type="complete", id="1"), lambda socket: socket.close()):
            self.server.shop.cancelled.clear()
            with self.open() as socket:
                self.init(socket)
                self.say(socket, type="subscribe", id="1", payload={"query": query})
                self.assertEqual(self.hear(socket)["type"], "next")
                self.assertFalse(self.server.shop.cancelled.is_set())
                leave(socket)
                self.assertTrue(self.server.shop.cancelled.wait(10))

    def test_pings_get_pongs_and_are_bounded(self):
        with self.open() as socket:
            # Also before the connection is initialized.
            self.say(socket, type="ping")
            self.assertEqual(self.hear(socket), {"type": "pong"})
            self.assertTrue(socket.ping().wait(10))
            with self.assertRaises(ConnectionClosed) as closed:
                for _ in range(200):
                    self.say(socket, type="ping")
                    self.assertEqual(self.hear(socket), {"type": "pong"})
            self.assertEqual(closed.exception.rcvd.code, 1008)

    def test_malformed_frames_close_the_socket(self):
        for frame, code in ((b"{}", 4400), ("no JSON", 4400), ("[1]", 4400), ("a" * (2 << 20), 1009)):
            with self.subTest(frame=frame[:10]), self.open() as socket:
                with self.assertRaises(ConnectionClosed) as closed:
                    socket.send(frame)
                    socket.recv(timeout=20)
                self.assertEqual(closed.exception.rcvd.code, code)
                self.assertLessEqual(len(closed.exception.rcvd.reason.encode()), 123)

    def test_handshake_checks_origin_and_subprotocol(self):
        for origin in ("https://elsewhere.example", "null"):
            with self.subTest(origin=origin), self.assertRaises(InvalidStatus) as refused:
                self.open(origin=origin)
            self.assertEqual(refused.exception.response.status_code, 403)
        with self.open(origin=f"http://{self.gateway}") as socket:
            self.assertEqual(socket.subprotocol, SUBPROTOCOL)
        for subprotocols in (None, ["graphql-ws"], ["trellis.json.v1"]):
            with self.subTest(subprotocols=subprotocols), self.open(subprotocols=subprotocols) as socket:
                self.assertIsNone(socket.subprotocol)
                with self.assertRaises(ConnectionClosed) as closed:
                    socket.recv(timeout=20)
                self.assertEqual(closed.exception.rcvd.code, 4406)

    def test_cookies_of_the_handshake_are_ignored(self):
        cookie = "trellis_session_a1=secret"
        with self.open(additional_headers={"cookie": cookie}) as socket:
            self.init(socket)
            self.say(socket, type="subscribe", id="1", payload={"query": "mutation { refreshToken { __typename } }"})
            data, _ = self.rest(socket, "complete")
            self.assertEqual(data["errors"][0]["extensions"]["code"], "UNAUTHENTICATED")


class PoliciesOfSockets(SocketCase):
    """Rules of the configuration apply to each call of an operation."""

    more = f"""graphql.enabled = true
[gateway.in_flight.few]
methods = ["{PACKAGE}.Shop/Repeat"]
calls = 1
[gateway.maintenance.show]
methods = ["{PACKAGE}.Shop/Show"]
message = "back at noon"
"""

    def extensions(self, socket, operation, query):
        """The extensions of the error in the next result of an operation."""
        self.say(socket, type="subscribe", id=operation, payload={"query": query})
        while True:
            message = self.hear(socket)
            self.assertIn(message["type"], ("next", "complete"), message)
            if message["id"] == operation and message["type"] == "next":
                return message["payload"].get("errors", [{"extensions": {}}])[0]["extensions"]

    def test_calls_in_flight_and_maintenance_apply(self):
        repeat = 'subscription { acmeShopV1Repeat(text: "slowly", count: 10000) { count } }'
        with self.open() as socket:
            self.init(socket)
            self.assertEqual(self.extensions(socket, "1", repeat), {})
            self.assertEqual(self.extensions(socket, "2", repeat)["reason"], "CALLS_IN_FLIGHT_LIMITED")
            self.say(socket, type="complete", id="1")
            self.assertEqual(self.extensions(socket, "3", repeat), {})
            show = self.extensions(socket, "4", "{ acmeShopV1Show { text } }")
            self.assertEqual((show["code"], show["reason"]), ("UNAVAILABLE", "MAINTENANCE"))


if __name__ == "__main__":
    unittest.main()
