"""The contracts, compiled from proto/ in memory, and a plain gRPC client made from them.

They are in a separate descriptor pool, because proto/third_party declares the same files as packages on PyPI, and a
pool accepts each file only once.
"""

import importlib.resources
import pathlib
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

def compile_files(roots, files):
    """A descriptor pool with `files`, which may import from `roots`."""
    standard = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "descriptors.bin"
        places = [f"-I{place}" for place in (*roots, standard)]
        if protoc.main(["protoc", *places, f"--descriptor_set_out={out}", "--include_imports", *files]) != 0:
            raise SystemExit(f"protoc refused {' '.join(files)}")
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def describe(path, pool, name):
    """Writes a descriptor set: the file `name` after all its imports."""
    described = {}

    def add(file):
        for imported in file.dependencies:
            add(imported)
        described[file.name] = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(described[file.name])

    add(pool.FindFileByName(name))
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=described.values()).SerializeToString())


def message_class_of(pool, full_name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def _contracts():
    root = REPOSITORY / "proto"
    files = sorted(str(path) for path in (root / "trellis").rglob("*.proto"))
    return compile_files([root, root / "third_party"], files)


POOL = _contracts()


def _services():
    """The full name of each service by its short name, which is the second part of its package."""
    files = sorted(path.relative_to(REPOSITORY / "proto") for path in (REPOSITORY / "proto" / "trellis").rglob("*.proto"))
    found = [POOL.FindFileByName(str(file)).services_by_name.values() for file in files]
    return {service.full_name.split(".")[1]: service.full_name for services in found for service in services}


SERVICES = _services()


def message_class(full_name):
    return message_class_of(POOL, full_name)


def methods():
    """Every method of the contracts."""
    return [method for name in SERVICES.values() for method in POOL.FindServiceByName(name).methods]


def extension(options, name):
    """The custom option `name`, or None."""
    found = POOL.FindExtensionByName(name)
    options_class = message_class(options.DESCRIPTOR.full_name)
    # The default pool does not know the project's extensions, so the options are parsed again with this pool.
    known = options_class.FromString(options.SerializeToString())
    return known.Extensions[found] if known.HasExtension(found) else None


def is_internal(method):
    policy = extension(method.GetOptions(), "trellis.policy.v1.method")
    return policy.access.WhichOneof("rule") == "internal"


class Client:
    """Calls methods by name: `client.call("auth", "SignIn", email=…, password=…)`; `pool` defines the types."""

    def __init__(self, address, pool=POOL):
        self.pool = pool
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", 64 << 20)])

    def close(self):
        self.channel.close()

    def call(self, service, method, token=None, timeout=20, raw=False, metadata=(), **fields):
        """Returns the response, an iterator of responses for a stream, or the received bytes if `raw`."""
        descriptor = self.pool.FindServiceByName(SERVICES[service]).methods_by_name[method]
        make = self.channel.unary_stream if descriptor.server_streaming else self.channel.unary_unary
        response = message_factory.GetMessageClass(descriptor.output_type)
        rpc = make(
            f"/{SERVICES[service]}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=bytes if raw else response.FromString,
        )
        request = message_factory.GetMessageClass(descriptor.input_type)(**fields)
        bearer = [("authorization", f"Bearer {token}")] if token else []
        return rpc(request, metadata=[*bearer, *metadata], timeout=timeout)


def _detail(error, kind):
    status = rpc_status.from_call(error)
    for packed in status.details if status else []:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def reason(error):
    """The `google.rpc.ErrorInfo.reason` of a failed call, or None."""
    info = _detail(error, error_details_pb2.ErrorInfo)
    return info.reason if info else None


def bad_fields(error):
    """The fields in `google.rpc.BadRequest` of a failed call."""
    bad = _detail(error, error_details_pb2.BadRequest)
    return sorted(violation.field for violation in bad.field_violations) if bad else []
