"""An external upstream: a gRPC service in another language, with reflection and without code of Trellis."""

import concurrent.futures
import threading
import time

import grpc
from google.protobuf import wrappers_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_status import rpc_status

from contracts import REPOSITORY, compile_files, message_class_of

PACKAGE = "acme.shop.v1"
ROOTS = [REPOSITORY / "tests" / "python", REPOSITORY / "proto", REPOSITORY / "proto" / "third_party"]
POOL = compile_files(ROOTS, ["shop.proto", "guarded.proto"])
Note = message_class_of(POOL, f"{PACKAGE}.Note")


class Shop:
    """The behavior of the service, and what it has received from its callers."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.calls = 0

    def Echo(self, note, context):
        self.calls += 1

        context.send_initial_metadata(_received(context, "x-initial"))
        context.set_trailing_metadata(_received(context, "x-trailing"))
        return note

    def Repeat(self, note, context):
        sent = []
        # Called at every end, including a successful one.
        context.add_callback(lambda: None if len(sent) == note.count else self.cancelled.set())
        for number in range(note.count):
            sent.append(number)
            yield Note(text=note.text, count=number)
            if note.text == "slowly":
                time.sleep(0.05)

    def Collect(self, notes, context):
        return Note(text=" ".join(note.text for note in notes))

    def Chat(self, notes, context):
        yield from notes

    def Refuse(self, note, context):
        for _ in range(note.count):
            yield note
        status = status_pb2.Status(code=code_pb2.ABORTED, message="nicht heute: 100 % Ärger\n")
        status.details.add().Pack(wrappers_pb2.StringValue(value="Häuser 100 %"))
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="CLOSED", domain="acme.example"))
        status = rpc_status.to_status(status)
        trailers = (*status.trailing_metadata, *_received(context, "x-trailing"))
        context.abort_with_status(status._replace(trailing_metadata=trailers))

    def Show(self, note, context):
        seen = [f"{name}: {value if isinstance(value, str) else value.hex()}" for name, value in context.invocation_metadata()]
        seen.append(f"time-remaining: {context.time_remaining()}")
        return Note(text="\n".join(seen))


def _received(context, prefix):
    """The metadata of the call whose names start with `prefix`."""
    return [(name, value) for name, value in context.invocation_metadata() if name.startswith(prefix)]


class Server:
    """The service on its own port. `services` without a package are in the shop's package; `pool` defines the types."""

    def __init__(self, port=0, services=("Shop",), reflects="v1alpha", credentials=None, compression=None, pool=POOL):
        self.shop = Shop()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), compression=compression)
        names = [name if "." in name else f"{PACKAGE}.{name}" for name in services]
        for name in names:
            self.server.add_generic_rpc_handlers((self._handlers(pool.FindServiceByName(name)),))
        if reflects == "v1":
            self.server.add_generic_rpc_handlers((_reflection_v1(names, pool),))
        elif reflects:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self.server, pool=pool)
        at = f"127.0.0.1:{port}"
        if credentials:
            self.port = self.server.add_secure_port(at, credentials)
            self.address = f"https://localhost:{self.port}"
        else:
            self.port = self.server.add_insecure_port(at)
            self.address = f"http://127.0.0.1:{self.port}"
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()

    def _handlers(self, service):
        handlers = {}
        for method in service.methods:
            make = getattr(
                grpc,
                f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
                "_rpc_method_handler",
            )
            # Methods of other contracts are served too, so that their calls are counted.
            handler = getattr(self.shop, method.name, self.shop.Echo)
            handlers[method.name] = make(handler, Note.FromString, Note.SerializeToString)
        return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _reflection_v1(names, pool):
    """Reflection v1. grpcio serves only v1alpha, which has the same messages."""
    name = "grpc.reflection.v1.ServerReflection"
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.ReflectionServicer([*names, name], pool=pool).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})


if __name__ == "__main__":
    # Prints its port, and serves until it is killed.
    started = Server()
    print(started.port, flush=True)
    started.server.wait_for_termination()
