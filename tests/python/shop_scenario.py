"""The scenario of the clients with the Python service of `shop`: each kind of call, metadata, errors and deadlines. Its
values and expected results are those of the browsers' clients (web/e2e/clients/upstream.json).
"""

import json
import re
import threading

from google.protobuf import message_factory, wrappers_pb2
from google.rpc import error_details_pb2

from clients import refused
from contracts import REPOSITORY
from shop import PACKAGE

SCRIPT = json.loads((REPOSITORY / "web/e2e/clients/upstream.json").read_text(encoding="utf-8"))
#: What the clients observe that can send streams.
STREAMS = {"collected": "one two three", "chat": ["one", "two", "three"]}
LATE_S = 0.3
PATIENCE_S = 20


class Scenario:
    """`pool` has the service."""

    def __init__(self, client, pool):
        self.client = client
        self.service = pool.FindServiceByName(f"{PACKAGE}.Shop")
        self.kind = message_factory.GetMessageClass(self.service.methods_by_name["Echo"].input_type)
        #: The response of the method without side effects.
        self.shown = None

    def call(self, method, *notes, headers=(), timeout=None):
        descriptor = self.service.methods_by_name[method]
        return self.client.call(descriptor, [self.kind(**note) for note in notes], headers, timeout)

    def observe(self):
        text = {"text": SCRIPT["text"]}
        return {
            "echo": self.echo(text),
            "received": self.received(),
            "stream": [note.count for note in self.call("Repeat", text | {"count": 3})],
            "failure": self.failure(text),
            "failureInStream": self.failure_in_stream(text),
            # The service would take 50 s.
            "late": refused(lambda: list(self.call("Repeat", {"text": "slowly", "count": 1000}, timeout=LATE_S))).code,
        }

    def observe_streams(self):
        """Calls with streams of requests."""
        notes = [{"text": text} for text in STREAMS["chat"]]
        return {
            "collected": self.call("Collect", *notes).message().text,
            "chat": [note.text for note in self.call("Chat", *notes)],
        }

    def converse(self):
        """Sends each note of a stream after the response to the previous one."""
        received = []
        arrived = threading.Semaphore()

        def notes():
            for text in STREAMS["chat"]:
                assert arrived.acquire(timeout=PATIENCE_S), "no response to the previous note"
                yield self.kind(text=text)

        for note in self.client.call(self.service.methods_by_name["Chat"], notes()):
            received.append(note.text)
            arrived.release()
        return received

    def echo(self, note):
        values = {"x-initial": SCRIPT["metadata"], "x-trailing": SCRIPT["metadata"]}
        binary = {"x-initial-bin": SCRIPT["binary"], "x-trailing-bin": SCRIPT["binary"]}
        response = self.call("Echo", note, headers=[*values.items(), *binary.items()])
        text = response.message().text
        return {
            "text": text,
            "headers": pick(response.headers, "x-initial"),
            "trailers": pick(response.trailers, "x-trailing"),
        }

    def received(self):
        """The metadata that the service received."""
        self.shown = self.call("Show", {}, headers=[("x-sent", SCRIPT["metadata"])])
        return re.search("^x-sent: (.*)$", self.shown.message().text, re.MULTILINE)[1]

    def failure(self, text):
        headers = [("x-trailing", SCRIPT["metadata"]), ("x-trailing-bin", SCRIPT["binary"])]
        error = refused(lambda: list(self.call("Refuse", text, headers=headers)))
        return {**brief(error), "metadata": pick(error.metadata, "x-trailing")}

    def failure_in_stream(self, text):
        received = []

        def read():
            for note in self.call("Refuse", text | {"count": 2}):
                received.append(note)

        failure = brief(refused(read))
        return {"messages": len(received), **failure}

    def cancel(self):
        """Cancels a stream of 50 s after its first message."""
        stream = self.call("Repeat", {"text": "slowly", "count": 1000})
        next(iter(stream))
        stream.cancel()


def pick(metadata, name):
    """The values of `name` and `name-bin`."""
    (text,), (binary,) = metadata[name], metadata[f"{name}-bin"]
    return [text, binary]


def brief(error):
    return {
        "code": error.code,
        "message": error.message,
        "detail": error.detail(wrappers_pb2.StringValue).value,
        "reason": error.detail(error_details_pb2.ErrorInfo).reason,
    }
