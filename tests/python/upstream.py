"""A service of grpcio behind the gateway, for the tests of external upstreams."""

import time
import unittest

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from contracts import Client, reason
from mesh import Mesh
from shop import PACKAGE, POOL, Note, Server

SHOP = f"/{PACKAGE}.Shop"
PASSWORD = "correct horse battery staple"


def line(server, settings='access = "public", descriptors = "reflection"', prefix=PACKAGE, section="[gateway.external]\n"):
    return f'{section}"{prefix}" = {{ to = ["{server.address}"], {settings} }}\n'


def eventually(check, seconds=20):
    """Repeats a check until it passes. Raises its last failure after a timeout."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except (AssertionError, grpc.RpcError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Channel:
    """A plain gRPC client of one of the shop's services."""

    def __init__(self, address, service="Shop"):
        self.service = f"{PACKAGE}.{service}"
        self.channel = grpc.insecure_channel(address)

    def __getattr__(self, method):
        declared = POOL.FindServiceByName(self.service).methods_by_name[method]
        kind = f"{'stream' if declared.client_streaming else 'unary'}_{'stream' if declared.server_streaming else 'unary'}"
        make = getattr(self.channel, kind)
        return make(f"/{self.service}/{method}", request_serializer=Note.SerializeToString, response_deserializer=Note.FromString)


class UpstreamCase(unittest.TestCase):
    """A gateway with the shop as its upstream."""

    settings = 'access = "public", descriptors = "reflection", token_audience = "shop"'
    more = ""
    services = ("Shop",)
    reflects = "v1alpha"

    @classmethod
    def setUpClass(cls):
        cls.server = Server(services=cls.services, reflects=cls.reflects)
        cls.addClassCleanup(cls.server.stop)
        cls.mesh = cls.enterClassContext(Mesh(f"[gateway]\n{cls.more}\n" + line(cls.server, cls.settings)))
        cls.gateway = cls.mesh.address["gateway"]
        cls.shop = Channel(cls.gateway)
        cls.addClassCleanup(cls.shop.channel.close)
        eventually(lambda: cls.shop.Echo(Note(text="ready"), timeout=5))

    def assert_refused(self, code, why, call):
        with self.assertRaises(grpc.RpcError) as refused:
            call()
        self.assertEqual((refused.exception.code(), reason(refused.exception)), (code, why))

    def database(self):
        """The services that the gateway's reflection lists."""
        channel = grpc.insecure_channel(self.gateway)
        self.addCleanup(channel.close)
        return ProtoReflectionDescriptorDatabase(channel)

    def sign_up(self, handle):
        """A new user's tokens."""
        client = Client(self.gateway)
        self.addCleanup(client.close)
        return client.call(
            "auth", "SignUp", email=f"{handle}@example.com", password=PASSWORD, handle=handle, display_name=handle
        ).tokens
