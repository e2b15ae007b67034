"""E-mails through a real SMTP server: over TLS, refused for good or for now, and by a process that is killed."""

import email
import email.policy
import json
import pathlib
import re
import ssl
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from contracts import REPOSITORY
from mesh import BINARY, Mesh, free_ports

TLS = REPOSITORY / "tests" / "tls"
WAIT = 60
PASSWORD = "correct horse battery staple"
SECRET = "the secret of the server"
PAGE = "https://chat.example.org"
LINK = re.compile(re.escape(PAGE) + r"/#/([a-z-]+)/(trm_[\w-]+)")
#: Retries follow one another quickly, and the jobs of a killed process are soon free.
JOBS = '[jobs]\nbackoff = "50ms"\nmost_backoff = "200ms"\npoll_interval = "50ms"\nlease = "1s"\n'


class Inbox:
    """What an SMTP server does with mails: `replies` are the codes of the next ones."""

    def __init__(self):
        self.mails = []
        self.replies = []
        self.received = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        if self.replies and self.replies[0].startswith("550"):
            return self.replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        is_tls = server.transport.get_extra_info("ssl_object") is not None
        self.mails.append((mail, envelope.rcpt_tos, is_tls, session.authenticated))
        self.received.set()
        while not self.hold.is_set():
            await server.loop.run_in_executor(None, self.hold.wait, 0.1)
        return self.replies.pop(0) if self.replies else "250 OK"


def authenticate(_server, _session, _envelope, _mechanism, data):
    right = data.login == b"trellis" and data.password == SECRET.encode()
    return AuthResult(success=right, handled=False)


def until(what, holds):
    deadline = time.monotonic() + WAIT
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)
    return found


def link(mail, page):
    """The token of the link in the mail, the same in both of its forms."""
    text = mail.get_body(("plain",)).get_content()
    html = mail.get_body(("html",)).get_content().replace("&#x2f;", "/")
    [(found, token)] = LINK.findall(text)
    assert found == page and token in html, text
    return token


class Mail(unittest.TestCase):
    def serve(self, tls="implicit", **settings):
        """Starts an SMTP server and a mesh that sends its mails to it."""
        self.inbox = Inbox()
        [port] = free_ports(1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "server.crt", TLS / "server.key")
        kind = {"implicit": {"ssl_context": context}, "starttls": {"tls_context": context, "require_starttls": True}}
        # A name of the certificate.
        smtp = Controller(self.inbox, hostname="localhost", port=port, **(kind.get(tls, {}) | settings))
        smtp.start()
        self.addCleanup(smtp.stop)
        self.addCleanup(self.inbox.hold.set)
        self.mesh = Mesh()
        section = (
            f'[auth.mail]\nserver = "localhost"\nport = {port}\nfrom = "Trellis <no-reply@example.org>"\n'
            f'reply_to = "help@example.org"\nbase_url = "{PAGE}"\n'
        )
        section += f'tls = "{tls if tls in kind or tls == "loopback" else "starttls"}"\n'
        section += f'ca = "{TLS / "authority.crt"}"\n' if tls != "loopback" else ""
        self.mesh.configure(JOBS + section + self.credentials(settings))
        self.enterContext(self.mesh)

    def credentials(self, settings):
        if "authenticator" not in settings:
            return ""
        file = self.mesh.folder / "password"
        file.write_text(SECRET + "\n")
        file.chmod(0o600)
        return f'user = "trellis"\npassword_file = "{file}"\n'

    def call(self, method, headers=(), **fields):
        url = f"http://{self.mesh.address['gateway']}/v1/auth:{method}"
        headers = {"content-type": "application/json", **dict(headers)}
        request = urllib.request.Request(url, json.dumps(fields).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def sign_up(self, handle):
        fields = {"email": f"{handle}@example.org", "password": PASSWORD, "handle": handle, "displayName": handle}
        self.assertIn("tokens", self.call("signUp", **fields))

    def jobs(self, *arguments):
        command = [BINARY, "--config", str(self.mesh.file), "jobs", "list", "--kind", "mail.queued", *arguments]
        environment = {"XDG_DATA_HOME": str(self.mesh.folder / "data"), "HOME": str(self.mesh.folder)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def mails(self, count):
        until(f"{count} mails", lambda: len(self.inbox.mails) >= count)
        return self.inbox.mails

    def assert_done(self):
        until("no job is left", lambda: "no jobs" in self.jobs())

    def test_password_is_reset_by_a_mail_over_tls(self):
        self.serve(authenticator=authenticate, auth_required=True, auth_require_tls=False)
        self.sign_up("ada")
        [(mail, recipients, is_tls, is_authenticated)] = self.mails(1)
        self.assertEqual((recipients, is_tls, is_authenticated), (["ada@example.org"], True, True))
        self.assertEqual((mail["from"], mail["reply-to"]), ("Trellis <no-reply@example.org>", "help@example.org"))
        self.assertEqual((mail["subject"], mail["auto-submitted"]), ("Verify your e-mail address", "auto-generated"))
        link(mail, "verify-email")
        self.call("requestPasswordReset", {"accept-language": "de"}, email="unknown@example.org")
        self.call("requestPasswordReset", {"accept-language": "de"}, email="ada@example.org")
        mail = self.mails(2)[1][0]
        token = link(mail, "reset-password")
        self.assertEqual(self.call("resetPassword", token=token, newPassword="another good password"), {})
        self.assertIn("tokens", self.call("signIn", email="ada@example.org", password="another good password"))
        self.assertEqual(self.mails(3)[2][0]["subject"], "Your password was changed")
        self.assert_done()
        self.assertEqual(len(self.inbox.mails), 3, "the unknown address gets none")
        self.assertNotIn("trm_", self.mesh.output())
        self.assertNotIn("ada@example.org", self.mesh.output())

    def test_starttls_is_used_and_required(self):
        self.serve("starttls")
        self.sign_up("ada")
        self.assertTrue(self.mails(1)[0][2])
        self.assert_done()

    def test_server_without_tls_gets_no_mail(self):
        self.serve("starttls without TLS")
        self.sign_up("ada")
        until("a failed attempt", lambda: "failure:" in self.jobs())
        self.assertEqual(self.inbox.mails, [])

    def test_permanent_refusal_is_a_dead_letter(self):
        self.serve("loopback")
        self.inbox.replies = ["550 5.1.1 <ada@example.org> is unknown"]
        self.sign_up("ada")
        text = until("a dead letter", lambda: self.jobs("--state", "dead").removeprefix("no jobs").strip())
        self.assertIn("failure: the SMTP server refused the mail with 550 5.1.1", text)
        self.assertNotIn("ada@", text)
        self.assertEqual(self.inbox.mails, [])

    def test_temporary_refusal_is_retried_with_the_same_mail(self):
        self.serve("loopback")
        self.inbox.replies = ["451 4.3.0 later", "451 4.3.0 later"]
        self.sign_up("ada")
        self.assert_same_mail(self.mails(3))
        self.assert_done()
        self.assertEqual(len(self.inbox.mails), 3)

    def test_mail_of_a_killed_process_arrives(self):
        self.serve("loopback")
        self.inbox.hold.clear()
        self.sign_up("ada")
        self.assertTrue(self.inbox.received.wait(WAIT))
        # The server has the mail, and the process does not know it.
        self.mesh.process.kill()
        self.mesh.process.wait()
        self.inbox.hold.set()
        self.mesh.start()
        self.assert_same_mail(self.mails(2))
        self.assert_done()
        self.assertEqual(len(self.inbox.mails), 2, "one copy for one crash")

    def assert_same_mail(self, mails):
        seen = {(mail["message-id"], mail["date"], link(mail, "verify-email")) for mail, *_ in mails}
        self.assertEqual(len(seen), 1, seen)

    def test_missing_setting_is_named_at_the_start(self):
        folder = pathlib.Path(self.enterContext(Mesh()).folder)
        file = folder / "wrong.toml"
        for setting, why in [
            ('server = "localhost"', "auth.mail.from: is empty, but auth.mail.server needs it"),
            ('server = "mx"\nfrom = "a@example.org"\nbase_url = "http://x.org"', "auth.mail.base_url"),
            ('templates = "/nowhere"', "auth.mail.templates: /nowhere: "),
            ('mailbox = "no"', "auth.mail.mailbox"),
        ]:
            file.write_text("[auth.mail]\n" + setting + "\n")
            command = [BINARY, "--config", str(file), "config", "--check"]
            done = subprocess.run(command, env={"HOME": str(folder)}, capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(why, done.stderr)
