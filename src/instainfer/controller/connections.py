"""A connection of the HTTP server that limits the memory and time a client costs, even before it is authenticated.

In uvicorn's own connection a head or a body may have any size and take any time, and an answer waits for ever for the
client to read it. (A head is the request line and the headers of a request.) Here each of these has a limit. A
connection has one timer, which checks whether anything is overdue. A request only notes the times at which data moved,
so the limits cost a quick call almost nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from .responses import encode

SLOWEST_BYTES_PER_S = 4096
"""A body gets one more second for each 4096 bytes that have arrived. An answer is overdue when for `Bounds.body_s` no
check of the timer has found that at least this much was read since the check before."""
MAX_PIPELINED = 32
"""Number of requests of one connection that may wait until earlier requests are answered (HTTP pipelining)."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on a connection, and on the number of connections."""

    head_bytes: int = 16 * 1024
    head_s: float = 10.0
    body_s: float = 30.0
    """Seconds for a body to arrive, and for the client to read more of an answer; see `SLOWEST_BYTES_PER_S`."""
    idle_s: float = 75.0
    """Seconds between requests. Common clients keep idle connections for less time, so the client closes first."""
    connections: int = 1000


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits. A subclass sets `bounds`."""

    bounds = Bounds()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head = True
        """Whether the head of the next request is not complete yet."""
        self._in_body = False
        self._begun = True
        """Whether the head must come within `head_s`: some of it has come, or the connection is new."""
        self._steps = 0
        """Counts complete heads, pieces of content of a body, and ends of requests."""
        self._brought_bytes = 0
        """Bytes since the last step that made no step: part of a head, or framing of a body that is not content."""
        self._answering: RequestResponseCycle | None = None
        """The request that is being answered, or that was answered last. `cycle` is the request that came last and may
        still wait for that one."""
        self._since_s = self.loop.time()
        """When the current wait, for a request or for the rest of one, began."""
        self._head_at_most_bytes = 0
        """Upper bound of the size of a head that ends in the latest data. The exact size is computed only above it."""
        self._moved_bytes = 0
        """Bytes of the current body that have arrived."""
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
            return  # the connection ends with an answer that is already written, so more requests are not read
        steps = self._steps
        self._head_at_most_bytes = self._brought_bytes + len(data)
        super().data_received(data)
        if self._steps == steps:
            self._brought_bytes += len(data)
            if self._brought_bytes > self.bounds.head_bytes and not self.transport.is_closing():
                self._refuse_head()

    # Callbacks of the parser and of uvicorn

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._begun:
            self._begun = True
            self._since_s = self.loop.time()
        if len(self.pipeline) >= MAX_PIPELINED:
            self._drop()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # otherwise this is a trailer after the body, which must not change the headers
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

    # Time limits

    @property
    def waits_for_request(self) -> bool:
        """Whether no request is being answered and no part of a body is missing."""
        return (self._answering is None or self._answering.response_complete) and not self._in_body

    @property
    def since_s(self) -> float:
        return self._since_s

    def _look(self) -> None:
        """End the connection if the client is too slow. Check again when it next may be."""
        now_s = self.loop.time()
        bounds = self.bounds
        due_s = self._answer_due_s(now_s)
        late = self._drop
        if not self.transport.is_closing():
            if self._in_body and self.flow.read_paused:
                self._since_s = now_s  # the server itself has stopped reading, so the client is not to blame
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
        # The timer goes on even then, because the client must also read the final answer in time.
        soonest_s = min(bounds.head_s, bounds.body_s)
        self._timer = self.loop.call_later(min(max(due_s - now_s, 0.01), soonest_s), self._look)

    def _answer_due_s(self, now_s: float) -> float:
        """The time by which the client must have read more of the answer; infinite if nothing is unsent.

        uvicorn adds nothing to the write buffer while much is unsent. So if the buffer has become smaller, the client
        has read some of it.
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
            # The handler that reads the body sees that the client is gone, and uvicorn sends no answer of its own.
            cycle.disconnected = True
            cycle.message_event.set()
            self._refuse(408, "The body of the request did not come in time; send it faster, or in smaller requests.")
        else:
            self._drop()

    def _drop(self) -> None:
        """Close the connection at once, without sending the rest of an answer."""
        self._gone()
        self.transport.abort()

    def _gone(self) -> None:
        # uvicorn tells only the latest request that the client is gone. That may be another than the one in progress.
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    # Refusals

    def _refuse_head(self) -> None:
        self._refuse(
            431, f"The head of the request is larger than the {self.bounds.head_bytes} bytes allowed; shorten it."
        )

    def _refuse(self, status: int, text: str) -> None:
        """Answer with an error and close the connection. Nothing more is read."""
        answering = self._answering
        if answering is not None and not (answering.response_complete or answering.disconnected):
            self._drop()  # the client still expects the answer to an earlier request, and would take this one for it
            return
        body = encode({"error": text, "code": ""})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()

    def _somebody_makes_way(self) -> bool:
        """Close the connection that has waited longest for a request. False when no other connection waits for one."""
        others = (cast(Connection, other) for other in self.connections if other is not self)
        waiting = [other for other in others if other.waits_for_request and not other.transport.is_closing()]
        if not waiting:
            return False
        min(waiting, key=lambda other: other.since_s)._drop()
        return True


def connection_class(bounds: Bounds) -> type[Any]:
    """A class of connections with these limits. uvicorn creates connections from a class without parameters."""
    return type("BoundedConnection", (Connection,), {"bounds": bounds})
