"""What ONNX Runtime, CUDA and PyTorch say when memory runs out, and what they say otherwise."""

from __future__ import annotations

import pytest

from bgem3_backend.failed_allocation import is_failed_allocation


@pytest.mark.parametrize(
    "message",
    [
        # Seen on a CPU, ONNX Runtime 1.31.
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Gemm node. "
        "Name:'layer_0_query_key_value' Status Message: bfc_arena.cc:360 void* onnxruntime::"
        "BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate "
        "memory for requested buffer of size 37748736\n",
        # Seen, OpenVINO 2026.4.
        "Exception from src/plugins/intel_cpu/src/node.cpp:794:\n[CPU] FullyConnected node with "
        "name 'layer_0_query_key_value' Check 'ptr' failed at src/plugins/intel_cpu/src/"
        "cpu_memory.cpp:257:\nFailed to allocate 37748736 bytes of memory\n",
        # Reported from GPUs: triton-inference-server/server#7019 and onnxruntime's issues.
        "onnx runtime error 6: Non-zero status code returned while running Mul node. "
        "Name:'Mul_8702' Status Message: bfc_arena.cc:368 void* onnxruntime::BFCArena::"
        "AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::"
        "WaitNotificationFn) Failed to allocate memory for requested buffer of size 2830172160",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=a ; "
        "expr=cublasCreate(&cublas_handle_);",
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);",
        "Available memory of 1024 is smaller than requested bytes of 4096",
        "Non-zero status code returned while running MatMul node. Status Message: std::bad_alloc",
    ],
)
def test_a_lack_of_memory_is_recognised(message):
    """Whoever reports it."""
    assert is_failed_allocation(message)


@pytest.mark.parametrize(
    "message",
    [
        "onnx runtime error 6: Non-zero status code returned while running Gather node. "
        "Name:'embeddings' Status Message: indices element out of data bounds, idx=300000",
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=a",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0 ; hostname=a",
        "onnx runtime error 2: not enough space: expected 1048576, got 0",
        "",
    ],
)
def test_other_failures_are_not(message):
    """Also those that speak of memory."""
    assert not is_failed_allocation(message)
