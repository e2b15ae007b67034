"""The real binary on free ports and with its own data folder.

    with Mesh() as mesh: …            # SIGTERM at the end; anything but exit 0 is an error
"""

import errno
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from contracts import REPOSITORY, SERVICES

BINARY = os.environ.get("TRELLIS_TEST_BINARY", str(REPOSITORY / "target" / "debug" / "trellis"))
PARTS = ("gateway", "admin", *SERVICES)
# Git stores only the executable bit, and the process refuses keys that other users may read.
for key in (REPOSITORY / "tests" / "tls").glob("*.key"):
    key.chmod(0o600)
START_TIMEOUT = 60
STOP_TIMEOUT = 40


_held = []


def free_ports(count):
    """Ports that the system reserves for this process until it ends.

    A socket stays bound to each port, on both loopbacks, without listening. SO_REUSEADDR is set afterwards, so that a
    server may bind the same port repeatedly.
    """
    found = []
    while len(found) < count:
        sockets = [socket.socket(socket.AF_INET)] + ([socket.socket(socket.AF_INET6)] if socket.has_ipv6 else [])
        sockets[0].bind(("127.0.0.1", 0))
        port = sockets[0].getsockname()[1]
        try:
            for other in sockets[1:]:
                other.bind(("::1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            # The machine has no IPv6.
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.extend(sockets)
        found.append(port)
    return found


class Mesh:
    """`trellis` without arguments; `address["gateway"]` and so on are `host:port`. `configuration` is TOML."""

    def __init__(self, configuration=""):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trellis-mesh-"))
        self.address = {part: f"127.0.0.1:{port}" for part, port in zip(PARTS, free_ports(len(PARTS)))}
        self.log = self.folder / "log"
        self.process = None
        self.file = self.folder / "trellis.toml"
        self.file.write_text(configuration)

    def configure(self, configuration):
        """Replaces the configuration atomically: a reader sees the old or the new one."""
        new = self.folder / "trellis.toml.new"
        new.write_text(configuration)
        new.replace(self.file)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            self.kill()

    def environment(self):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")}
        listens = {f"TRELLIS_{part.upper()}__LISTEN": address for part, address in self.address.items()}
        return inherited | listens | {"XDG_DATA_HOME": str(self.folder / "data"), "HOME": str(self.folder)}

    def admin_code(self):
        """A code that makes an account an admin."""
        command = [BINARY, "--config", str(self.file), "admin", "invite"]
        output = subprocess.run(command, cwd=self.folder, env=self.environment(), check=True, capture_output=True, text=True)
        return output.stdout.splitlines()[0].partition("/#/admin/")[2]

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "--config", str(self.file)],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_until_ready()

    def wait_until_ready(self):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"trellis ended with {self.process.returncode}:\n{self.output()}")
            try:
                url = f"http://{self.address['gateway']}/readyz?verbose"
                with urllib.request.urlopen(url, timeout=2) as response:
                    if b"[-]" not in response.read():
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise RuntimeError(f"trellis was not ready within {START_TIMEOUT} s:\n{self.output()}")

    def stop(self):
        """Sends SIGTERM, as Kubernetes does."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_TIMEOUT)
        if code != 0:
            raise RuntimeError(f"trellis ended with {code} after SIGTERM:\n{self.output()}")

    def kill(self):
        """Kills the process and removes its files, whatever happened before."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def output(self):
        return self.log.read_text(errors="replace")[-8000:]
