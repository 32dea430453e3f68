"""``bge_m3_tokenizer``: text to packed tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bgem3_backend.contract import (
    COLBERT_ROWS,
    COLUMNS,
    FULL_TOKEN_LENGTHS,
    INPUT_IDS,
    LENGTHS,
    TEXT,
    TOKEN_LENGTHS,
    TOKENIZER,
)
from bgem3_backend.errors import InvalidRequestError
from bgem3_backend.models.metrics import Counter, close_metrics
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import (
    Batch,
    input_array,
    output_array,
    request_parameters,
)
from bgem3_backend.settings import BackendSettings
from bgem3_backend.text_tokenizer import TextTokenizer, TokenizedTexts, Truncation


@dataclass(frozen=True)
class _TextRequest:
    texts: list[str]
    truncation: Truncation


class TritonPythonModel:
    """Tokenizes all texts of all requests of a batch in one call."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the tokenizer."""
        config = ModelConfig.from_arguments(arguments)
        self._max_length_tokens = config.integer("max_length_tokens")
        self._settings = BackendSettings()
        self._max_texts = config.limit(
            "max_texts_per_request", self._settings.max_texts_per_request
        )
        self._max_tokens = config.limit("max_request_tokens", self._settings.max_request_tokens)
        self._tokenizer = TextTokenizer(config.version_directory / "tokenizer.json")
        self._texts = Counter("bgem3_texts_total", "Texts tokenized", TOKENIZER.name)
        self._tokens = Counter(
            "bgem3_tokens_total", "Tokens of those texts, after truncation", TOKENIZER.name
        )
        self._truncated_texts = Counter(
            "bgem3_truncated_texts_total", "Texts cut to max_length", TOKENIZER.name
        )

    def finalize(self) -> None:
        """Let go of what Triton has to take back."""
        close_metrics()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests)
        readable = batch.read(self._read)
        try:
            encodings = self._tokenizer.encode(
                [text for _, read in readable for text in read.texts]
            )
        except Exception as error:  # noqa: BLE001 - out of memory maybe
            batch.fail_all([position for position, _ in readable], error)
            return batch.responses
        begin = 0
        for position, read in readable:
            end = begin + len(read.texts)
            with batch.answering(position):
                tokenized = self._tokenizer.pack(encodings[begin:end], read.truncation)
                self._check_size(tokenized)
                self._count(tokenized)
                batch.answer(position, self._outputs(tokenized))
            begin = end
        return batch.responses

    def _read(self, request: Any) -> _TextRequest:
        truncation = Truncation.from_parameters(
            request_parameters(request), self._max_length_tokens
        )
        raw = input_array(request, TEXT)
        if raw.size == 0:
            raise InvalidRequestError(f"'{TEXT.name}' is empty: send at least one text")
        if raw.size > self._max_texts:
            raise InvalidRequestError(
                f"the request holds {raw.size} texts; at most {self._max_texts} are taken at once: "
                "split it"
            )
        size_bytes = sum(len(text) for text in raw)
        if size_bytes > self._settings.max_request_bytes:
            raise InvalidRequestError(
                f"the request holds {size_bytes} bytes of text; at most "
                f"{self._settings.max_request_bytes} are taken at once: split it"
            )
        return _TextRequest([_decode(text, index) for index, text in enumerate(raw)], truncation)

    def _check_size(self, tokenized: TokenizedTexts) -> None:
        count = tokenized.texts.input_ids.size
        if count > self._max_tokens:
            raise InvalidRequestError(
                f"the request holds {count} tokens; at most {self._max_tokens} are taken at once: "
                "split it, or lower 'max_length'"
            )

    def _outputs(self, tokenized: TokenizedTexts) -> list[Any]:
        texts = tokenized.texts
        # One for each token but the first of each text.
        colbert_rows = texts.input_ids.size - texts.lengths.size
        return [
            output_array(INPUT_IDS, texts.input_ids),
            output_array(LENGTHS, texts.lengths),
            output_array(TOKEN_LENGTHS, texts.lengths),
            output_array(FULL_TOKEN_LENGTHS, tokenized.full_lengths),
            output_array(COLUMNS, np.arange(texts.lengths.max(), dtype=np.int32)),
            output_array(COLBERT_ROWS, np.arange(colbert_rows, dtype=np.int32)),
        ]

    def _count(self, tokenized: TokenizedTexts) -> None:
        self._texts.add(tokenized.full_lengths.size)
        self._tokens.add(tokenized.texts.input_ids.size)
        self._truncated_texts.add(tokenized.truncated_count)


def _decode(text: bytes, index: int) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"the text is not UTF-8: byte 0x{text[error.start]:02x} at position {error.start}; "
            "encode it as UTF-8",
            index=index,
        ) from error
