"""Qdrant's gRPC interface before the client's local mode; see `qdrant_double`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from qdrant_client import grpc as messages
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import (
    PointsServicer,
    add_PointsServicer_to_server,
)
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server
from qdrant_client.local.qdrant_local import QdrantLocal

_UPDATED = messages.PointsOperationResponse(
    result=messages.UpdateResult(operation_id=0, status=messages.UpdateStatus.Completed)
)


class QdrantGrpcDouble(CollectionsServicer, PointsServicer, QdrantServicer):
    """Serves on a free port until it is closed."""

    def __init__(self, qdrant: QdrantLocal | None = None, port: int = 0) -> None:
        self.qdrant = qdrant or QdrantLocal(":memory:")
        self.calls: list[str] = []
        self.failures: list[grpc.StatusCode] = []
        # One thread, since a Qdrant in memory guards nothing.
        self._server = grpc.server(
            ThreadPoolExecutor(1),
            options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)],
        )
        add_CollectionsServicer_to_server(self, self._server)
        add_PointsServicer_to_server(self, self._server)
        add_QdrantServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def url(self) -> str:
        """Its HTTP port is open to nobody: what is asked by HTTP fails."""
        return f"http://127.0.0.1:1?grpc_port={self.port}"

    def close(self) -> None:
        self._server.stop(None).wait()

    def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._enter(context)
        return messages.HealthCheckReply(title="qdrant", version="1.16.0")

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._enter(context)
        found = self.qdrant.get_collections().collections
        return messages.ListCollectionsResponse(
            collections=[messages.CollectionDescription(name=one.name) for one in found]
        )

    def CollectionExists(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._enter(context)
        exists = self.qdrant.collection_exists(request.collection_name)
        return messages.CollectionExistsResponse(result=messages.CollectionExists(exists=exists))

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._enter(context)
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        assert isinstance(vectors, dict)
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        metadata = GrpcToRest.convert_payload(request.metadata)
        self.qdrant.create_collection(request.collection_name, vectors, sparse, metadata=metadata)
        return messages.CollectionOperationResponse(result=True)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        # A collection's description and a point's are both asked for by this name.
        name = self._enter(context, request)
        if isinstance(request, messages.GetPoints):
            points = self.qdrant.retrieve(
                name,
                [GrpcToRest.convert_point_id(one) for one in request.ids],
                with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
                with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
            )
            for one in points:
                # The converter takes no point without one.
                one.payload = one.payload or {}
            return messages.GetResponse(result=[RestToGrpc.convert_record(one) for one in points])
        info = RestToGrpc.convert_collection_info(self.qdrant.get_collection(name))
        return messages.GetCollectionInfoResponse(result=info)

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = self._enter(context, request)
        if isinstance(request, messages.DeleteCollection):
            return messages.CollectionOperationResponse(result=self.qdrant.delete_collection(name))
        self.qdrant.delete(name, GrpcToRest.convert_points_selector(request.points))
        return _UPDATED

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._enter(context, request)
        return _UPDATED

    def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = self._enter(context, request)
        assert request.wait
        self.qdrant.upsert(name, [GrpcToRest.convert_point_struct(one) for one in request.points])
        return _UPDATED

    def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        counted = self.qdrant.count(self._enter(context, request))
        return messages.CountResponse(result=RestToGrpc.convert_count_result(counted))

    def Scroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        points, offset = self.qdrant.scroll(
            self._enter(context, request),
            limit=request.limit,
            offset=GrpcToRest.convert_point_id(request.offset)
            if request.HasField("offset")
            else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=GrpcToRest.convert_with_vectors_selector(request.with_vectors),
        )
        return messages.ScrollResponse(
            result=[RestToGrpc.convert_record(one) for one in points],
            next_page_offset=None
            if offset is None
            else RestToGrpc.convert_extended_point_id(offset),
        )

    def QueryBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        name = self._enter(context, request)
        asked: list[models.QueryRequest] = [
            GrpcToRest.convert_query_points(one) for one in request.query_points
        ]
        answers = self.qdrant.query_batch_points(name, asked)
        return messages.QueryBatchResponse(
            result=[
                messages.BatchResult(
                    result=[RestToGrpc.convert_scored_point(one) for one in answer.points]
                )
                for answer in answers
            ]
        )

    def _enter(self, context: Any, request: Any = None) -> str:
        if self.failures:
            context.abort(self.failures.pop(0), "of the double")
        if request is None:
            return ""
        name = str(request.collection_name)
        self.calls.append(type(request).__name__)
        if not self.qdrant.collection_exists(name):
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!"
            )
        return name
