"""Calls over a WebSocket, with the library `websockets`, to an external upstream."""

import json
import unittest
import urllib.request

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from shop import PACKAGE
from upstream import UpstreamCase

SUBPROTOCOL = "trellis.json.v1"
JWKS = "trellis.auth.v1.AuthService/GetJwks"


def text(value):
    return json.dumps(value)


class WebSocketCalls(UpstreamCase):
    """JSON in text frames, one call for each socket."""

    more = f"""[limits]
message_bytes = 1048576
[gateway.rate_limits.overrides.few]
methods = ["{JWKS}"]
limits = [{{ requests = 1, period = "1h" }}]"""

    def open(self, method, **options):
        return self.open_path(f"{PACKAGE}.Shop/{method}", **options)

    def open_path(self, path, **options):
        return connect(f"ws://{self.gateway}/{path}", **{"subprotocols": [SUBPROTOCOL], "open_timeout": 10, **options})

    def call(self, method, *frames):
        """Sends the frames, and returns those of the response with the close code."""
        with self.open(method) as socket:
            for frame in frames:
                socket.send(frame if isinstance(frame, (bytes, str)) else text(frame))
            return self.rest(socket)

    def rest(self, socket):
        """The other frames, without the metadata, which states the rate limit; and the close code."""
        received = []
        try:
            while True:
                frame = json.loads(socket.recv(timeout=20))
                if "metadata" in frame:
                    self.metadata = frame["metadata"]
                else:
                    received.append(frame)
        except ConnectionClosed as closed:
            return received, closed.rcvd and closed.rcvd.code

    def test_all_kinds_of_methods_are_called(self):
        notes = [{"message": {"text": word}} for word in ("one", "two", "three")]
        ok = {"status": {"code": 0, "message": ""}}
        self.assertEqual(self.call("Echo", notes[0]), ([{"result": {"text": "one"}}, ok], 1000))
        repeated = self.call("Repeat", {"message": {"text": "r", "count": 2}}, {"end": True})
        self.assertEqual(repeated, ([{"result": {"text": "r"}}, {"result": {"text": "r", "count": 1}}, ok], 1000))
        self.assertEqual(self.call("Collect", *notes, {"end": True}), ([{"result": {"text": "one two three"}}, ok], 1000))
        results = [{"result": note["message"]} for note in notes]
        self.assertEqual(self.call("Chat", *notes, {"end": True}), ([*results, ok], 1000))

    def test_messages_pass_in_both_directions_at_once(self):
        with self.open("Chat") as socket:
            for count in range(1, 6):
                socket.send(text({"message": {"count": count}}))
                received = json.loads(socket.recv(timeout=10))
                if "metadata" in received:
                    received = json.loads(socket.recv(timeout=10))
                self.assertEqual(received, {"result": {"count": count}})
            socket.send(text({"end": True}))
            self.assertEqual(json.loads(socket.recv(timeout=10))["status"]["code"], 0)

    def test_metadata_passes_in_both_directions(self):
        sent = {"x-initial-a": "1", "x-trailing-b": ["2", "3"]}
        received, _ = self.call("Echo", {"metadata": sent}, {"message": {}})
        self.assertEqual(self.metadata["x-initial-a"], ["1"])
        self.assertEqual(received[-1]["trailers"], {"x-trailing-b": ["2", "3"]})

    def call_path(self, path, *frames):
        with self.open_path(path) as socket:
            for frame in frames:
                socket.send(text(frame))
            return self.rest(socket)[0]

    def test_access_is_that_of_the_contract(self):
        method = "trellis.users.v1.UsersService/ListUsers"
        metadata = {"authorization": f"Bearer {self.sign_up('ada').access_token}"}
        message = {"message": {"pageSize": 1}}
        received = self.call_path(method, {"metadata": metadata}, message)
        self.assertIn("ratelimit", self.metadata)
        self.assertEqual(received[0]["result"]["users"][0]["handle"], "ada")
        self.assertEqual(self.call_path(method, message)[-1]["status"]["code"], 16)

    def test_rate_limit_is_that_of_other_calls(self):
        with urllib.request.urlopen(f"http://{self.gateway}/v1/auth/jwks") as response:
            self.assertEqual(response.status, 200)
        status = self.call_path(JWKS, {"message": {}})[-1]["status"]
        self.assertEqual(status["code"], 8)
        self.assertIn("RATE_LIMITED", [detail.get("reason") for detail in status["details"]])

    def test_status_has_its_details(self):
        received, code = self.call("Refuse", {"message": {"text": "a", "count": 1}})
        status = received[-1]["status"]
        self.assertEqual((received[0], status["code"], status["message"]), ({"result": {"text": "a", "count": 1}}, 10, "nicht heute: 100 % Ärger\n"))
        self.assertEqual(status["details"][0]["@type"], "type.googleapis.com/google.protobuf.StringValue")
        self.assertEqual(code, 1000)

    def test_close_of_the_client_gets_a_reply(self):
        with self.open("Chat") as before:
            before.close()
            self.assertEqual(before.close_code, 1000)
        with self.open("Chat") as during:
            during.send(text({"message": {"text": "a"}}))
            while "result" not in json.loads(during.recv(timeout=10)):
                pass
            during.close()
            self.assertEqual(during.close_code, 1000)

    def test_deadline_ends_the_call(self):
        received, _ = self.call("Chat", {"metadata": {"grpc-timeout": "200m"}})
        self.assertEqual(received[-1]["status"]["code"], 4)

    def test_frames_that_are_no_part_of_a_call_are_refused(self):
        note = {"message": {"text": "a"}}
        for method, frames, close in (
            ("Chat", ["no JSON"], 1007),
            ("Chat", [{"message": {}, "end": True}], 1007),
            ("Chat", [{"end": False}], 1007),
            ("Chat", [{"massage": {}}], 1007),
            ("Chat", [[1]], 1007),
            ("Chat", [note, {"metadata": {}}], 1007),
            ("Chat", [{"end": True}, note], 1007),
            ("Chat", [{"metadata": {"origin": "https://a"}}], 1007),
            ("Chat", [{"metadata": {"a b": "c"}}], 1007),
            ("Chat", [{"metadata": {"a": "b\r\nc: d"}}], 1007),
            ("Chat", [b"\0\0"], 1003),
        ):
            with self.subTest(frames=frames):
                received, code = self.call(method, *frames)
                outcomes = {(3, close)}
                if {"end": True} in frames:
                    # The end of an empty request may be faster than a late message.
                    outcomes.add((0, 1000))
                self.assertIn((received[-1]["status"]["code"], code), outcomes)

    def test_message_that_is_invalid_or_too_large_fails_the_call(self):
        received, _ = self.call("Chat", {"message": {"txt": "a"}})
        self.assertEqual(received[-1]["status"]["code"], 3)
        received, code = self.call("Chat", {"message": {"text": "a" * (1 << 20)}})
        self.assertEqual((received[-1]["status"]["code"], code), (8, 1000))
        # Beyond the limit on frames the text is not even read.
        received, code = self.call("Chat", {"message": {"text": "a" * (2 << 20)}})
        self.assertEqual((received[-1]["status"]["code"], code), (8, 1009))

    def test_handshake_checks_origin_and_subprotocol(self):
        for options, status in (
            ({"origin": "https://elsewhere.example"}, 403),
            ({"origin": "null"}, 403),
            ({"subprotocols": ["other"]}, 400),
            ({"subprotocols": None}, 400),
        ):
            with self.subTest(options=options), self.assertRaises(InvalidStatus) as refused:
                self.open("Chat", **options)
            self.assertEqual(refused.exception.response.status_code, status)
            # It counts as a request that is no call.
            self.assertIn("ratelimit", refused.exception.response.headers)
        with self.assertRaises(InvalidStatus):
            self.open("Unknown")
        with self.assertRaises(InvalidStatus) as refused:
            self.open_path("shop/v1/notes/a")
        self.assertEqual(refused.exception.response.status_code, 400)
        self.assertIn(f"/{PACKAGE}.Shop/Repeat", refused.exception.response.body.decode())
        with self.open("Echo", origin=f"http://{self.gateway}") as socket:
            self.assertEqual(socket.subprotocol, SUBPROTOCOL)


if __name__ == "__main__":
    unittest.main()
