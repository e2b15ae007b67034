"""Clients of other makes run the scenarios of the browsers' clients, each over every protocol that it speaks."""

import unittest

import grpc
from connectrpc.protocol import ProtocolType
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pyqwest import HTTPVersion

import chat_scenario
import contracts
import shop
import shop_scenario
from client_programs import ConnectGo, Curl
from clients import ConnectPython, Grpcio
from mesh import Mesh
from upstream import UpstreamCase


class Clients:
    """The clients. `run_scenario` defines what each one does."""

    maxDiff = None

    def test_grpcio_with_reflection(self):
        # Without files of proto/ and without generated code.
        channel = self.enterContext(grpc.insecure_channel(self.gateway))
        self.pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.run_scenario(Grpcio(self.gateway))

    def test_connect_go_with_protobuf_and_get(self):
        self.run_scenario(ConnectGo(self.gateway, "connect", "-get"))

    def test_connect_go_with_json(self):
        self.run_scenario(ConnectGo(self.gateway, "connect", "-json"))

    def test_connect_go_over_grpc(self):
        self.run_scenario(ConnectGo(self.gateway, "grpc"))

    def test_connect_go_over_grpc_web(self):
        self.run_scenario(ConnectGo(self.gateway, "grpc-web"))

    def test_connect_python_with_protobuf(self):
        self.run_scenario(ConnectPython(self.gateway, ProtocolType.CONNECT, http=HTTPVersion.HTTP2))

    def test_connect_python_with_json_and_get(self):
        self.run_scenario(ConnectPython(self.gateway, ProtocolType.CONNECT, is_json=True, uses_get=True))

    def test_connect_python_over_grpc(self):
        self.run_scenario(ConnectPython(self.gateway, ProtocolType.GRPC, http=HTTPVersion.HTTP2))

    def test_connect_python_over_grpc_web(self):
        self.run_scenario(ConnectPython(self.gateway, ProtocolType.GRPC_WEB))

    def test_curl_with_lines_of_json(self):
        self.run_scenario(Curl(self.gateway))

    def test_curl_with_server_sent_events(self):
        self.run_scenario(Curl(self.gateway, events=True))


class Trellis(Clients, unittest.TestCase):
    """The services of the mesh."""

    pool = contracts.POOL

    def setUp(self):
        mesh = self.enterContext(Mesh(chat_scenario.CONFIGURATION))
        self.gateway = mesh.address["gateway"]

    def run_scenario(self, client):
        self.addCleanup(client.close)
        scenario = chat_scenario.Scenario(client, self.pool)
        observations = scenario.observe()
        self.assertEqual(observations, chat_scenario.SCRIPT["observations"])
        self.assertEqual(scenario.notes.steps, chat_scenario.SCRIPT["steps"])


class PythonService(Clients, UpstreamCase):
    """A service of grpcio, which one line of the configuration registers."""

    settings = 'access = "public", descriptors = "reflection"'
    pool = shop.POOL

    def run_scenario(self, client):
        self.addCleanup(client.close)
        scenario = shop_scenario.Scenario(client, self.pool)
        self.assertEqual(scenario.observe(), shop_scenario.SCRIPT["observations"])
        # Only responses to GET have one.
        self.assertEqual("etag" in scenario.shown.headers, client.uses_get)
        if client.sends_streams:
            self.assertEqual(scenario.observe_streams(), shop_scenario.STREAMS)
        if client.is_duplex:
            self.assertEqual(scenario.converse(), shop_scenario.STREAMS["chat"])
        self.server.shop.cancelled.clear()
        scenario.cancel()
        self.assertTrue(self.server.shop.cancelled.wait(20), "the service did not notice the cancellation")


if __name__ == "__main__":
    unittest.main()
