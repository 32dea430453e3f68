"""The vector store: whether its collections were made by the model that is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

from bgem3_backend.contract import ENSEMBLE
from bgem3_client.errors import BgeM3Error, InvalidInputError, ServerError
from bgem3_server.doctor.check import Check
from bgem3_server.doctor.codes import Code
from bgem3_server.doctor.finding import Detail, Finding, not_applicable, ok, problem, warning
from bgem3_server.doctor.subject import Subject

if TYPE_CHECKING:
    from bgem3_client.client import Client
    from bgem3_client.model_info import ModelInfo
    from bgem3_retrieval.stores.store import Store

_INDEX_AGAIN: Final = (
    "serve the model that the collection was made with, or index the documents again into a new "
    "one: bgem3 index --collection NEW; vectors of two models do not go together"
)


def collections(subject: Subject) -> Iterator[Finding]:
    """Whether dimension and model of the collections are those of the server."""
    if subject.store is None and subject.collection is None:
        yield not_applicable("no store was named (--store, --collection)")
        return
    try:
        from bgem3_retrieval.connections import connect_store
        from bgem3_retrieval.errors import MissingLibraryError, StoreError

        opened = connect_store(subject.store)
    except ModuleNotFoundError as error:
        yield problem(
            Code.STORE_LIBRARY_MISSING,
            f"the store cannot be opened: {error.name} is not installed",
            "pip install 'bgem3-triton[retrieval]'",
        )
        return
    except MissingLibraryError as error:
        yield problem(Code.STORE_LIBRARY_MISSING, str(error), "install it")
        return
    except InvalidInputError as error:
        yield problem(Code.STORE_UNAVAILABLE, str(error), "correct --store or BGEM3_STORE")
        return
    with ExitStack() as resources:
        store = resources.enter_context(closing(opened))
        try:
            names = [subject.collection] if subject.collection else store.names()
            if not names:
                yield not_applicable(f"there is no collection in {store.address}")
                return
            served, client = _served(subject, resources)
            for name in names:
                yield _collection(store, name, served, client)
        except StoreError as error:
            yield problem(
                Code.STORE_UNAVAILABLE,
                f"the store fails: {error}",
                "start it, correct --store or its key (BGEM3_STORE_API_KEY), or end the other "
                "process that has the folder open",
            )


def _served(subject: Subject, resources: ExitStack) -> tuple[ModelInfo | None, Client | None]:
    """Return the model that is served, and a client of it; that of the repository without one."""
    from bgem3_client.client import Client
    from bgem3_client.model_info import ModelInfo
    from bgem3_client.retry_policy import RetryPolicy

    for url in _urls(subject):
        client = resources.enter_context(
            closing(Client(url, retries=RetryPolicy(attempts=1), headers=subject.headers))
        )
        try:
            return client.model_info(5.0), client
        except ServerError:
            continue  # the checks of the servers say so
    if subject.manifest is not None:
        shape = subject.manifest.model
        versions = tuple(subject.manifest.versions)
        return ModelInfo(ENSEMBLE.name, versions, shape.hidden_size, shape.colbert_size), None
    return None, None


def _urls(subject: Subject) -> Iterator[str]:
    if subject.triton_address is not None:
        yield subject.url or subject.triton_address.target
    if subject.service_address is not None:
        address = subject.service_address
        yield f"{'bgem3' if address.tls is None else 'bgem3s'}://{address.target}"


def _collection(
    store: Store, name: str, served: ModelInfo | None, client: Client | None
) -> Finding:
    from bgem3_retrieval.errors import (
        CollectionNotFoundError,
        ForeignCollectionError,
        ModelMismatchError,
        StoreError,
    )
    from bgem3_retrieval.index.collection import check_model
    from bgem3_retrieval.stores.collection import checked_name

    try:
        spec = store.spec(checked_name(name))
    except CollectionNotFoundError as error:
        advice = "'bgem3 collections list' shows what is there"
        return problem(Code.COLLECTION_NOT_FOUND, str(error), advice)
    except ForeignCollectionError as error:
        return warning(
            Code.COLLECTION_FOREIGN,
            str(error),
            "compare the size of its vectors with the model's yourself: 1,024 for BGE-M3, 384 for "
            "the demo model",
        )
    except InvalidInputError as error:
        return problem(Code.COLLECTION_NOT_FOUND, str(error), "correct --collection")
    details: dict[str, Detail] = {
        "collection": name,
        "model": spec.model,
        "dimension": spec.dense_size,
    }
    made = f"collection {name}: {spec.model}, {spec.dense_size} dimensions"
    if served is None:
        return not_applicable(f"{made}; no server and no repository to compare it with")
    details["served_dimension"] = served.hidden_size
    if (spec.dense_size, spec.colbert_size) != (served.hidden_size, served.colbert_size):
        return problem(
            Code.COLLECTION_OF_OTHER_MODEL,
            f"{made} and {spec.colbert_size} a token, and the model gives {served.hidden_size} and "
            f"{served.colbert_size}",
            _INDEX_AGAIN,
            **details,
        )
    if client is None:
        return ok(f"{made}, as in the repository (no server to compare vectors with)", **details)
    try:
        check_model(spec, served, client, store)
    except ModelMismatchError as error:
        return problem(Code.COLLECTION_OF_OTHER_MODEL, str(error), _INDEX_AGAIN, **details)
    except StoreError:
        raise
    except BgeM3Error as error:
        return warning(
            Code.REQUEST_FAILED,
            f"{made}, as is served; its vectors could not be compared: {error}",
            "see what is said of the server",
            **details,
        )
    return ok(f"{made}, as is served, and its vectors are those of the model", **details)


CHECKS: Final = (Check("vector_store.collections", collections),)
