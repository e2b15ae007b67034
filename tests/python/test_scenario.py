"""grpcio runs the scenario of the browsers' clients (web/e2e/clients/scenario.ts): the same users, steps and expected
results, all from scenario.json. It learns the services from the gateway's reflection, without files of proto/ and without
generated code.
"""

import json
import time
import unittest
import uuid

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from contracts import REPOSITORY, Client, bad_fields, reason
from mesh import Mesh

SCRIPT = json.loads((REPOSITORY / "web/e2e/clients/scenario.json").read_text(encoding="utf-8"))
# A stream opens only after the server has noticed the cancellation of the previous one.
CONFIGURATION = "[messaging]\nstreams_per_session = 1\n"
LATE_STREAM_S = 1
PATIENCE_S = 20


class Notes:
    """Makes calls, and records each one when it has ended."""

    def __init__(self, client):
        self.client = client
        self.steps = []
        self.names = {None: "anonymous"}

    def call(self, service, method, token=None, **fields):
        try:
            response = self.client.call(service, method, token=token, timeout=None, **fields)
        except grpc.RpcError as error:
            self.note(token, method, error.code().name)
            raise
        self.note(token, method, "OK")
        return response

    def subscribe(self, token, positions, timeout=None):
        """The events of the stream, which is cancelled if the caller leaves early."""
        stream = self.client.call("messaging", "Subscribe", token=token, timeout=timeout, positions=positions)
        status = "CANCELLED"
        try:
            yield from stream
            status = "OK"
        except grpc.RpcError as error:
            status = error.code().name
            raise
        finally:
            stream.cancel()
            self.note(token, "Subscribe", status)

    def note(self, token, method, status):
        # A stream that was opened too early is reopened until it opens. This is not a step.
        if status != "RESOURCE_EXHAUSTED":
            self.steps.append(f"{self.names[token]}: {method}: {status}")


class Scenario:
    """Two users meet, talk, and receive each kind of error that a client must handle."""

    def __init__(self, client):
        self.notes = Notes(client)
        texts = SCRIPT["texts"].items()
        self.texts = {text["text"] * text["times"] + text["end"]: name for name, text in texts}
        self.ada = self.sign_up(SCRIPT["people"]["ada"])
        self.bob = self.sign_up(SCRIPT["people"]["bob"])

    def sign_up(self, account):
        account = {"display_name" if key == "displayName" else key: value for key, value in account.items()}
        tokens = self.notes.call("auth", "SignUp", **account).tokens
        self.notes.names[tokens.access_token] = account["handle"]
        return tokens

    def observe(self):
        call, ada, bob = self.notes.call, self.ada, self.bob
        account = {key: SCRIPT["people"]["ada"][key] for key in ("email", "password")}
        wrong = refused(lambda: call("auth", "SignIn", **account | {"password": "wrong password"}))
        again = call("auth", "SignIn", **account).tokens
        handle = SCRIPT["people"]["bob"]["handle"]
        found = call("users", "ListUsers", ada.access_token, query=handle).users
        user = call("users", "GetUser", ada.access_token, user_id=bob.user_id).user
        return {
            "wrongPassword": brief(wrong),
            "message": wrong.details(),
            "isSameAccount": again.user_id == ada.user_id,
            "found": [one.handle for one in found],
            "displayName": user.display_name,
            "withoutToken": brief(refused(lambda: call("users", "ListUsers"))),
            "streamWithoutToken": brief(refused(lambda: list(self.notes.subscribe(None, [])))),
            # Sets the header directly, without a timeout of the client, so that the server's status is received.
            "lateCall": brief(refused(lambda: call("auth", "SignIn", metadata=[("grpc-timeout", "1m")], **account))),
            **self.conversation(),
            "lateStream": self.late_stream().code().name,
        }

    def conversation(self):
        """Ada sends messages to Bob, who subscribes."""
        created = self.notes.call(
            "messaging",
            "CreateConversation",
            self.ada.access_token,
            request_id=str(uuid.uuid4()),
            member_ids=[self.bob.user_id],
        ).conversation
        place = {"conversation_id": created.conversation_id}

        def send(text, client_message_id):
            fields = {"client_message_id": client_message_id, "text": text}
            return self.notes.call("messaging", "SendMessage", self.ada.access_token, **place, **fields).entry

        received = self.listen({**place, "cursor": created.cursor}, lambda text: send(text, str(uuid.uuid4())))
        once = str(uuid.uuid4())
        first, second = send("once", once), send("once", once)
        return {
            "received": [self.brief_message(entry) for entry in received],
            "repeated": [self.brief_message(first), self.brief_message(second)],
            "idReused": brief(refused(lambda: send("something else", once))),
            # One byte longer than the limit of a text.
            "violations": brief(refused(lambda: send(f"{list(self.texts)[-1]}!", "no id"))),
            "listed": [
                self.brief_message(entry)
                for entry in self.notes.call("messaging", "ListMessages", self.bob.access_token, **place).entries
                if entry.WhichOneof("body") == "message"
            ],
        }

    def listen(self, position, send):
        """Receives messages on a stream as they are sent, and then cancels it."""
        received = []
        events = self.notes.subscribe(self.bob.access_token, [position], timeout=PATIENCE_S)
        for event in events:
            kind = event.WhichOneof("event")
            if kind == "caught_up":
                for text in self.texts:
                    send(text)
            if kind == "entry":
                received.append(event.entry.entry)
            if len(received) == len(self.texts):
                break
        events.close()
        return received

    def late_stream(self):
        """Opens a stream that its deadline ends, after the server has noticed the end of the other one."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            stream = self.notes.subscribe(self.bob.access_token, [], timeout=LATE_STREAM_S)
            error = refused(lambda: list(stream))
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > give_up:
                return error
            time.sleep(0.2)

    def brief_message(self, entry):
        return {"seq": entry.seq, "text": self.texts.get(entry.message.text, entry.message.text)}


def refused(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call was not refused")


def brief(error):
    """The result without the message text, which may change."""
    return {"code": error.code().name, "reason": reason(error) or "", "fields": bad_fields(error)}


class ScenarioTest(unittest.TestCase):
    def test_grpcio_with_reflection_runs_the_browser_scenario(self):
        mesh = self.enterContext(Mesh(CONFIGURATION))
        address = mesh.address["gateway"]
        channel = self.enterContext(grpc.insecure_channel(address))
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        client = Client(address, pool)
        self.addCleanup(client.close)
        scenario = Scenario(client)
        observations = scenario.observe()
        self.assertEqual(observations, SCRIPT["observations"])
        self.assertEqual(scenario.notes.steps, SCRIPT["steps"])


if __name__ == "__main__":
    unittest.main()
