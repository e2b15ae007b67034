"""Clients that disconnect, and idle streams, do not cut the streams of others on the gateway's connection to an
external upstream. The upstreams are servers of the official libraries for Go, Node and Python."""

import concurrent.futures
import os
import shlex
import struct
import subprocess
import threading
import time
import unittest

import grpc

from attacks import DATA, END_HEADERS, END_STREAM, HEADERS, Connection, _text, frame
from mesh import Mesh
from upstream import eventually

SHOP = "/acme.v1.Shop"
STREAMS = 20
CLIENTS = 30
CALLS = 100
#: The pause before clients disconnect, in which the upstream accepts their calls.
PAUSE = 0.05
#: How long an upstream may be busy with cancelled calls.
PATIENCE = 30
MESSAGE = struct.pack(">BI", 0, 4) + b"note"


def head(method):
    """The headers of a gRPC call in HPACK, without the dynamic table."""
    return (
        b"\x83\x86"
        + b"\x04" + _text(f"{SHOP}/{method}")
        + b"\x01" + _text("localhost")
        + b"\x0f\x10" + _text("application/grpc")
        + b"\x00" + _text("te") + _text("trailers")
    )


def tick(request, context):
    while context.is_active():
        yield b"tick"
        time.sleep(0.05)


def hang(request, context):
    ended = threading.Event()
    # False: the call has ended already, and nothing would set the event.
    if context.add_callback(ended.set):
        ended.wait()
    return b""


def collect(requests, context):
    for _ in requests:
        pass
    return b"tick"


class PythonUpstream:
    """A grpcio server, in which each call occupies a thread."""

    def __init__(self):
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64))
        handlers = {
            "Tick": grpc.unary_stream_rpc_method_handler(tick),
            "Hang": grpc.unary_unary_rpc_method_handler(hang),
            "Collect": grpc.stream_unary_rpc_method_handler(collect),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SHOP[1:], handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()


class Program:
    """A server that prints its port."""

    def __init__(self, variable):
        command = os.environ.get(variable)
        if not command:
            raise RuntimeError(f"{variable} is not set; cargo xtask test builds the server and sets it")
        self.process = subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def disconnect(gateway, method, request):
    """Opens calls on one connection, sends `request` on each, and closes the connection."""
    connection = Connection(*gateway.rsplit(":", 1))
    streams = [connection.next_stream() for _ in range(CALLS)]
    heads = ((stream, frame(HEADERS, END_HEADERS, stream, head(method))) for stream in streams)
    connection.send(b"".join(opened + request(stream) for stream, opened in heads))
    time.sleep(PAUSE)
    connection.socket.close()


def whole(stream):
    return frame(DATA, END_STREAM, stream, MESSAGE)


def begun(stream):
    return frame(DATA, 0, stream, MESSAGE)


def cut(stream):
    return frame(DATA, 0, stream, MESSAGE[:6])


class Stream:
    """A long stream of another client, read in a thread."""

    def __init__(self, channel):
        self.call = channel.unary_stream(f"{SHOP}/Tick")(b"")
        self.count = 0
        self.error = None
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        try:
            for _ in self.call:
                self.count += 1
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                self.error = f"{error.code()}: {error.details()}"

    def end(self):
        self.call.cancel()
        self.thread.join()


class Case:
    """An upstream behind the gateway, and events that must not cut its streams."""

    @classmethod
    def setUpClass(cls):
        cls.upstream = cls.start()
        cls.addClassCleanup(cls.upstream.stop)
        configuration = (
            '[limits]\nkeepalive = "500ms"\n[gateway]\ndefault_rate_requests = 1000000\n[gateway.external]\n'
            f'"acme.v1" = {{ to = ["http://127.0.0.1:{cls.upstream.port}"], access = "public" }}\n'
        )
        cls.mesh = cls.enterClassContext(Mesh(configuration))
        cls.gateway = cls.mesh.address["gateway"]

    def setUp(self):
        self.channel = grpc.insecure_channel(self.gateway)
        self.addCleanup(self.channel.close)

    def assert_streams_go_on(self, method, request):
        """Clients open calls of `method`, send `request` on each and disconnect; the streams continue."""
        streams = [Stream(self.channel) for _ in range(STREAMS)]
        self.addCleanup(lambda: [stream.end() for stream in streams])
        eventually(lambda: self.assertTrue(all(stream.count for stream in streams)))
        for _ in range(CLIENTS):
            disconnect(self.gateway, method, request)
        collect = self.channel.stream_unary(f"{SHOP}/Collect")
        self.assertEqual(collect(iter([b"note"]), timeout=PATIENCE), b"tick")
        before = [stream.count for stream in streams]

        def all_go_on():
            self.assertEqual([stream.error for stream in streams if stream.error], [])
            self.assertTrue(all(stream.count > count for stream, count in zip(streams, before)))

        eventually(all_go_on)

    def test_clients_disconnect_before_the_response(self):
        self.assert_streams_go_on("Hang", whole)

    def test_clients_disconnect_during_the_response(self):
        self.assert_streams_go_on("Tick", whole)

    def test_clients_disconnect_between_messages_of_a_request(self):
        self.assert_streams_go_on("Collect", begun)

    def test_clients_disconnect_within_a_message_of_a_request(self):
        self.assert_streams_go_on("Collect", cut)

    def test_silence_is_not_too_many_pings(self):
        call = self.channel.unary_unary(f"{SHOP}/Hang").future(b"")
        # Servers treat three PINGs without data between them as an attack.
        with self.assertRaises(grpc.FutureTimeoutError):
            call.exception(timeout=4)
        call.cancel()


class Python(Case, unittest.TestCase):
    start = PythonUpstream


class Go(Case, unittest.TestCase):
    @staticmethod
    def start():
        return Program("TRELLIS_TEST_GO_UPSTREAM")


class Node(Case, unittest.TestCase):
    @staticmethod
    def start():
        return Program("TRELLIS_TEST_NODE_UPSTREAM")
