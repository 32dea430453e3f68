"""A load with something for every panel of the dashboard."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any, Final

import aiohttp

from bgem3_bench.real_texts import real_text_records

_ALL_MODES: Final = ["dense", "sparse", "colbert"]
_QUIET: Final = 0.25
_CROWDED: Final = (0.42, 0.57)
"""Shares of the time: until when few ask, and when bulk senders want more than there is room."""

# Few, so that they come again.
_QUERIES: Final = [record.text for record in real_text_records() if record.kind == "short"][:30]
_PASSAGES: Final = [record.text for record in real_text_records() if record.kind == "passage"]

Request = tuple[str, dict[str, Any], dict[str, str]]


async def mixed_load(url: str, seconds: float, seed: int) -> Counter[str]:
    """Send queries, passages, reranks, mistakes and bulk for a time; return the answers by status.

    Args:
        url: Of the service.
        seconds: How long.
        seed: The same one sends the same requests, as far as time allows.
    """
    answers: Counter[str] = Counter()
    began = time.monotonic()

    def share() -> float:
        return (time.monotonic() - began) / seconds

    async def caller(number: int) -> None:
        choice = random.Random(seed + number)
        while share() < 1:
            if number >= 3 and share() < _QUIET:
                await asyncio.sleep(0.2)
                continue
            await _send(session, url, _request(choice), answers)
            await asyncio.sleep(choice.expovariate(4))

    async def bulk_sender(number: int) -> None:
        choice = random.Random(seed + 1000 + number)
        while share() < _CROWDED[0]:
            await asyncio.sleep(0.2)
        while share() < _CROWDED[1]:
            texts = choice.choices(_PASSAGES, k=48)
            body = {"texts": [f"{choice.random()} {text}" for text in texts]}
            await _send(session, url, ("/embed", body, {"X-Priority": "bulk"}), answers)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*map(caller, range(8)), *map(bulk_sender, range(8)))
    return answers


def _request(choice: random.Random) -> Request:
    query, passages = choice.choice(_QUERIES), choice.sample(_PASSAGES, 4)
    kinds: dict[int, Request] = {
        30: ("/embed", {"texts": [query]}, {}),
        20: ("/embed", {"texts": [query], "mode": ["dense", "sparse"]}, {}),
        15: ("/embed", {"texts": passages, "mode": _ALL_MODES}, {}),
        14: ("/v1/embeddings", {"model": "bge_m3", "input": [query]}, {}),
        10: ("/rerank", {"query": query, "documents": passages}, {}),
        6: ("/embed", {"texts": passages, "max_length": 64}, {}),
        5: ("/embed", {"texts": []}, {}),
    }
    return choice.choices(list(kinds.values()), list(kinds))[0]


async def _send(
    session: aiohttp.ClientSession, url: str, request: Request, answers: Counter[str]
) -> None:
    route, body, headers = request
    try:
        async with session.post(url + route, json=body, headers=headers) as response:
            await response.read()
            answers[str(response.status)] += 1
    except aiohttp.ClientError as error:
        answers[type(error).__name__] += 1
    else:
        if response.status in {429, 503}:
            await asyncio.sleep(min(float(response.headers.get("Retry-After", 1)), 2))
