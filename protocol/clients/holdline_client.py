#!/usr/bin/env python3
"""A Holdline client and alerter, written from PROTOCOL.md alone: a codec of frames and a small command line.

    holdline_client.py vectors PROTOCOL.md
    holdline_client.py client 127.0.0.1:7000 --id 1 --id 2 --taps 2 --nop
    holdline_client.py alert '[::1]:7001' --client 1 --payload hello
"""
from __future__ import annotations

import argparse
import json
import re
import select
import selectors
import socket
import struct
import sys
import time
from typing import Iterator, NamedTuple, Optional, Union

MAX_LENGTH = 4160
REFUSED = {1: "full", 2: "no version in common", 3: "bad credential", 4: "shutting down"}
GOODBYE = {1: "leaving", 2: "replaced", 3: "silent for too long", 4: "shutting down", 5: "protocol error",
           6: "not registered in time", 7: "does not read"}
OUTCOMES = {0: "acknowledged", 1: "sent", 2: "offline", 3: "overloaded", 4: "timed out"}


class Incomplete(Exception):
    """The bytes are the beginning of a frame; keep them and wait for more."""


class Invalid(Exception):
    """What the peer sent is against the protocol; the connection ends."""


class Layout(NamedTuple):
    """The body of a type: a fixed part, then a tail of at most `tail_max` bytes (`tail` empty: ignored)."""
    name: str
    fixed: struct.Struct
    fields: tuple[str, ...] = ()
    tail: str = ""
    tail_max: int = 0


LAYOUTS = {
    0x01: Layout("Hello", struct.Struct(">4xHI"), ("version", "features"), "", MAX_LENGTH),
    0x02: Layout("Register", struct.Struct(">Q"), ("client_id",), "credential", 256),
    0x03: Layout("Registered", struct.Struct(">I"), ("idle_timeout_ms",)),
    0x04: Layout("Refused", struct.Struct(">BI"), ("reason", "retry_after_ms")),
    0x05: Layout("Nop", struct.Struct("")),
    0x06: Layout("NopAck", struct.Struct("")),
    0x07: Layout("Tap", struct.Struct(">Q"), ("tap_id",), "payload", 4096),
    0x08: Layout("TapAck", struct.Struct(">Q"), ("tap_id",)),
    0x09: Layout("Goodbye", struct.Struct(">BI"), ("reason", "retry_after_ms")),
    0x20: Layout("Alert", struct.Struct(">QQB"), ("alert_id", "client_id", "wait"), "payload", 4096),
    0x21: Layout("AlertResult", struct.Struct(">QB"), ("alert_id", "outcome")),
}
TYPES = {layout.name: kind for kind, layout in LAYOUTS.items()}


class Frame:
    """A frame: the name of its type and its fields, as `frame["tap_id"]`."""

    def __init__(self, name: str, **fields: Union[int, bytes]) -> None:
        self.name, self.fields = name, fields

    def __getitem__(self, field: str) -> Union[int, bytes]:
        return self.fields[field]

    def __str__(self) -> str:
        """The frame as the document's vectors write it."""
        pairs = ((key, value.hex() if isinstance(value, bytes) else value) for key, value in self.fields.items())
        return " ".join([self.name, *(f"{key}={value}" for key, value in pairs)])


def encode(frame: Frame) -> bytes:
    """The bytes of a frame. Raises ValueError where a field is out of its range."""
    kind = TYPES[frame.name]
    layout = LAYOUTS[kind]
    try:
        body = layout.fixed.pack(*(frame[field] for field in layout.fields))
    except struct.error as error:
        raise ValueError(f"{frame}: {error}") from error
    if frame.name == "Hello":
        body = b"HOLD" + body[4:]
    tail = frame[layout.tail] if layout.tail else b""
    if len(tail) > layout.tail_max:
        raise ValueError(f"{layout.tail} is longer than {layout.tail_max} bytes")
    return struct.pack(">HB", 1 + len(body) + len(tail), kind) + body + tail


def decode(data: bytes) -> tuple[Optional[Frame], int]:
    """The first frame of `data` (None for one to be skipped) and its size. Raises Incomplete or Invalid."""
    if len(data) < 2:
        raise Incomplete
    length = int.from_bytes(data[:2], "big")
    if not 1 <= length <= MAX_LENGTH:
        raise Invalid(f"length {length}")
    size = 2 + length
    if len(data) < size:
        raise Incomplete
    kind, body = data[2], bytes(data[3:size])
    layout = LAYOUTS.get(kind)
    if layout is None:
        if kind < 0x80:
            raise Invalid(f"type 0x{kind:02x}")
        return None, size
    fixed = layout.fixed.size
    if not fixed <= len(body) <= fixed + layout.tail_max:
        raise Invalid(f"{layout.name} with a body of {len(body)} bytes")
    frame = Frame(layout.name, **dict(zip(layout.fields, layout.fixed.unpack(body[:fixed]))))
    if layout.tail:
        frame.fields[layout.tail] = body[fixed:]
    if layout.name == "Hello" and (body[:4] != b"HOLD" or frame["version"] == 0):
        raise Invalid("not a Holdline Hello")
    if layout.name == "Alert" and frame["wait"] > 1:
        raise Invalid("unknown flags of an Alert")
    return frame, size


def take(buffer: bytearray) -> Iterator[Frame]:
    """Takes the complete frames off the front of `buffer`, passing over those to be skipped."""
    while True:
        try:
            frame, size = decode(buffer[:2 + MAX_LENGTH])
        except Incomplete:
            return
        del buffer[:size]
        if frame is not None:
            yield frame


def check_vectors(path: str) -> int:
    """Checks the codec against the vectors of the document; the exit code."""
    with open(path, encoding="utf-8") as file:
        block = re.search(r"^```vectors\n(.*?)^```", file.read(), re.M | re.S)
    lines = [line for line in block[1].splitlines() if line.strip()] if block else []
    for line in lines:
        name, digits, meaning = re.fullmatch(r"(\S+)((?:\s+[0-9a-f]+)+)\s+(\S.*?)\s*", line).groups()
        data = bytes.fromhex("".join(digits.split()))
        try:
            frame, size = decode(data)
            found = "skipped" if frame is None else str(frame)
            if size != len(data):
                found += f", of {size} bytes"
            elif frame and not (frame.name == "Hello" and size > 13) and encode(frame) != data:
                found += f", which encodes to {encode(frame).hex()}"
        except (Incomplete, Invalid) as error:
            found = type(error).__name__.lower()
        if found != meaning:
            print(f"{name}: expected {meaning!r}, found {found!r}")
            return 1
    print(f"{len(lines)} vectors agree")
    return 0 if lines else 1


def say(event: str, **more: object) -> None:
    """Prints one thing that happened as a line of JSON."""
    print(json.dumps({"event": event, **more}), flush=True)


class Connection:
    """One held connection of a client: registers, acknowledges taps, sends Nops."""

    def __init__(self, address: tuple[str, int], client_id: int, deadline: float, nop: bool) -> None:
        self.id, self.nop, self.hello = client_id, nop, None
        self.registered, self.idle, self.nops, self.acks, self.taps = False, 0.0, 0, 0, 0
        self.buffer = bytearray()
        self.socket = socket.create_connection(address, max(0.01, deadline - time.monotonic()))
        self.send(Frame("Hello", version=1, features=0), Frame("Register", client_id=client_id, credential=b""))

    def send(self, *frames: Frame) -> None:
        """Sends frames in one write."""
        self.socket.sendall(b"".join(map(encode, frames)))
        self.nop_at = time.monotonic() + self.idle * 0.4 if self.idle else float("inf")

    def send_nop(self) -> None:
        """Sends a Nop, which is to be answered."""
        self.nops += 1
        self.send(Frame("Nop"))

    @property
    def ready(self) -> bool:
        """Whether all but taps has come."""
        return self.registered and (self.acks > 0 or not self.nop)

    def receive(self) -> bool:
        """Reads and acts on what has come; False at the connection's end. Raises Invalid on a protocol error."""
        data = self.socket.recv(65536)
        self.buffer += data
        for frame in take(self.buffer):
            fields = {"id": self.id, **{k: v.hex() if isinstance(v, bytes) else v for k, v in frame.fields.items()}}
            if frame.name == "Hello" and self.hello is None:
                self.hello = frame
            elif frame.name == "Refused" and not self.registered:
                say("refused", **fields, meaning=REFUSED.get(frame["reason"], "other"))
                return False
            elif frame.name == "Goodbye":
                say("goodbye", **fields, meaning=GOODBYE.get(frame["reason"], "other"))
                return False
            elif frame.name == "Registered" and str(self.hello) == "Hello version=1 features=0" and not self.registered:
                self.registered, self.idle = True, frame["idle_timeout_ms"] / 1000
                self.nop_at = time.monotonic() + self.idle * 0.4 if self.idle else float("inf")
                say("registered", **fields)
                if self.nop:
                    self.send_nop()
            elif frame.name == "NopAck" and self.acks < self.nops:
                self.acks += 1
                say("nop_ack", **fields)
            elif frame.name == "Tap" and self.registered:
                say("tap", **fields)
                self.send(Frame("TapAck", tap_id=frame["tap_id"]))
                self.taps += 1
            else:
                raise Invalid(f"{frame.name} out of place")
        return bool(data)


def leave(connections: list[Connection], reason: int = 1) -> None:
    """Sends Goodbye and closes, reading for up to a second until the server has closed: closing with unread
    bytes would reset the connection, and the server might then lose the last frames sent."""
    until = time.monotonic() + 1
    for draining in (False, True):
        for connection in connections:
            try:
                connection.socket.settimeout(max(0.01, until - time.monotonic()))
                if not draining:
                    connection.send(Frame("Goodbye", reason=reason, retry_after_ms=0))
                    connection.socket.shutdown(socket.SHUT_WR)
                while draining and time.monotonic() < until and connection.socket.recv(65536):
                    pass
            except OSError:
                pass
    for connection in connections:
        connection.socket.close()


def run_client(args: argparse.Namespace) -> int:
    """Holds a connection per id until the taps wanted were acknowledged; the exit code.

    `closed` is printed when the server ends a connection, not when this program leaves."""
    deadline = time.monotonic() + args.timeout
    held: list[Connection] = []
    taps_of_closed = 0
    with selectors.DefaultSelector() as selector:
        try:
            for client_id in args.id:
                held.append(Connection(args.address, client_id, deadline, args.nop))
                selector.register(held[-1].socket, selectors.EVENT_READ, held[-1])
            while not (all(c.ready for c in held) and taps_of_closed + sum(c.taps for c in held) >= args.taps):
                now = time.monotonic()
                if now >= deadline or not held:
                    say("timeout" if held else "failed")
                    return 1
                for key, _ in selector.select(min(deadline, *(c.nop_at for c in held)) - now):
                    connection, alive = key.data, False
                    connection.socket.settimeout(max(0.01, deadline - time.monotonic()))
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
                        taps_of_closed += connection.taps
                        if not connection.ready:
                            return 1
                for connection in held:
                    if connection.nop_at <= time.monotonic():
                        connection.send_nop()
            return 0
        except OSError as error:
            say("failed", detail=str(error))
            return 1
        finally:
            leave(held)


def run_alert(args: argparse.Namespace) -> int:
    """Sends alerts and waits for their results; the exit code."""
    deadline = time.monotonic() + args.timeout
    flight = set(range(1, args.count + 1))
    alerts = (Frame("Alert", alert_id=i, client_id=args.client, wait=int(args.wait), payload=args.payload.encode())
              for i in sorted(flight))
    out = bytearray().join(map(encode, (Frame("Hello", version=1, features=0), *alerts)))
    buffer, hello = bytearray(), False
    try:
        with socket.create_connection(args.address, args.timeout) as connection:
            connection.setblocking(False)
            while flight:
                wait = max(0.0, deadline - time.monotonic())
                readable, writable, _ = select.select([connection], [connection] if out else [], [], wait)
                if not readable and not writable:
                    raise TimeoutError("timed out")
                if writable:
                    del out[:connection.send(out[:65536])]
                data = connection.recv(65536) if readable else b""
                buffer += data
                for frame in take(buffer):
                    if frame.name == "Hello" and not hello and frame["version"] == 1:
                        hello = True
                    elif frame.name == "AlertResult" and hello and frame["alert_id"] in flight:
                        flight.remove(frame["alert_id"])
                        say("result", alert_id=frame["alert_id"], outcome=OUTCOMES.get(frame["outcome"], "other"))
                    else:
                        raise Invalid(f"{frame} out of place")
                if readable and not data:
                    raise ConnectionError("closed by the server")
        return 0
    except (OSError, Invalid) as error:
        say("failed", detail=str(error), missing=len(flight))
        return 1


def address(text: str) -> tuple[str, int]:
    """Parses HOST:PORT or [IPV6]:PORT."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT or [IPV6]:PORT")
    return match[1] or match[2], int(match[3])


def u64(text: str) -> int:
    """Parses an unsigned number of 64 bits."""
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a u64")
    return int(text)
