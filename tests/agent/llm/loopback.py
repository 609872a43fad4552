"""A server on this machine that speaks three wire formats, with faults by script.

Responses, Chat Completions and Messages, streamed.  Each request takes the next
`Step`; when none is left, the last one serves on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Lock, Thread
from typing import Any

CHAT = {"done": "stop", "truncated": "length", "refused": "content_filter"}
MESSAGES = {"done": "end_turn", "truncated": "max_tokens", "refused": "refusal",
            "context full": "model_context_window_exceeded"}  # fmt: skip
RESPONSES = {"truncated": "max_output_tokens", "refused": "content_filter"}


@dataclass(frozen=True)
class Step:
    """How one request is served.

    Attributes:
        ending: How the answer ends, in `Ending`'s words.
        sleep_s: Before the answer; and drip_s, before each word of it.
        cut: Hang up after so many events; 0 before any byte.  politely: End the transfer instead.
        bad: An event that is no JSON stands in the middle.
        error: Type of an error event in the midst of the stream.
        usage: Whether tokens are counted.
    """

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    ending: str = "done"
    sleep_s: float = 0.0
    drip_s: float = 0.0
    cut: int | None = None
    politely: bool = False
    bad: bool = False
    error: str = ""
    usage: bool = True


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Loopback:
    """The server; ``url`` without a path."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps, self.received = list(steps), list[Received]()
        self.lock, self.flying, self.most_flying = Lock(), 0, 0
        self.server = _Server(("127.0.0.1", 0), type("Bound", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def next_step(self, received: Received) -> Step:
        with self.lock:
            self.received.append(received)
            return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        with self.lock:
            self.flying += 1
            self.most_flying = max(self.most_flying, self.flying)
        yield
        with self.lock:
            self.flying -= 1


@contextmanager
def serving(*steps: Step) -> Iterator[Loopback]:
    """A server that serves these steps in order."""
    loopback = Loopback(steps)
    Thread(target=loopback.server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield loopback
    finally:
        loopback.server.shutdown()
        loopback.server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hangs up is no fault
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Loopback

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.owner.in_flight():
            step = self.owner.next_step(Received(self.path, headers, body))
            time.sleep(step.sleep_s)
            if step.cut == 0:
                self.hang_up()
            elif step.status != 200:
                self.refuse(step)
            else:
                self.stream(step, body)

    def refuse(self, step: Step) -> None:
        text = json.dumps(step.body or {"error": {"message": f"scripted {step.status}"}}).encode()
        self.send_response(step.status)
        for name, value in {"content-type": "application/json", **step.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self, step: Step, body: Mapping[str, Any]) -> None:
        wire = {"responses": _responses, "completions": _chat, "messages": _messages}
        events = list(wire[self.path.rpartition("/")[2]](step, body))
        if step.bad:
            events.insert(2, "event: content_block_delta\ndata: {not json\n\n")
        if step.error:
            error = {"type": "error", "error": {"type": step.error, "message": step.error}}
            events[2:] = [f"event: error\ndata: {json.dumps(error)}\n\n"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events[: step.cut]:
            time.sleep(step.drip_s)
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if step.cut is not None and not step.politely:
            return self.hang_up()
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(SHUT_RDWR)


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _words(text: str) -> list[str]:
    return [word for word in text.replace(" ", " \0").split("\0") if word]


def _responses(step: Step, body: Mapping[str, Any]) -> Iterator[str]:
    usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 64},
             "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3},
             "total_tokens": 107}  # fmt: skip
    content = [{"type": "output_text", "text": step.text, "annotations": []}]
    if step.ending == "refused":
        content = [{"type": "refusal", "refusal": "no"}]
    reason = RESPONSES.get(step.ending)
    cut = step.ending == "truncated"
    final = {
        "id": "r1", "object": "response", "created_at": 1, "model": body["model"],
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": reason} if cut else None,
        "output": [{"id": "m1", "type": "message", "role": "assistant", "status": "completed",
                    "content": content}],
        "usage": usage if step.usage else None,
    }  # fmt: skip
    yield _event("response.created", response={**final, "output": [], "usage": None})
    for word in _words(step.text):
        yield _event("response.output_text.delta", delta=word, item_id="m1", output_index=0,
                     content_index=0)  # fmt: skip
    yield _event("response.incomplete" if cut else "response.completed", response=final)


def _chat(step: Step, body: Mapping[str, Any]) -> Iterator[str]:
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
             "prompt_tokens_details": {"cached_tokens": 64},
             "completion_tokens_details": {"reasoning_tokens": 3}}  # fmt: skip

    def chunk(choices: list[Any], **more: Any) -> str:
        fields = {"id": "c1", "created": 1, "model": body["model"], "choices": choices,
                  "object": "chat.completion.chunk", **more}  # fmt: skip
        return f"data: {json.dumps(fields)}\n\n"

    for word in ["", *_words(step.text)]:
        yield chunk([{"index": 0, "delta": {"role": "assistant", "content": word}}])
    yield chunk([{"index": 0, "delta": {}, "finish_reason": CHAT[step.ending]}])
    if step.usage and body.get("stream_options"):
        yield chunk([], usage=usage)
    yield "data: [DONE]\n\n"


def _messages(step: Step, body: Mapping[str, Any]) -> Iterator[str]:
    usage = {"input_tokens": 36, "cache_read_input_tokens": 64, "output_tokens": 1,
             "cache_creation_input_tokens": 0}  # fmt: skip
    message = {"id": "m1", "type": "message", "role": "assistant", "model": body["model"],
               "content": [], "stop_reason": None, "stop_sequence": None,
               "usage": usage}  # fmt: skip
    yield _event("message_start", message=message)
    if step.text:
        yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for word in _words(step.text):
            delta = {"type": "text_delta", "text": word}
            yield _event("content_block_delta", index=0, delta=delta)
        yield _event("content_block_stop", index=0)
    delta = {"stop_reason": MESSAGES[step.ending], "stop_sequence": None}
    yield _event("message_delta", delta=delta, usage={"output_tokens": 7})
    yield _event("message_stop")
