"""A wire that somebody listens to: every byte is passed on as it comes, and is taken down before."""

import collections
import contextlib
import socket
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9
DATA = 0


class Tap:
    """A port of its own that leads to `target`, where HTTP/2 in the clear is spoken."""

    def __init__(self, target):
        self.host, self.port = target.split(":")
        # Of each connection: what went to the target, and what came from it.
        self.heard = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.address = f"http://{self.at}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        """No more connections; those that are open end with their peers."""
        # Closing alone would not wake the thread that waits.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def calls(self):
        """Of each call: the bytes of its request and of its answer, without HTTP/2's frames."""
        found = []
        for there, back in self.heard:
            said, told = _data(bytes(there).removeprefix(PREFACE)), _data(bytes(back))
            found += [(said[stream], told[stream]) for stream in sorted(said)]
        return found

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection((self.host, int(self.port)))
                there, back = bytearray(), bytearray()
                self.heard.append((there, back))
                for ends in ((near, far, there), (far, near, back)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source, sink, heard):
    with contextlib.suppress(OSError), source:
        while piece := source.recv(65_536):
            heard += piece
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def _data(heard):
    """What the DATA frames of each stream hold."""
    streams = collections.defaultdict(bytes)
    at = 0
    while at + FRAME_HEAD <= len(heard):
        length, kind = int.from_bytes(heard[at : at + 3]), heard[at + 3]
        stream = int.from_bytes(heard[at + 5 : at + FRAME_HEAD])
        at += FRAME_HEAD
        if kind == DATA:
            streams[stream] += heard[at : at + length]
        at += length
    return streams
