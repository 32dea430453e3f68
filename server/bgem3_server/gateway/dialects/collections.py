"""``/collections``: what there is to search in."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from bgem3_retrieval.stores.collection import CollectionSpec
from bgem3_server.gateway.dialects.search import PROBLEMS
from bgem3_server.gateway.gateway import CurrentCall, CurrentGateway

router = APIRouter(tags=["search"], responses=PROBLEMS)


class CollectionsAnswer(BaseModel):
    """The collections of the store."""

    collections: list[str] = Field(description="Their names, sorted.", examples=[["manuals"]])


class CollectionAnswer(CollectionSpec):
    """How a collection was made, and what is in it."""

    chunks: int = Field(description="Passages that it holds.")
    documents: int = Field(description="Documents that they are of.")
    incomplete: int = Field(
        description="Documents whose indexing was interrupted: index them again."
    )


@router.get("/collections", summary="The names of the collections")
async def collections(call: CurrentCall, gateway: CurrentGateway) -> CollectionsAnswer:
    """Answer with the names."""
    return CollectionsAnswer(collections=await gateway.needed_retrieval().collections(call))


@router.get("/collections/{name}", summary="How a collection was made, and what is in it")
async def collection(name: str, call: CurrentCall, gateway: CurrentGateway) -> CollectionAnswer:
    """Answer with its options and counts."""
    about = await gateway.needed_retrieval().about(name, call)
    return CollectionAnswer(
        **about.spec.model_dump(),
        chunks=about.chunks,
        documents=about.documents,
        incomplete=about.incomplete,
    )


@router.delete("/collections/{name}", status_code=204, summary="Remove a collection")
async def drop(name: str, call: CurrentCall, gateway: CurrentGateway) -> None:
    """Remove it and all that is in it, when nothing is being put into it."""
    await gateway.needed_retrieval().drop(name, call)
