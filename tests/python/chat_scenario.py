"""The scenario of the browsers' clients (web/e2e/clients/scenario.ts) for the clients of `clients`: the same users, steps
and expected results, all from scenario.json.
"""

import json
import time
import uuid

from google.protobuf import message_factory

from clients import Refused, refused
from contracts import REPOSITORY, SERVICES

SCRIPT = json.loads((REPOSITORY / "web/e2e/clients/scenario.json").read_text(encoding="utf-8"))
# A stream opens only after the server has noticed the cancellation of the previous one.
CONFIGURATION = "[messaging]\nstreams_per_session = 1\n"
LATE_STREAM_S = 1
PATIENCE_S = 20


class Notes:
    """Makes calls, and records each one when it has ended. `pool` has the services."""

    def __init__(self, client, pool):
        self.client = client
        self.pool = pool
        self.steps = []
        self.names = {None: "anonymous"}

    def call(self, service, method, token=None, headers=(), **fields):
        try:
            response = self._call(service, method, token, headers, None, fields).message()
        except Refused as error:
            self.note(token, method, error.code)
            raise
        self.note(token, method, "OK")
        return response

    def subscribe(self, token, positions, timeout=None):
        """The events of the stream, which is cancelled if the caller leaves early."""
        stream = self._call("messaging", "Subscribe", token, (), timeout, {"positions": positions})
        status = "CANCELLED"
        try:
            yield from stream
            status = "OK"
        except Refused as error:
            status = error.code
            raise
        finally:
            stream.cancel()
            self.note(token, "Subscribe", status)

    def _call(self, service, method, token, headers, timeout, fields):
        descriptor = self.pool.FindServiceByName(SERVICES[service]).methods_by_name[method]
        request = message_factory.GetMessageClass(descriptor.input_type)(**fields)
        bearer = [("authorization", f"Bearer {token}")] if token else []
        return self.client.call(descriptor, [request], [*bearer, *headers], timeout)

    def note(self, token, method, status):
        # A stream that was opened too early is reopened until it opens. This is not a step.
        if status != "RESOURCE_EXHAUSTED":
            self.steps.append(f"{self.names[token]}: {method}: {status}")


class Scenario:
    """Two users meet, talk, and receive each kind of error that a client must handle."""

    def __init__(self, client, pool):
        self.client = client
        self.notes = Notes(client, pool)
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
            "wrongPassword": wrong.brief(),
            "message": wrong.message,
            "isSameAccount": again.user_id == ada.user_id,
            "found": [one.handle for one in found],
            "displayName": user.display_name,
            "withoutToken": refused(lambda: call("users", "ListUsers")).brief(),
            "streamWithoutToken": refused(lambda: list(self.notes.subscribe(None, []))).brief(),
            # Sets the header directly, without a timeout of the client, so that the server's status is received.
            "lateCall": refused(lambda: call("auth", "SignIn", headers=[self.client.late], **account)).brief(),
            **self.conversation(),
            "lateStream": self.late_stream().code,
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
            "idReused": refused(lambda: send("something else", once)).brief(),
            # One byte longer than the limit of a text.
            "violations": refused(lambda: send(f"{list(self.texts)[-1]}!", "no id")).brief(),
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
            if error.code != "RESOURCE_EXHAUSTED" or time.monotonic() > give_up:
                return error
            time.sleep(0.2)

    def brief_message(self, entry):
        return {"seq": entry.seq, "text": self.texts.get(entry.message.text, entry.message.text)}
