"""A TCP proxy that records every byte and forwards it unchanged."""

import collections
import contextlib
import socket
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = 9
DATA = 0


class Tap:
    """Listens on its own port and forwards to `target`, which serves HTTP/2 without TLS."""

    def __init__(self, target):
        self.host, self.port = target.split(":")
        # Per connection: the bytes to the target, and the bytes from it.
        self.recorded = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.address = f"http://{self.at}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        """Accepts no more connections. Open ones end with their peers."""
        # Closing the socket alone would not wake the waiting thread.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def calls(self):
        """Per call: the bytes of its request and of its response, without HTTP/2 framing."""
        found = []
        for there, back in self.recorded:
            sent, received = _data(bytes(there).removeprefix(PREFACE)), _data(bytes(back))
            found += [(sent[stream], received[stream]) for stream in sorted(sent)]
        return found

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection((self.host, int(self.port)))
                there, back = bytearray(), bytearray()
                self.recorded.append((there, back))
                for ends in ((near, far, there), (far, near, back)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source, sink, recorded):
    with contextlib.suppress(OSError), source:
        while piece := source.recv(65_536):
            recorded += piece
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def _data(recorded):
    """The contents of the DATA frames of each stream."""
    streams = collections.defaultdict(bytes)
    at = 0
    while at + FRAME_HEAD <= len(recorded):
        length, kind = int.from_bytes(recorded[at : at + 3]), recorded[at + 3]
        stream = int.from_bytes(recorded[at + 5 : at + FRAME_HEAD])
        at += FRAME_HEAD
        if kind == DATA:
            streams[stream] += recorded[at : at + length]
        at += length
    return streams
