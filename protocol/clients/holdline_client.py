#!/usr/bin/env python3
"""A Holdline client and alerter written from PROTOCOL.md alone: a codec of frames and a small command line.

holdline_client.py vectors PROTOCOL.md | client HOST:PORT --id N ... | alert [::1]:7001 --client N ...
"""
from __future__ import annotations

import argparse
import json
import re
import select
import socket
import struct
import sys
import time
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Iterator, NamedTuple, Optional

MAX_LENGTH, FOREVER = 4160, float("inf")
REFUSED = {1: "full", 2: "no version in common", 3: "bad credential", 4: "shutting down"}
GOODBYE = {1: "leaving", 2: "replaced", 3: "silent for too long", 4: "shutting down", 5: "protocol error",
           6: "not registered in time", 7: "does not read"}
OUTCOMES = {0: "acknowledged", 1: "sent", 2: "offline", 3: "overloaded", 4: "timed out"}
# Type: name, format and names of the fixed fields, name of the bytes after them ("": ignored), most of those bytes.
LAYOUTS: dict[int, tuple[str, str, tuple[str, ...], str, int]] = {
    0x01: ("Hello", ">4xHI", ("version", "features"), "", MAX_LENGTH), 0x05: ("Nop", "", (), "", 0),
    0x02: ("Register", ">Q", ("client_id",), "credential", 256), 0x06: ("NopAck", "", (), "", 0),
    0x03: ("Registered", ">I", ("idle_timeout_ms",), "", 0), 0x04: ("Refused", ">BI", ("reason", "retry_after_ms"), "", 0),
    0x07: ("Tap", ">Q", ("tap_id",), "payload", 4096), 0x08: ("TapAck", ">Q", ("tap_id",), "", 0),
    0x09: ("Goodbye", ">BI", ("reason", "retry_after_ms"), "", 0),
    0x20: ("Alert", ">QQB", ("alert_id", "client_id", "wait"), "payload", 4096),
    0x21: ("AlertResult", ">QB", ("alert_id", "outcome"), "", 0)}
TYPES = {layout[0]: kind for kind, layout in LAYOUTS.items()}


class Incomplete(Exception):
    """The bytes are the beginning of a frame; keep them and wait for more."""


class Invalid(Exception):
    """What the peer sent is against the protocol; the connection ends."""


class Frame(NamedTuple):
    """A frame: the name of its type, and its fields by name: ints, and bytes for a tail."""
    name: str
    fields: dict[str, Any]

    def shown(self) -> dict[str, Any]:
        """The fields with bytes in hexadecimal."""
        return {key: value.hex() if isinstance(value, bytes) else value for key, value in self.fields.items()}

    def encode(self) -> bytes:
        """The bytes of the frame. Raises ValueError or struct.error where a field is out of its range."""
        name, form, names, tail_name, tail_max = LAYOUTS[TYPES[self.name]]
        body, tail = struct.pack(form, *map(self.fields.get, names)), self.fields.get(tail_name, b"")
        if len(tail) > tail_max:
            raise ValueError(f"{tail_name} of {len(tail)} bytes")
        body = (b"HOLD" + body[4:] if name == "Hello" else body) + tail
        return struct.pack(">HB", 1 + len(body), TYPES[name]) + body


def encode(name: str, **fields: Any) -> bytes:
    """The bytes of a frame."""
    return Frame(name, fields).encode()


def decode(data: bytes) -> tuple[Optional[Frame], int]:
    """The first frame of `data` (None for one to skip) and its size. Raises Incomplete or Invalid."""
    length = int.from_bytes(data[:2], "big")
    if len(data) >= 2 and not 1 <= length <= MAX_LENGTH:
        raise Invalid(f"length {length}")
    if len(data) < 2 + length or len(data) < 3:
        raise Incomplete
    kind, body = data[2], bytes(data[3:2 + length])
    if kind not in LAYOUTS:
        if kind < 0x80:
            raise Invalid(f"type {kind:#04x}")
        return None, 2 + length
    name, form, names, tail_name, tail_max = LAYOUTS[kind]
    fixed = struct.calcsize(form)
    if not fixed <= len(body) <= fixed + tail_max:
        raise Invalid(f"{name} with a body of {len(body)} bytes")
    fields: dict[str, Any] = dict(zip(names, struct.unpack(form, body[:fixed])))
    if name == "Hello" and (body[:4] != b"HOLD" or fields["version"] == 0) or fields.get("wait", 0) > 1:
        raise Invalid(f"{name} with a wrong field")
    if tail_name:
        fields[tail_name] = body[fixed:]
    return Frame(name, fields), 2 + length


def take(buffer: bytearray) -> Iterator[Frame]:
    """Takes the complete frames off the front of `buffer`, passing over those to skip."""
    while True:
        try:
            frame, size = decode(buffer[:2 + MAX_LENGTH])
        except Incomplete:
            return
        del buffer[:size]
        if frame:
            yield frame


def run_vectors(args: argparse.Namespace) -> int:
    """Checks the codec against the vectors of the document."""
    with open(args.path, encoding="utf-8") as file:
        block = re.search(r"^```vectors\n(.*?)^```", file.read(), re.M | re.S)
    lines = [line for line in (block[1] if block else "").splitlines() if line.strip()]
    for line in lines:
        name, digits, meaning = re.findall(r"^(\S+)((?:\s+[0-9a-f]+)+)\s+(\S.*?)\s*$", line)[0]
        data = bytes.fromhex(digits)
        try:
            frame, size = decode(data)
            found = " ".join([frame.name, *(f"{k}={v}" for k, v in frame.shown().items())]) if frame else "skipped"
            if size != len(data):
                found += f", leaving {len(data) - size} bytes"
            elif frame and not (frame.name == "Hello" and size > 13) and frame.encode() != data:
                found += f", encoded to {frame.encode().hex()}"
        except (Incomplete, Invalid) as error:
            found = type(error).__name__.lower()
        if found != meaning:
            print(f"{name}: the document says {meaning!r}, the codec {found!r}")
            return 1
    print(f"{len(lines)} vectors agree" if lines else "no vectors found")
    return 0 if lines else 1


def say(event: str, **more: object) -> None:
    """Prints one thing that happened as a line of JSON."""
    print(json.dumps({"event": event, **more}), flush=True)


class Connection:
    """One held connection: registers, acknowledges taps, sends Nops."""

    def __init__(self, address: tuple[str, int], client_id: int, nop: bool, timeout: float) -> None:
        self.id, self.nop, self.hello, self.registered = client_id, nop, {}, False
        self.taps = self.nops = self.acks = 0
        self.interval = self.nop_at = FOREVER
        self.buffer, self.socket = bytearray(), socket.create_connection(address, timeout)
        self.send(encode("Hello", version=1, features=0) + encode("Register", client_id=client_id))

    def send(self, data: bytes, nops: int = 0) -> None:
        """Sends frames in one write, `nops` of them Nops; any frame puts off the next Nop that is due."""
        self.socket.sendall(data)
        self.nops += nops
        self.nop_at = time.monotonic() + self.interval

    def ready(self) -> bool:
        """Whether all that is wanted has come, taps aside."""
        return self.registered and (self.acks > 0 or not self.nop)

    def receive(self) -> bool:
        """Acts on what has come; False once the server has ended the connection. Raises Invalid."""
        data = self.socket.recv(65536)
        self.buffer += data
        acks = []
        for frame in take(self.buffer):
            name, fields = frame
            if name == "Hello" and not self.hello:
                self.hello = fields
            elif name == "Goodbye" or name == "Refused" and not self.registered:
                meaning = (GOODBYE if name == "Goodbye" else REFUSED).get(fields["reason"], "other")
                say(name.lower(), id=self.id, **fields, meaning=meaning)
                if meaning == "protocol error":
                    raise Invalid("says the server")
                return False
            elif name == "Registered" and self.hello == {"version": 1, "features": 0} and not self.registered:
                self.registered, self.interval = True, fields["idle_timeout_ms"] * 0.0004 or FOREVER
                say("registered", id=self.id, **fields)
                self.send(encode("Nop") if self.nop else b"", int(self.nop))
            elif name == "NopAck" and self.acks < self.nops:
                self.acks += 1
                say("nop_ack", id=self.id)
            elif name == "Tap" and self.registered:
                say("tap", id=self.id, **frame.shown())
                acks.append(encode("TapAck", tap_id=fields["tap_id"]))
            else:
                raise Invalid(f"{name} out of place")
        if acks:
            self.send(b"".join(acks))
            self.taps += len(acks)
        return bool(data)

    def leave(self) -> None:
        """Sends Goodbye and closes, reading on for a moment until the server closes: to close with bytes unread
        resets the connection, and the server may lose what was sent last."""
        try:
            self.socket.settimeout(0.5)
            self.send(encode("Goodbye", reason=1, retry_after_ms=0))
            self.socket.shutdown(socket.SHUT_WR)
            until = time.monotonic() + 0.5
            while self.socket.recv(65536) and time.monotonic() < until:
                pass
        except OSError:
            pass
        self.socket.close()


def run_client(args: argparse.Namespace) -> int:
    """Holds a connection per id until the taps wanted are acknowledged. `closed` means by the server."""
    deadline, held, gone = time.monotonic() + args.timeout, [], 0
    selector = DefaultSelector()
    try:
        for client_id in args.id:
            held.append(Connection(args.address, client_id, args.nop, max(0.01, deadline - time.monotonic())))
            selector.register(held[-1].socket, EVENT_READ, held[-1])
        while not all(c.ready() for c in held) or gone + sum(c.taps for c in held) < args.taps:
            left = deadline - time.monotonic()
            if left <= 0 or not held:
                raise OSError("timed out" if held else "all connections closed")
            for key, _ in selector.select(min(left, min(c.nop_at for c in held) - time.monotonic())):
                connection, alive = key.data, False
                try:
                    alive = connection.receive()
                except ConnectionError:
                    pass
                except Invalid as error:
                    say("protocol_error", id=connection.id, detail=str(error))
                    return 1
                if not alive:
                    say("closed", id=connection.id)
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    held.remove(connection)
                    gone += connection.taps
                    if not connection.ready():
                        return 1
            for connection in held:
                if connection.nop_at <= time.monotonic():
                    connection.send(encode("Nop"), 1)
        return 0
    except OSError as error:
        say("failed", detail=str(error))
        return 1
    finally:
        for connection in held:
            connection.leave()


def run_alert(args: argparse.Namespace) -> int:
    """Sends alerts and waits for their results."""
    deadline, flight = time.monotonic() + args.timeout, set(range(1, args.count + 1))
    wanted = {"client_id": args.client, "wait": int(args.wait), "payload": args.payload.encode()}
    out = encode("Hello", version=1, features=0) + b"".join(encode("Alert", alert_id=i, **wanted) for i in sorted(flight))
    view, buffer, hello = memoryview(out), bytearray(), False
    try:
        with socket.create_connection(args.address, args.timeout) as sock:
            sock.setblocking(False)
            while flight:
                left = max(0.0, deadline - time.monotonic())
                readable, writable, _ = select.select([sock], [sock] if view else [], [], left)
                if left == 0 or not readable and not writable:
                    raise OSError("timed out")
                view = view[sock.send(view):] if writable else view
                data = sock.recv(65536) if readable else b""
                buffer += data
                for name, fields in take(buffer):
                    if name == "Hello" and not hello and fields["version"] == 1:
                        hello = True
                    elif name == "AlertResult" and hello and fields["alert_id"] in flight:
                        flight.remove(fields["alert_id"])
                        say("result", alert_id=fields["alert_id"], outcome=OUTCOMES.get(fields["outcome"], "other"))
                    else:
                        raise Invalid(f"{name} {fields} out of place")
                if readable and not data:
                    raise OSError("closed by the server")
        return 0
    except (OSError, Invalid) as error:
        say("failed", detail=str(error), missing=len(flight))
        return 1


def host_port(text: str) -> tuple[str, int]:
    """Parses HOST:PORT or [IPV6]:PORT."""
    host, port = re.fullmatch(r"(\[[^][]+\]|[^][:]+):(\d+)", text).groups()  # type: ignore[union-attr]
    return host.strip("[]"), int(port)


def main() -> int:
    """Parses the command line and runs a subcommand; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    vectors, client, alert = (commands.add_parser(name) for name in ("vectors", "client", "alert"))
    vectors.add_argument("path")
    client.add_argument("--id", type=int, action="append", required=True)
    client.add_argument("--taps", type=int, default=0)
    client.add_argument("--nop", action="store_true")
    alert.add_argument("--client", type=int, required=True)
    alert.add_argument("--count", type=int, default=1)
    alert.add_argument("--payload", default="")
    alert.add_argument("--no-wait", dest="wait", action="store_false")
    for command in (client, alert):
        command.add_argument("address", metavar="HOST:PORT")
        command.add_argument("--timeout", type=float, default=10.0)
    args = parser.parse_args()
    try:
        if args.command != "vectors":
            args.address = host_port(args.address)
        return {"vectors": run_vectors, "client": run_client, "alert": run_alert}[args.command](args)
    except (AttributeError, ValueError, struct.error) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
