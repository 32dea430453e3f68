"""``bge_m3_token_texts``: packed tokens to the text that each stands for."""

from __future__ import annotations

from typing import Any

from bgem3_backend.contract import INPUT_IDS, TOKEN_IDS, TOKENS
from bgem3_backend.models.model_config import ModelConfig
from bgem3_backend.models.requests import Batch, input_array, output_array
from bgem3_backend.packed_texts import check_tokens
from bgem3_backend.settings import BackendSettings
from bgem3_backend.token_texts import TABLE_FILE, TokenTexts


class TritonPythonModel:
    """Looks up tokens, and gives their ids on: the ensemble cannot make the trunk's public."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Load the table."""
        config = ModelConfig.from_arguments(arguments)
        self._max_tokens = BackendSettings().max_request_tokens
        self._token_texts = TokenTexts.read(config.version_directory / TABLE_FILE)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch of requests, each on its own."""
        batch = Batch(requests)
        for position, outputs in batch.read(self._outputs):
            batch.answer(position, outputs)
        return batch.responses

    def _outputs(self, request: Any) -> list[Any]:
        input_ids = input_array(request, INPUT_IDS)
        check_tokens(input_ids, self._token_texts.vocabulary_size, self._max_tokens)
        return [
            output_array(TOKEN_IDS, input_ids),
            output_array(TOKENS, self._token_texts(input_ids)),
        ]
