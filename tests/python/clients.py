"""gRPC, Connect and HTTP clients of other makes, all with the interface of `Grpcio`.

`client.call(method, requests, headers, timeout)` takes a method's descriptor and an iterable of messages, and returns a
`Response`. `timeout` is the client's own deadline in seconds. `client.late` is the header of a deadline of 1 ms.
`client.sends_streams` is true if a request may be a stream, `client.is_duplex` if responses arrive before its end,
and `client.uses_get` if it calls methods without side effects with GET.
"""

import base64
import functools

import grpc
from connectrpc.client import ConnectClientSync, ResponseMetadata
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf import any_pb2, descriptor_pb2, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

GRPC_LATE = ("grpc-timeout", "1m")
CONNECT_LATE = ("connect-timeout-ms", "1")


class Refused(Exception):
    """A failed call. `details` are packed messages, and `metadata` are the response's headers and trailers."""

    def __init__(self, code, message, details, metadata):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = list(details)
        self.metadata = metadata

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


def by_name(*metadata):
    """Lists of values by name. Bytes are base64, as on the wire, without padding."""
    found = {}
    for name, value in (pair for pairs in metadata for pair in pairs or ()):
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        found.setdefault(name.lower(), []).append(text.rstrip("=") if name.lower().endswith("-bin") else text)
    return found


class Grpcio:
    """grpcio: gRPC."""

    late = GRPC_LATE
    sends_streams = True
    is_duplex = True
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
        sent = [(name, base64.b64decode(value + "==") if name.endswith("-bin") else value) for name, value in headers]
        options = {"metadata": sent, "timeout": timeout}
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
            details = status.details if status else ()
            received = by_name(error.initial_metadata(), error.trailing_metadata())
            raise Refused(error.code().name, error.details(), details, received) from None
        response.headers = by_name(call.initial_metadata())
        response.trailers = by_name(call.trailing_metadata())


class ConnectPython:
    """connect-python: Connect, gRPC-Web and gRPC."""

    sends_streams = True

    def __init__(self, address, protocol, *, is_json=False, uses_get=False, http=HTTPVersion.HTTP1):
        self.uses_get = uses_get
        # Over HTTP/1.1 the request ends before the response begins.
        self.is_duplex = http is HTTPVersion.HTTP2
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
                packed = [pack(one.type_name, one.message_bytes) for one in error.details]
                # In a Trailers-Only response the headers are the trailers too.
                received = by_name(dict.fromkeys([*seen.headers.allitems(), *seen.trailers.allitems()]))
                raise Refused(code_name(error.code.value), error.message, packed, received) from None
        response.headers = by_name(seen.headers.allitems())
        response.trailers = by_name(seen.trailers.allitems())


def pack(type_name, value):
    return any_pb2.Any(type_url=f"type.googleapis.com/{type_name}", value=value)


def code_name(connect):
    """Connect spells codes in lower case, and one of them differently."""
    return {"CANCELED": "CANCELLED"}.get(connect.upper(), connect.upper())
