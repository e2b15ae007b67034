"""The clients of `clients` that are programs: connect-go and curl."""

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

from google.protobuf import json_format, message_factory
from google.rpc import code_pb2, status_pb2

from clients import CONNECT_LATE, GRPC_LATE, Refused, Response, by_name, code_name, pack
from contracts import describe, extension

#: The HTTP status of each code that the tests meet.
HTTP_STATUS = {
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "DEADLINE_EXCEEDED": 504,
    "INVALID_ARGUMENT": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNAUTHENTICATED": 401,
}


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
    is_duplex = True

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
            headers, trailers = (
                [(name, value) for name, values in (end[kind] or {}).items() for value in values]
                for kind in ("headers", "trailers")
            )
            if end["code"]:
                packed = [pack(one["type"], base64.b64decode(one["value"])) for one in end["details"] or ()]
                raise Refused(code_name(end["code"]), end["message"], packed, by_name(headers, trailers))
            response.headers, response.trailers = by_name(headers), by_name(trailers)


class Curl(Program):
    """curl: JSON over HTTP/1.1 by the paths of `google.api.http`. Streams are lines, or events if `events`."""

    late = GRPC_LATE
    sends_streams = False
    is_duplex = False
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
        pairs = [line.decode().rstrip("\r\n").split(": ", 1) for line in iter(output.readline, b"\r\n")]
        mark = "trailer-"
        headers = [(name, value) for name, value in pairs if not name.startswith(mark)]
        trailers = [(name.removeprefix(mark), value) for name, value in pairs if name.startswith(mark)]
        response.headers, response.trailers = by_name(headers), by_name(trailers)
        if status != 200:
            error = refusal(output.read(), by_name(headers, trailers))
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


def refusal(text, metadata=()):
    """A `google.rpc.Status` as JSON."""
    status = json_format.Parse(text, status_pb2.Status())
    return Refused(code_pb2.Code.Name(status.code), status.message, status.details, dict(metadata))


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
