"""One connection of the HTTP server, which bounds what a client may cost before anybody knows who it is.

uvicorn's connection believes in its clients: a head may be of any size and take any time, as may a body, and an answer
waits for ever for somebody to read it. Here each of these has a bound. There is one timer a connection, which finds out
when it fires whether anything is overdue; a request only notes when things have moved, so that it costs a quick call
next to nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .responses import encode

SLOWEST_BYTES_PER_S = 4096
"""Each so many bytes that have moved give a body or an answer another second."""
MAX_PIPELINED = 32
"""Requests of one connection that may wait for the answers before theirs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a connection may cost."""

    head_bytes: int = 16 * 1024
    head_s: float = 10.0
    body_s: float = 30.0
    """For a body, and for the taking of an answer; see `SLOWEST_BYTES_PER_S`."""
    idle_s: float = 75.0
    """Longer than the pools of common clients keep idle connections, so that they are the ones to close."""
    connections: int = 1000


class Connection(HttpToolsProtocol):
    """uvicorn's, within `bounds`, which a subclass sets."""

    bounds = Bounds()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = True
        """Its next request has not come as far as its body."""
        self._in_body = False
        self._begun = True
        """Something of the head is there. Who has just connected is to send one at once."""
        self._steps = 0
        """How often a head, content of a body or an end has come."""
        self._brought_bytes = 0
        """Of what came since the last step: part of a head, or what comes with a body and is not its content."""
        self._answering: RequestResponseCycle | None = None
        """The request that is being answered, or was the last; `cycle` is the latest, which may wait for it."""
        self._since_s = self.loop.time()
        """When it began to wait for what it waits for now."""
        self._head_at_most_bytes = 0
        """Of a head that ends with what came last; most are so small that nobody need count."""
        self._moved_bytes = 0
        """Of the body."""
        self._unsent_bytes = 0
        self._unsent_since_s = self._since_s
        bounds = self.bounds
        self._timer = self.loop.call_later(min(bounds.head_s, bounds.body_s), self._look)
        if len(self.connections) > bounds.connections and not self._somebody_makes_way():
            self._refuse(503, "Too many connections are open here; close some, or try again in a moment.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._gone()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # what an answer that is the last has not waited for
        steps = self._steps
        self._head_at_most_bytes = self._brought_bytes + len(data)
        super().data_received(data)
        if self._steps == steps:
            self._brought_bytes += len(data)
            if self._brought_bytes > self.bounds.head_bytes and not self.transport.is_closing():
                self._refuse_head()

    # What the parser found

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._begun:
            self._begun = True
            self._since_s = self.loop.time()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._drop()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer, and must not pass for a header of the head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            return
        too_large = self._head_at_most_bytes > self.bounds.head_bytes and self._head_size() > self.bounds.head_bytes
        self._in_head, self._begun, self._in_body = False, False, True
        self._step()
        self._moved_bytes = 0
        self._since_s = self.loop.time()
        if too_large:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._step()
        self._moved_bytes += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._step()
        self._in_body, self._in_head = False, True
        self._since_s = self.loop.time()
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_body and not self._begun:
            self._since_s = self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def resume_writing(self) -> None:
        self._unsent_since_s = self.loop.time()
        super().resume_writing()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _step(self) -> None:
        self._steps += 1
        self._brought_bytes = 0

    # What takes too long

    @property
    def waits_for_request(self) -> bool:
        """Nothing is being answered, and nothing of a body is due."""
        return (self._answering is None or self._answering.response_complete) and not self._in_body

    @property
    def since_s(self) -> float:
        return self._since_s

    def _look(self) -> None:
        """End the connection if something is overdue; else look again when something may be."""
        now_s = self.loop.time()
        bounds = self.bounds
        due_s = self._answer_due_s(now_s)
        late = self._drop
        if not self.transport.is_closing():
            if self._in_body and self.flow.read_paused:
                self._since_s = now_s  # it is we who do not take it
            elif self._in_body:
                body_due_s = self._since_s + bounds.body_s + self._moved_bytes / SLOWEST_BYTES_PER_S
                if body_due_s < due_s:
                    due_s, late = body_due_s, self._body_is_late
            elif self.waits_for_request:
                head_due_s = self._since_s + (bounds.head_s if self._begun else bounds.idle_s)
                if head_due_s < due_s:
                    due_s, late = head_due_s, self._head_is_late
        if due_s <= now_s:
            late()
        # Also after that: its last words must be taken in time too.
        soonest_s = min(bounds.head_s, bounds.body_s)
        self._timer = self.loop.call_later(min(max(due_s - now_s, 0.01), soonest_s), self._look)

    def _answer_due_s(self, now_s: float) -> float:
        """When more of what is written has to have been taken.

        Nothing is added while much of it is left, so if there is less of it than before, some has been taken.
        """
        unsent_bytes = self.transport.get_write_buffer_size()
        if self._unsent_bytes == 0 or unsent_bytes <= self._unsent_bytes - SLOWEST_BYTES_PER_S:
            self._unsent_since_s = now_s
        self._unsent_bytes = unsent_bytes
        return self._unsent_since_s + self.bounds.body_s if unsent_bytes else float("inf")

    def _head_is_late(self) -> None:
        if self._begun:
            self._refuse(408, "The head of the request did not come in time; send it at once.")
        else:
            self.transport.close()

    def _body_is_late(self) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_started:
            # Whoever reads the body finds that its client is gone, and says no word into what is closed.
            cycle.disconnected = True
            cycle.message_event.set()
            self._refuse(408, "The body of the request did not come in time; send it faster, or in smaller requests.")
        else:
            self._drop()

    def _drop(self) -> None:
        """End the connection at once, whatever is under way."""
        self._gone()
        self.transport.abort()

    def _gone(self) -> None:
        # uvicorn tells the latest request alone that its client is gone, which need not be the one being answered.
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    # What is said then

    def _refuse_head(self) -> None:
        self._refuse(
            431, f"The head of the request is larger than the {self.bounds.head_bytes} bytes allowed; shorten it."
        )

    def _refuse(self, status: int, text: str) -> None:
        """Say why, and close. Nothing more is read."""
        answering = self._answering
        if answering is not None and not (answering.response_complete or answering.disconnected):
            self._drop()  # the answer to a request before it is due, and this must not pass for it
            return
        body = encode({"error": text, "code": ""})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _somebody_makes_way(self) -> bool:
        """Whether one of those who wait for a request could be closed: the one that has waited longest."""
        others = (cast(Connection, other) for other in self.connections if other is not self)
        waiting = [other for other in others if other.waits_for_request and not other.transport.is_closing()]
        if not waiting:
            return False
        min(waiting, key=lambda other: other.since_s)._drop()
        return True


def connection_class(bounds: Bounds) -> type[Any]:
    """uvicorn makes connections by their class alone."""
    return type("BoundedConnection", (Connection,), {"bounds": bounds})
