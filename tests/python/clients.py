"""gRPC, Connect and HTTP clients of other makes, all with the interface of `Grpcio`.

`client.call(method, requests, headers, timeout)` takes a method's descriptor and an iterable of messages, and returns a
`Response`. `timeout` is the client's own deadline in seconds. `client.late` is the header of a deadline of 1 ms.
`client.sends_streams` tells whether a request may be a stream, and `client.uses_get` whether methods without side effects
are called with GET.
"""

import base64
import functools
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import urllib.parse

import grpc
from connectrpc.client import ConnectClientSync, ResponseMetadata
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf import any_pb2, descriptor_pb2, json_format, message_factory
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

from contracts import describe, extension

GRPC_LATE = ("grpc-timeout", "1m")
CONNECT_LATE = ("connect-timeout-ms", "1")
#: The HTTP status of each code that the tests meet.
HTTP_STATUS = {
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "DEADLINE_EXCEEDED": 504,
    "INVALID_ARGUMENT": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
}


class Refused(Exception):
    """A failed call. `details` are packed messages."""

    def __init__(self, code, message, details):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = list(details)

    def detail(self, kind):
        """The detail of this type, or an empty message."""
        found = kind()
        any(packed.Unpack(found) for packed in self.details)
        return found

    def brief(self):
        """The result without the message text, which may change."""
        violations = self.detail(error_details_pb2.BadRequest).field_violations
        reason = self.detail(error_details_pb2.ErrorInfo).reason
        return {"code": self.code, "reason": reason, "fields": sorted(violation.field for violation in violations)}


def refused(call):
    try:
        call()
    except Refused as error:
        return error
    raise AssertionError("the call was not refused")


class Response:
    """The messages of a response, as they arrive. `headers` and `trailers` are complete at its end."""

    def __init__(self, read):
        self.headers = {}
        self.trailers = {}
        self._messages = read(self)

    def __iter__(self):
        return self._messages

    def message(self):
        """The only message."""
        (message,) = self._messages
        return message

    def cancel(self):
        self._messages.close()


def is_safe(method):
    return method.GetOptions().idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS


def kind_of(method):
    return f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"


def input_of(method, requests):
    """What a client takes: an iterator of messages, or the only one."""
    if method.client_streaming:
        return iter(requests)
    (request,) = requests
    return request


def metadata(pairs):
    """Lists of values by name."""
    found = {}
    for name, value in pairs or ():
        found.setdefault(name.lower(), []).append(value)
    return found


class Grpcio:
    """grpcio: gRPC."""

    late = GRPC_LATE
    sends_streams = True
    uses_get = False

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)

    def close(self):
        self.channel.close()

    def call(self, method, requests, headers=(), timeout=None):
        rpc = getattr(self.channel, kind_of(method))(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        options = {"metadata": list(headers), "timeout": timeout}
        return Response(functools.partial(self._read, rpc, method, input_of(method, requests), options))

    def _read(self, rpc, method, request, options, response):
        try:
            if method.server_streaming:
                call = rpc(request, **options)
                try:
                    yield from call
                finally:
                    call.cancel()
            else:
                message, call = rpc.with_call(request, **options)
                yield message
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            raise Refused(error.code().name, error.details(), status.details if status else ()) from None
        response.headers = metadata(call.initial_metadata())
        response.trailers = metadata(call.trailing_metadata())


class ConnectPython:
    """connect-python: Connect, gRPC-Web and gRPC."""

    sends_streams = True

    def __init__(self, address, protocol, *, is_json=False, uses_get=False, http=HTTPVersion.HTTP1):
        self.uses_get = uses_get
        self.late = CONNECT_LATE if protocol is ProtocolType.CONNECT else GRPC_LATE
        self.transport = SyncHTTPTransport(http_version=http)
        self.client = ConnectClientSync(
            f"http://{address}",
            protocol=protocol,
            codec=google_protobuf_json_codec() if is_json else google_protobuf_binary_codec(),
            http_client=SyncClient(self.transport),
        )

    def close(self):
        self.client.close()
        self.transport.close()

    def call(self, method, requests, headers=(), timeout=None):
        described = MethodInfo(
            name=method.name,
            service_name=method.containing_service.full_name,
            input=message_factory.GetMessageClass(method.input_type),
            output=message_factory.GetMessageClass(method.output_type),
            idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if is_safe(method) else IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY,
        )
        options = {
            "request": input_of(method, requests),
            "method": described,
            "headers": dict(headers),
            "timeout_ms": timeout and int(timeout * 1000),
        }
        return Response(functools.partial(self._read, method, options))

    def _read(self, method, options, response):
        with ResponseMetadata() as seen:
            try:
                match kind_of(method):
                    case "unary_unary":
                        yield self.client.execute_unary(use_get=self.uses_get and is_safe(method), **options)
                    case "stream_unary":
                        yield self.client.execute_client_stream(**options)
                    case "unary_stream":
                        yield from self.client.execute_server_stream(**options)
                    case "stream_stream":
                        yield from self.client.execute_bidi_stream(**options)
            except ConnectError as error:
                packed = [
                    any_pb2.Any(type_url=f"type.googleapis.com/{one.type_name}", value=one.message_bytes)
                    for one in error.details
                ]
                raise Refused(code_name(error.code.value), error.message, packed) from None
        response.headers = metadata(seen.headers.allitems())
        response.trailers = metadata(seen.trailers.allitems())


def code_name(connect):
    """Connect spells codes in lower case, and one of them differently."""
    return {"CANCELED": "CANCELLED"}.get(connect.upper(), connect.upper())


class Program:
    """A client that is a program and runs once for each call. Its end cancels the call."""

    def __init__(self, address):
        self.address = f"http://{address}"
        self.folder = tempfile.TemporaryDirectory(prefix="trellis-client-")

    def close(self):
        self.folder.cleanup()

    def start(self, command, inputs):
        """Starts the program, and writes its inputs as they come."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._write, args=(process.stdin, inputs), daemon=True).start()
        return process

    @staticmethod
    def _write(pipe, inputs):
        # The program ends before it has read everything when the call has ended.
        try:
            with pipe:
                for part in inputs:
                    pipe.write(part)
                    pipe.flush()
        except BrokenPipeError:
            pass

    def read(self, command, inputs, parse, response):
        """Yields the messages that `parse` finds in the program's output."""
        process = self.start(command, inputs)
        try:
            yield from parse(process.stdout, response)
            # The output is complete.
            if process.wait(20) != 0:
                raise AssertionError(f"{command[0]} ended with {process.returncode}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            process.stdout.close()


class ConnectGo(Program):
    """connect-go over HTTP/2: Connect, gRPC-Web and gRPC, by the options of tests/clients/go."""

    sends_streams = True

    def __init__(self, address, protocol, *options):
        super().__init__(address)
        self.uses_get = "-get" in options
        self.late = CONNECT_LATE if protocol == "connect" else GRPC_LATE
        command = os.environ.get("TRELLIS_TEST_GO_CLIENT")
        if not command:
            raise RuntimeError("TRELLIS_TEST_GO_CLIENT is not set; cargo xtask test builds the client and sets it")
        self.command = [*shlex.split(command), "-protocol", protocol, *options]

    def call(self, method, requests, headers=(), timeout=None):
        command = [*self.command, "-descriptors", self._descriptors(method.containing_service.file)]
        command += [part for name, value in headers for part in ("-header", f"{name}: {value}")]
        command += ["-timeout", f"{timeout}s"] if timeout else []
        command += [self.address, f"{method.containing_service.full_name}/{method.name}"]
        lines = (base64.b64encode(request.SerializeToString()) + b"\n" for request in requests)
        return Response(functools.partial(self.read, command, lines, functools.partial(self._parse, method)))

    def _descriptors(self, file):
        path = pathlib.Path(self.folder.name, file.name.replace("/", "."))
        if not path.exists():
            describe(path, file.pool, file.name)
        return str(path)

    @staticmethod
    def _parse(method, output, response):
        kind = message_factory.GetMessageClass(method.output_type)
        for line in map(json.loads, output):
            if "end" not in line:
                yield kind.FromString(base64.b64decode(line.get("message", "")))
                continue
            end = line["end"]
            if end["code"]:
                packed = [
                    any_pb2.Any(type_url=f"type.googleapis.com/{one['type']}", value=base64.b64decode(one["value"]))
                    for one in end["details"] or ()
                ]
                raise Refused(code_name(end["code"]), end["message"], packed)
            for kept, pairs in ((response.headers, end["headers"]), (response.trailers, end["trailers"])):
                kept.update({name.lower(): values for name, values in (pairs or {}).items()})


class Curl(Program):
    """curl: JSON over HTTP/1.1 by the paths of `google.api.http`. Streams are lines, or events if `events`."""

    late = GRPC_LATE
    sends_streams = False
    # A method's path has one HTTP method.
    uses_get = True

    def __init__(self, address, events=False):
        super().__init__(address)
        self.accept = "text/event-stream" if events else "application/json"

    def call(self, method, requests, headers=(), timeout=None):
        verb, path, body = http_form(method, *requests)
        # The server ends the call at the deadline: curl's own would hide the status.
        deadline = [("grpc-timeout", f"{int(timeout * 1000)}m")] if timeout else []
        kind = [("content-type", "application/json")] if verb != "GET" else []
        command = ["curl", "--no-buffer", "--silent", "--show-error", "--include", "--request", verb]
        for name, value in [("accept", self.accept), *kind, *deadline, *headers]:
            command += ["--header", f"{name}: {value}"]
        command += ["--data-binary", "@-"] if body else []
        command += [self.address + path]
        return Response(functools.partial(self.read, command, [body], functools.partial(self._parse, method)))

    def _parse(self, method, output, response):
        status = int(output.readline().split()[1])
        for line in iter(output.readline, b"\r\n"):
            name, value = line.decode().rstrip("\r\n").split(": ", 1)
            name = name.lower()
            kept = response.trailers if name.startswith("trailer-") else response.headers
            kept.setdefault(name.removeprefix("trailer-"), []).append(value)
        if status != 200:
            error = refusal(output.read())
            assert status == HTTP_STATUS[error.code], f"{status} for {error.code}"
            raise error
        kind = message_factory.GetMessageClass(method.output_type)
        for text in self._messages(method, response.headers["content-type"], output):
            yield json_format.Parse(text, kind())

    def _messages(self, method, kind, output):
        """The messages' JSON."""
        if not method.server_streaming:
            assert kind == ["application/json"], kind
            yield output.read()
        elif self.accept == "text/event-stream":
            assert kind == ["text/event-stream"], kind
            yield from events(output)
        else:
            assert kind == ["application/x-ndjson"], kind
            for line in map(json.loads, output):
                if "error" in line:
                    raise refusal(json.dumps(line["error"]))
                yield json.dumps(line["result"])


def events(output):
    """The data of server-sent events up to the last one, which has the status."""
    event = {}
    for line in output:
        field, _, value = line.decode().rstrip("\n").partition(":")
        if field:
            event[field] = value.removeprefix(" ")
        # Otherwise a comment, or the blank line at the end of an event.
        elif not line.strip() and event:
            if event.get("event") == "end":
                status = json.loads(event["data"])
                if status.get("code"):
                    raise refusal(event["data"])
                return
            yield event["data"]
            event = {}
    raise AssertionError("the stream ended without its last event")


def refusal(text):
    """A `google.rpc.Status` as JSON."""
    status = json_format.Parse(text, status_pb2.Status())
    return Refused(code_pb2.Code.Name(status.code), status.message, status.details)


def http_form(method, request):
    """The HTTP method, path and body of a request by the method's `google.api.http`."""
    rule = extension(method.GetOptions(), "google.api.http")
    verb = rule.WhichOneof("pattern")
    fields = json_format.MessageToDict(request)

    def value(found):
        name = method.input_type.fields_by_name[found[1]].json_name
        return urllib.parse.quote(str(fields.pop(name)), safe="")

    path = re.sub(r"{(\w+)}", value, getattr(rule, verb))
    if rule.body == "*":
        return verb.upper(), path, json.dumps(fields).encode()
    query = urllib.parse.urlencode(fields, doseq=True)
    return verb.upper(), f"{path}?{query}" if query else path, b""
