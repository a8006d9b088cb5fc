#!/usr/bin/env python3
"""A Holdline client and alerter, written from PROTOCOL.md alone: a codec of frames and a small command line."""
from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import sys
import time
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Iterator, Optional

MAX_LENGTH, FOREVER = 4160, float("inf")
REFUSED = {1: "full", 2: "no version in common", 3: "bad credential", 4: "shutting down"}
GOODBYE = {1: "leaving", 2: "replaced", 3: "silent for too long", 4: "shutting down", 5: "protocol error",
           6: "not registered in time", 7: "does not read"}
OUTCOMES = {0: "acknowledged", 1: "sent", 2: "offline", 3: "overloaded", 4: "timed out"}
# Type: name, format and names of the fixed fields, name of the bytes after them ("": ignored), most of those bytes.
LAYOUTS: dict[int, tuple[str, str, tuple[str, ...], str, int]] = {
    0x01: ("Hello", ">4xHI", ("version", "features"), "", MAX_LENGTH),
    0x02: ("Register", ">Q", ("client_id",), "credential", 256),
    0x03: ("Registered", ">I", ("idle_timeout_ms",), "", 0),
    0x04: ("Refused", ">BI", ("reason", "retry_after_ms"), "", 0),
    0x05: ("Nop", "", (), "", 0), 0x06: ("NopAck", "", (), "", 0),
    0x07: ("Tap", ">Q", ("tap_id",), "payload", 4096), 0x08: ("TapAck", ">Q", ("tap_id",), "", 0),
    0x09: ("Goodbye", ">BI", ("reason", "retry_after_ms"), "", 0),
    0x20: ("Alert", ">QQB", ("alert_id", "client_id", "wait"), "payload", 4096),
    0x21: ("AlertResult", ">QB", ("alert_id", "outcome"), "", 0)}
TYPES = {layout[0]: kind for kind, layout in LAYOUTS.items()}
Frame = tuple[str, dict[str, Any]]  # the name of its type, and its fields


class Incomplete(Exception):
    """The bytes are the beginning of a frame; keep them and wait for more."""


class Invalid(Exception):
    """What the peer sent is against the protocol; the connection ends."""


def encode(name: str, **fields: Any) -> bytes:
    """The bytes of a frame. Raises ValueError or struct.error where a field is out of its range."""
    _, form, names, tail_name, tail_max = LAYOUTS[TYPES[name]]
    body, tail = struct.pack(form, *map(fields.get, names)), fields.get(tail_name, b"")
    if len(tail) > tail_max:
        raise ValueError(f"{tail_name} of {len(tail)} bytes")
    body = (b"HOLD" + body[4:] if name == "Hello" else body) + tail
    return struct.pack(">HB", 1 + len(body), TYPES[name]) + body


def decode(data: bytes) -> tuple[Optional[Frame], int]:
    """The first frame of `data` (None for one to skip) and its size. Raises Incomplete or Invalid."""
    length = int.from_bytes(data[:2], "big")
    if len(data) >= 2 and not 1 <= length <= MAX_LENGTH:
        raise Invalid(f"length {length}")
    if len(data) < max(3, 2 + length):
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
    fields = dict(zip(names, struct.unpack(form, body[:fixed])), **({tail_name: body[fixed:]} if tail_name else {}))
    if name == "Hello" and (body[:4] != b"HOLD" or fields["version"] == 0) or fields.get("wait", 0) > 1:
        raise Invalid(f"{name} with a wrong field")
    return (name, fields), 2 + length


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


def shown(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a frame, with bytes in hexadecimal."""
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in fields.items()}


def say(event: str, **more: object) -> None:
    """Prints one thing that happened as a line of JSON."""
    print(json.dumps({"event": event, **more}), flush=True)


def run_vectors(args: argparse.Namespace) -> int:
    """Checks the codec against the vectors of the document."""
    with open(args.path, encoding="utf-8") as file:
        vectors = re.findall(r"^```vectors\n(.*?)^```", file.read(), re.M | re.S)
    text = re.sub(r"([0-9a-f]{2})\*(\d+)", lambda match: match[1] * int(match[2]), "".join(vectors))
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        match = re.findall(r"^(\S+)((?:\s+[0-9a-f]+)+)\s+(\S.*?)\s*$", line)
        name, digits, meaning = match[0] if match else (line, "", "no vector")
        data = bytes.fromhex(digits)
        try:
            frame, size = decode(data)
            found = " ".join([frame[0], *(f"{k}={v}" for k, v in shown(frame[1]).items())]) if frame else "skipped"
            again = encode(frame[0], **frame[1]) if frame else data
            if size != len(data) or again != data and not (size > 13 and found.startswith("Hello ")):
                found += f", {size} of {len(data)} bytes, encoded to {again.hex()}"
        except (Incomplete, Invalid) as error:
            found = type(error).__name__.lower()
        if found != meaning:
            print(f"{name}: the document says {meaning!r}, the codec {found!r}")
            return 1
    print(f"{len(lines)} vectors agree" if lines else "no vectors found")
    return 0 if lines else 1


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
        self.nops, self.nop_at = self.nops + nops, time.monotonic() + self.interval

    def ready(self) -> bool:
        """Whether all that is wanted has come, taps aside."""
        return self.registered and (self.acks > 0 or not self.nop)

    def receive(self) -> None:
        """Acts on what has come. Raises ConnectionError once the server has ended the connection, or Invalid."""
        data, acks = self.socket.recv(65536), []
        self.buffer += data
        for name, fields in take(self.buffer):
            if name == "Hello" and not self.hello:
                self.hello = fields
            elif name == "Goodbye" or name == "Refused" and not self.registered:
                meaning = (GOODBYE if name == "Goodbye" else REFUSED).get(fields["reason"], "other")
                say(name.lower(), id=self.id, **fields, meaning=meaning)
                raise Invalid(f"{self.id}: says the server") if meaning == "protocol error" else ConnectionError
            elif name == "Registered" and self.hello == {"version": 1, "features": 0} and not self.registered:
                self.registered, self.interval = True, fields["idle_timeout_ms"] * 0.0004 or FOREVER
                say("registered", id=self.id, **fields)
                self.send(encode("Nop") if self.nop else b"", int(self.nop))
            elif name == "NopAck" and self.acks < self.nops:
                self.acks += 1
                say("nop_ack", id=self.id)
            elif name == "Tap" and self.registered:
                say("tap", id=self.id, **shown(fields))
                acks.append(encode("TapAck", tap_id=fields["tap_id"]))
            else:
                raise Invalid(f"{self.id}: {name} out of place")
        if not data:
            raise ConnectionError
        if acks:
            self.send(b"".join(acks))
            self.taps += len(acks)

    def leave(self) -> None:
        """Sends Goodbye, and reads on for a moment before closing: to close with bytes unread resets the connection,
        and the server may lose what was sent last."""
        try:
            self.send(encode("Goodbye", reason=1, retry_after_ms=0))
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(0.3)
            until = time.monotonic() + 0.3
            while self.socket.recv(65536) and time.monotonic() < until:
                pass
        except OSError:
            pass
        self.socket.close()


def run_client(args: argparse.Namespace) -> int:
    """Holds a connection per id until the taps wanted are acknowledged. `closed` is printed of the server's closing."""
    deadline, held, selector = time.monotonic() + args.timeout, [], DefaultSelector()
    try:
        for client_id in args.id:
            held.append(Connection(args.address, client_id, args.nop, max(0.01, deadline - time.monotonic())))
            selector.register(held[-1].socket, EVENT_READ, held[-1])
        while not all(c.ready() for c in held) or sum(c.taps for c in held) < args.taps:
            now = time.monotonic()
            if now >= deadline or not selector.get_map():
                raise OSError("timed out" if now >= deadline else "all connections closed")
            for key, _ in selector.select(min(deadline, *(c.nop_at for c in held)) - now):
                try:
                    key.data.receive()
                except ConnectionError:
                    say("closed", id=key.data.id)
                    selector.unregister(key.fileobj)
                    key.data.socket.close()
                    key.data.interval = key.data.nop_at = FOREVER
                    if not key.data.ready():
                        return 1
            for connection in held:
                if connection.nop_at <= time.monotonic():
                    connection.send(encode("Nop"), 1)
        return 0
    finally:
        for connection in held:
            connection.leave()


def run_alert(args: argparse.Namespace) -> int:
    """Sends alerts, at most 256 in flight, and waits for their results."""
    deadline, todo, flight = time.monotonic() + args.timeout, list(range(1, args.count + 1)), set()
    wanted = {"client_id": args.client, "wait": int(args.wait), "payload": args.payload.encode()}
    out, buffer, hello = encode("Hello", version=1, features=0), bytearray(), {}
    with socket.create_connection(args.address, args.timeout) as connection:
        while todo or flight:
            room = 256 - len(flight)
            batch, todo = todo[:room], todo[room:]
            flight.update(batch)
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            connection.sendall(out + b"".join(encode("Alert", alert_id=i, **wanted) for i in batch))
            data, out = connection.recv(65536), b""
            buffer += data
            for name, fields in take(buffer):
                if name == "Hello" and not hello and fields == {"version": 1, "features": 0}:
                    hello = fields
                elif name == "AlertResult" and hello and fields["alert_id"] in flight:
                    flight.remove(fields["alert_id"])
                    say("result", alert_id=fields["alert_id"], outcome=OUTCOMES.get(fields["outcome"], "other"))
                else:
                    raise Invalid(f"{name} {shown(fields)} out of place")
            if not data and (todo or flight):
                raise ConnectionError("closed by the server")
    return 0


def host_port(text: str) -> tuple[str, int]:
    """Parses HOST:PORT or [IPV6]:PORT."""
    [(host, port)] = re.findall(r"^(\[[^][]+\]|[^][:]+):(\d+)$", text)
    return host.strip("[]"), int(port)


def main() -> int:
    """Parses the command line and runs a subcommand; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="vectors | client | alert")
    vectors, client, alert = (commands.add_parser(name) for name in ("vectors", "client", "alert"))
    vectors.add_argument("path", metavar="PATH_TO_PROTOCOL_MD")
    client.add_argument("--id", type=int, action="append", required=True)
    client.add_argument("--taps", type=int, default=0)
    client.add_argument("--nop", action="store_true")
    alert.add_argument("--client", type=int, required=True)
    alert.add_argument("--count", type=int, default=1)
    alert.add_argument("--payload", default="")
    alert.add_argument("--no-wait", dest="wait", action="store_false")
    for command, run in ((vectors, run_vectors), (client, run_client), (alert, run_alert)):
        command.set_defaults(run=run)
        if command is not vectors:
            command.add_argument("address", metavar="HOST:PORT", type=host_port)
            command.add_argument("--timeout", type=float, default=10.0)
    args = parser.parse_args()
    try:
        return args.run(args)
    except (OSError, Invalid) as error:
        say("protocol_error" if isinstance(error, Invalid) else "failed", detail=str(error))
    except (ValueError, OverflowError, struct.error) as error:  # an argument out of its range
        parser.error(str(error))
    return 1


if __name__ == "__main__":
    sys.exit(main())
