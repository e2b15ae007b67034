"""An independent client: grpcio against the gateway and against each service of the real binary."""

import itertools
import queue
import threading
import unittest
import uuid

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from contracts import SERVICES, Client, bad_fields, is_internal, message_class, methods, reason
from mesh import Mesh

PASSWORD = "correct horse battery staple"
MESSAGE_LIMIT = 4 * 1024 * 1024
OVERSIZED = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE)
REFLECTION = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


class Person:
    """A user who signed up through the gateway."""

    def __init__(self, client, name):
        self.client = client
        self.email = f"{name}.secret@example.com"
        self.handle = name
        self.tokens = client.call(
            "auth", "SignUp", email=self.email, password=PASSWORD, handle=name, display_name=name.title()
        ).tokens
        self.user_id = self.tokens.user_id

    def call(self, service, method, **fields):
        return self.client.call(service, method, token=self.tokens.access_token, **fields)

    def talk_to(self, *others):
        members = [other.user_id for other in others]
        request = {"request_id": str(uuid.uuid4()), "member_ids": members}
        return self.call("messaging", "CreateConversation", **request).conversation

    def say(self, conversation, text, client_message_id=None):
        fields = {"client_message_id": client_message_id or str(uuid.uuid4()), "text": text}
        return self.call("messaging", "SendMessage", conversation_id=conversation.conversation_id, **fields).entry


class Events:
    """A subscription that its own thread reads, so that a test can wait with a timeout."""

    def __init__(self, person, positions=()):
        self.stream = person.call("messaging", "Subscribe", positions=positions, timeout=60)
        self.queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for event in self.stream:
                self.queue.put(event)
        except grpc.RpcError as error:
            self.queue.put(error)

    def next(self, kind):
        """Returns the next event of `kind`, and skips others."""
        while True:
            event = self.queue.get(timeout=20)
            if isinstance(event, grpc.RpcError):
                raise event
            if event.WhichOneof("event") == kind:
                return getattr(event, kind)

    def close(self):
        self.stream.cancel()


class MeshTest(unittest.TestCase):
    """All tests share one mesh and two users, because sign-ups are rate limited."""

    @classmethod
    def setUpClass(cls):
        cls.mesh = cls.enterClassContext(Mesh('[users]\ndirectory = "contacts"\n'))
        cls.clients = {part: Client(address) for part, address in cls.mesh.address.items() if part != "admin"}
        for client in cls.clients.values():
            cls.addClassCleanup(client.close)
        cls.gateway = cls.clients["gateway"]
        cls.ada = Person(cls.gateway, "ada")
        cls.bob = Person(cls.gateway, "bob")

    def refused(self, code, call, *args, **fields):
        with self.assertRaises(grpc.RpcError) as caught:
            response = call(*args, **fields)
            if hasattr(response, "__next__"):
                next(response)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        return caught.exception

    # Accounts and sessions

    def test_sign_in_opens_a_session_of_the_same_account(self):
        tokens = self.gateway.call("auth", "SignIn", email=self.ada.email, password=PASSWORD).tokens
        self.assertEqual(tokens.user_id, self.ada.user_id)
        self.assertNotEqual(tokens.session_id, self.ada.tokens.session_id)
        self.assertTrue(tokens.access_token and tokens.refresh_token)

    def test_wrong_password_looks_like_unknown_address(self):
        wrong = self.refused(
            grpc.StatusCode.UNAUTHENTICATED,
            self.gateway.call,
            "auth",
            "SignIn",
            email=self.ada.email,
            password="wrong password",
        )
        unknown = self.refused(
            grpc.StatusCode.UNAUTHENTICATED,
            self.gateway.call,
            "auth",
            "SignIn",
            email="unknown@example.com",
            password="wrong password",
        )
        self.assertEqual(reason(wrong), "BAD_CREDENTIALS")
        self.assertEqual(reason(unknown), "BAD_CREDENTIALS")
        self.assertEqual(wrong.details(), unknown.details())

    def test_address_and_handle_belong_to_one_account(self):
        taken = {"password": PASSWORD, "display_name": "Eve"}
        for fields, expected in (
            ({"email": self.ada.email, "handle": "eve_first"}, "EMAIL_TAKEN"),
            ({"email": "eve@example.com", "handle": "ada"}, "HANDLE_TAKEN"),
        ):
            error = self.refused(
                grpc.StatusCode.ALREADY_EXISTS, self.gateway.call, "auth", "SignUp", **taken, **fields
            )
            self.assertEqual(reason(error), expected)

    def test_refresh_gives_new_tokens_of_the_same_session(self):
        before = self.gateway.call("auth", "SignIn", email=self.bob.email, password=PASSWORD).tokens
        after = self.gateway.call("auth", "RefreshToken", refresh_token=before.refresh_token).tokens
        self.assertEqual(after.session_id, before.session_id)
        self.assertNotEqual(after.refresh_token, before.refresh_token)
        users = self.gateway.call("users", "GetUser", token=after.access_token, user_id=self.ada.user_id)
        self.assertEqual(users.user.handle, "ada")

    def test_refresh_after_sign_out_is_refused(self):
        tokens = self.gateway.call("auth", "SignIn", email=self.bob.email, password=PASSWORD).tokens
        self.gateway.call("auth", "SignOut", refresh_token=tokens.refresh_token)
        self.refused(
            grpc.StatusCode.UNAUTHENTICATED,
            self.gateway.call,
            "auth",
            "RefreshToken",
            refresh_token=tokens.refresh_token,
        )

    def test_public_keys_are_public(self):
        keys = self.gateway.call("auth", "GetJwks").keys
        self.assertEqual([(key.kty, key.crv, key.alg) for key in keys], [("EC", "P-256", "ES256")] * len(keys))
        self.assertTrue(keys)

    # Profiles

    def test_other_users_see_the_profile_but_not_the_address(self):
        seen = self.bob.call("users", "GetUser", user_id=self.ada.user_id)
        self.assertEqual((seen.user.handle, seen.user.display_name), ("ada", "Ada"))
        for method, fields in (
            ("GetUser", {"user_id": self.ada.user_id}),
            ("ListUsers", {}),
            ("BatchGetUsers", {"user_ids": [self.ada.user_id, self.bob.user_id]}),
        ):
            response = self.bob.call("users", method, raw=True, **fields)
            self.assertIn(b"ada", response)
            # Both parts of the address, because a lone "@" may be a length byte.
            self.assertNotIn(b"secret", response)
            self.assertNotIn(b"example.com", response)

    def test_directory_shows_strangers_by_their_exact_handle_only(self):
        def found(query):
            return [user.handle for user in self.bob.call("users", "ListUsers", query=query).users]

        self.assertEqual(found("ada"), ["ada"])
        conversation = self.ada.talk_to(self.bob)
        # A request alone does not make a contact; accepting it does.
        self.bob.call("messaging", "AcceptInvitation", conversation_id=conversation.conversation_id)
        self.assertEqual(found("ad"), ["ada"])

    # Messages

    def test_sent_message_is_read_by_the_other_member(self):
        conversation = self.ada.talk_to(self.bob)
        self.assertEqual(sorted(member.user_id for member in conversation.members), sorted([self.ada.user_id, self.bob.user_id]))
        for text in ("one", "two", "three"):
            self.ada.say(conversation, text)
        listed = self.bob.call("messaging", "ListMessages", conversation_id=conversation.conversation_id)
        *messages, created = listed.entries
        self.assertEqual([entry.message.text for entry in messages], ["three", "two", "one"])
        self.assertEqual([entry.message.message_no for entry in messages], [3, 2, 1])
        self.assertEqual(created.WhichOneof("body"), "conversation_created")

    def test_message_sent_twice_is_stored_once(self):
        conversation = self.ada.talk_to(self.bob)
        once = str(uuid.uuid4())
        first = self.ada.say(conversation, "hello", once)
        second = self.ada.say(conversation, "hello", once)
        self.assertEqual(first, second)

    def test_stream_delivers_messages_of_the_other_member(self):
        conversation = self.ada.talk_to(self.bob)
        events = Events(self.bob)
        self.addCleanup(events.close)
        events.next("caught_up")
        self.ada.say(conversation, "are you there?")
        self.assertEqual(events.next("entry").entry.message.text, "are you there?")

    def test_stream_resumes_at_its_cursor(self):
        conversation = self.ada.talk_to(self.bob)
        events = Events(self.bob)
        events.next("caught_up")
        self.ada.say(conversation, "seen")
        seen = events.next("entry")
        self.assertEqual(seen.entry.message.text, "seen")
        events.close()
        missed = [f"missed {i}" for i in range(5)]
        for text in missed:
            self.ada.say(conversation, text)
        resumed = Events(
            self.bob, [{"conversation_id": conversation.conversation_id, "cursor": seen.cursor}]
        )
        self.addCleanup(resumed.close)
        got = [resumed.next("entry").entry for _ in missed]
        self.assertEqual([entry.message.text for entry in got], missed)
        self.assertEqual([entry.seq for entry in got], [seen.entry.seq + i for i in range(1, 6)])

    def test_users_who_are_no_members_cannot_read_or_write(self):
        conversation = self.ada.talk_to(self.bob)
        eve = Person(self.gateway, "eve_outside")
        for attempt in (
            lambda: eve.call("messaging", "ListMessages", conversation_id=conversation.conversation_id),
            lambda: eve.say(conversation, "let me in"),
        ):
            with self.assertRaises(grpc.RpcError) as caught:
                attempt()
            self.assertIn(
                caught.exception.code(), (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED)
            )

    def test_conversation_with_an_unknown_user_is_refused(self):
        error = self.refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            self.ada.call,
            "messaging",
            "CreateConversation",
            request_id=str(uuid.uuid4()),
            member_ids=[str(uuid.uuid4())],
        )
        self.assertEqual(reason(error), "MEMBER_UNKNOWN")

    # Authentication

    def test_call_without_token_is_refused_by_every_process(self):
        for service, method, fields in (
            ("users", "ListUsers", {}),
            ("users", "BatchGetUsers", {"user_ids": [self.ada.user_id]}),
            ("messaging", "ListMessages", {"conversation_id": str(uuid.uuid4())}),
            ("messaging", "Subscribe", {}),
        ):
            for client in (self.gateway, self.clients[service]):
                with self.subTest(service=service, method=method):
                    self.refused(grpc.StatusCode.UNAUTHENTICATED, client.call, service, method, **fields)
                    forged = {"token": self.ada.tokens.access_token[:-4] + "AAAA", **fields}
                    self.refused(grpc.StatusCode.UNAUTHENTICATED, client.call, service, method, **forged)

    def test_services_verify_the_token_of_the_user(self):
        direct = self.clients["users"]
        seen = direct.call("users", "GetUser", token=self.ada.tokens.access_token, user_id=self.bob.user_id)
        self.assertEqual(seen.user.handle, "bob")

    def test_users_cannot_call_internal_methods(self):
        anybody = str(uuid.uuid4())
        fields = {
            "CreateUser": {"user_id": anybody, "handle": "mallory", "display_name": "Mallory"},
            "DeleteUser": {"user_id": anybody},
            "GetNames": {"user_id": anybody},
            "ListContacts": {"user_id": anybody},
            "ListEndedSessions": {},
            "DeleteMember": {"user_id": anybody},
        }
        parts = {full_name: part for part, full_name in SERVICES.items()}
        internal = [method for method in methods() if is_internal(method)]
        self.assertEqual(sorted(method.name for method in internal), sorted(fields))
        for method in internal:
            part = parts[method.containing_service.full_name]
            for token in (None, self.ada.tokens.access_token):
                with self.subTest(method=method.name, signed_in=token is not None):
                    call = {"token": token, **fields[method.name]}
                    with self.assertRaises(grpc.RpcError) as caught:
                        self.clients[part].call(part, method.name, **call)
                    self.assertIn(
                        caught.exception.code(),
                        (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED),
                    )
                    self.refused(grpc.StatusCode.UNIMPLEMENTED, self.gateway.call, part, method.name, **call)

    # Validation rules

    def test_validation_error_names_the_field(self):
        for client in (self.gateway, self.clients["auth"]):
            error = self.refused(
                grpc.StatusCode.INVALID_ARGUMENT,
                client.call,
                "auth",
                "SignUp",
                email="no address",
                password="short",
                handle="ok_handle",
                display_name="Ok",
            )
            self.assertEqual(bad_fields(error), ["email", "password"])
        error = self.refused(
            grpc.StatusCode.INVALID_ARGUMENT,
            self.ada.call,
            "messaging",
            "CreateConversation",
            request_id=str(uuid.uuid4()),
            member_ids=[self.bob.user_id, "unknown"],
        )
        self.assertEqual(bad_fields(error), ["member_ids[1]"])

    def test_request_above_four_mebibytes_is_refused(self):
        request = message_class("trellis.messaging.v1.SendMessageRequest")(
            conversation_id=str(uuid.uuid4()), client_message_id=str(uuid.uuid4())
        )
        request.text = "x" * (MESSAGE_LIMIT - request.ByteSize() - 5)
        self.assertEqual(request.ByteSize(), MESSAGE_LIMIT)
        for client in (self.gateway, self.clients["messaging"]):
            fields = {name.name: value for name, value in request.ListFields()}
            fields["token"] = self.ada.tokens.access_token
            error = self.refused(
                grpc.StatusCode.INVALID_ARGUMENT, client.call, "messaging", "SendMessage", **fields
            )
            self.assertEqual(bad_fields(error), ["text"])
            fields["text"] += "x"
            with self.assertRaises(grpc.RpcError) as caught:
                client.call("messaging", "SendMessage", **fields)
            self.assertIn(caught.exception.code(), OVERSIZED)

    # Health and reflection

    def test_every_port_serves_health(self):
        for part, client in self.clients.items():
            with self.subTest(part=part):
                health = health_pb2_grpc.HealthStub(client.channel)
                response = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                self.assertEqual(response.status, health_pb2.HealthCheckResponse.SERVING)

    def test_reflection_on_every_port_hides_internal_methods(self):
        internal = {method.full_name for method in methods() if is_internal(method)}
        for (part, client), version in itertools.product(self.clients.items(), REFLECTION):
            with self.subTest(part=part, version=version):
                offered = set(SERVICES.values()) if part == "gateway" else {SERVICES[part]}
                listed = listed_services(client.channel, version)
                self.assertLessEqual(offered, listed)
                shown = set().union(*(shown_methods(client.channel, version, name) for name in offered))
                self.assertTrue(shown)
                self.assertFalse(shown & internal)

    def test_unknown_method_is_unimplemented(self):
        for path in ("/trellis.users.v1.UsersService/Nothing", "/unknown.v1.Service/Nothing"):
            call = self.gateway.channel.unary_unary(path)
            self.refused(grpc.StatusCode.UNIMPLEMENTED, call, b"", timeout=10)


def reflect(channel, version, request):
    """Sends one request to the reflection service. Both versions have the same messages."""
    ask = channel.stream_stream(
        f"/{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return next(ask(iter([request]), timeout=10))


def listed_services(channel, version):
    response = reflect(channel, version, reflection_pb2.ServerReflectionRequest(list_services=""))
    return {service.name for service in response.list_services_response.service}


def shown_methods(channel, version, service):
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
    response = reflect(channel, version, request)
    shown = set()
    for encoded in response.file_descriptor_response.file_descriptor_proto:
        file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
        for declared in file.service:
            shown |= {f"{file.package}.{declared.name}.{method.name}" for method in declared.method}
    return shown


if __name__ == "__main__":
    unittest.main()
