"""Texts on their way, each once, whichever requests want it."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bgem3_client.embeddings import Embedding
from bgem3_client.encode_request import EncodeOptions
from bgem3_server.gateway.encoding.admission import Admission
from bgem3_server.gateway.encoding.scheduler import Scheduler
from bgem3_server.gateway.tritons.role import Role


@dataclass(eq=False, slots=True)
class WantedText:
    """A text that is waiting to be sent, or to be answered.

    Attributes:
        text: Itself.
        tokens: Its length after truncation.
        wanted_by: The requests that want it; it counts as waiting for the first of them.
        task: Done when it was answered; None until it is sent.
        answer: Its representations, once they are there; None where its part has failed.
        answered_by: The Triton that gave them.
    """

    text: str
    tokens: int
    wanted_by: list[WantedTexts] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    answer: Embedding | None = None
    answered_by: Role = Role.PRIMARY


class Sender(Protocol):
    """Sends texts to Triton."""

    def send(self, part: Sequence[WantedText], wanted: WantedTexts) -> asyncio.Task[None]:
        """Send texts that a request wants in one part."""


class WantedTexts:
    """The texts that one request wants; those that nobody has sent wait for its turn.

    See :class:`~bgem3_server.gateway.encoding.scheduler.Unsent`.

    Attributes:
        options: What to compute of them.
        admission: Of the request.
        in_flight: Those that it shares texts with.
        context: Of the request: what it sends belongs to its trace.
        texts: All of them, distinct.
        parts: The parts that this request has sent.
    """

    def __init__(
        self,
        options: EncodeOptions,
        admission: Admission,
        in_flight: InFlight,
        scheduler: Scheduler,
        sender: Sender,
    ) -> None:
        self.options = options
        self.admission = admission
        self.in_flight = in_flight
        self.context = contextvars.copy_context()
        self.texts: list[WantedText] = []
        self.parts: dict[asyncio.Task[None], Sequence[WantedText]] = {}
        self._scheduler = scheduler
        self._sender = sender
        self._unsent: deque[WantedText] = deque()
        self._unsent_count = 0

    def add(self, text: WantedText) -> None:
        """Want one more text."""
        text.wanted_by.append(self)
        self.texts.append(text)
        if text.task is None:
            self._unsent.append(text)
            self._unsent_count += 1

    @property
    def since_seconds(self) -> float:
        """When the request was let in, by the monotonic clock."""
        return self.admission.since_seconds

    @property
    def next_tokens(self) -> int:
        """The length of the next text; 0 where none is left."""
        while self._unsent and self._unsent[0].task is not None:
            self._unsent.popleft()  # by another request
        return self._unsent[0].tokens if self._unsent else 0

    def send(self, room_tokens: int) -> int:
        """Send texts of up to so many tokens, one at least; return their tokens."""
        part: list[WantedText] = []
        tokens = 0
        while (length := self.next_tokens) and (not part or tokens + length <= room_tokens):
            part.append(self._unsent.popleft())
            tokens += length
        task = self._sender.send(part, self)
        self.parts[task] = part
        for text in part:
            text.task = task
            text.wanted_by[0].admission.tokens_left -= text.tokens
            for wanting in text.wanted_by:
                wanting.has_been_sent()
        return tokens

    def has_been_sent(self) -> None:
        """One of the texts was sent, by this request or another one."""
        self._unsent_count -= 1
        if not self._unsent_count:
            self._scheduler.skip(self.admission.priority, self)


class InFlight:
    """The texts that are on their way now, by what is to be computed of them."""

    def __init__(self) -> None:
        self._texts: dict[EncodeOptions, dict[str, WantedText]] = {}

    def lengths(self, texts: Iterable[str], options: EncodeOptions) -> dict[str, int]:
        """Return those of some texts that are on their way, and their lengths after truncation."""
        known = self._texts.get(options)
        if known is None:
            return {}
        return {text: known[text].tokens for text in texts if text in known}

    def want(self, texts: Mapping[str, int], wanted: WantedTexts) -> None:
        """Have a request want texts: those that are on their way, and others from now on.

        Args:
            texts: Their lengths after truncation, one at least.
            wanted: Of the request; empty so far.
        """
        known = self._texts.setdefault(wanted.options, {})
        for text, tokens in texts.items():
            if (found := known.get(text)) is None:
                found = known[text] = WantedText(text, tokens)
            wanted.add(found)

    def forget(self, part: Iterable[WantedText], options: EncodeOptions) -> None:
        """Texts are on their way no longer."""
        known = self._texts[options]
        for text in part:
            del known[text.text]
        if not known:
            del self._texts[options]

    def leave(self, wanted: WantedTexts) -> None:
        """A request wants nothing any more; what it alone wanted and nobody sent is forgotten."""
        unsent = []
        for text in wanted.texts:
            counted = text.wanted_by[0] is wanted
            text.wanted_by.remove(wanted)
            if text.task is not None:
                continue
            if not text.wanted_by:
                unsent.append(text)
            elif counted:
                # It still waits, and counts for the next one.
                wanted.admission.tokens_left -= text.tokens
                text.wanted_by[0].admission.tokens_left += text.tokens
        if unsent:
            self.forget(unsent, wanted.options)
