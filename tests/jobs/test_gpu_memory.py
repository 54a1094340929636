"""What the messages of several versions of PyTorch tell, in bytes and in words."""

from __future__ import annotations

import pytest

from kdengine.jobs import classify_exception, classify_exit
from kdengine.jobs.gpu_memory import Shortage, read_shortage, sentence

MiB, GiB = 1 << 20, 1 << 30


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


OF_1_0 = (
    "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.93 GiB total capacity; 6.50 GiB already allocated; "
    "14.00 MiB free; 309.58 MiB cached)"
)
OF_1_13 = (
    "CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.75 GiB total capacity; 13.50 GiB already allocated; "
    "1.25 GiB free; 13.75 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try setting "
    "max_split_size_mb to avoid fragmentation.  See documentation for Memory Management and PYTORCH_CUDA_ALLOC_CONF"
)
OF_2_1 = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacty of 15.75 GiB of which 1.25 GiB is free. "
    "Process 3402 has 14.50 GiB memory in use. Of the allocated memory 13.50 GiB is allocated by PyTorch, and 80.00 "
    "MiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "max_split_size_mb to avoid fragmentation."
)
OF_2_4 = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 15.75 GiB of which 1.25 GiB is "
    "free. Process 77 has 5.00 GiB memory in use. Including non-PyTorch memory, this process has 9.50 GiB memory in "
    "use. Of the allocated memory 8.75 GiB is allocated by PyTorch, and 80.00 MiB is reserved by PyTorch but "
    "unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
OF_A_SHARE = (
    "CUDA out of memory. Tried to allocate 512.00 MiB. GPU 0 has a total capacity of 79.00 GiB of which 70.50 GiB is "
    "free. Including non-PyTorch memory, this process has 8.25 GiB memory in use. 8.00 GiB allowed; Of the allocated "
    "memory 7.75 GiB is allocated by PyTorch, and 10.00 MiB is reserved by PyTorch but unallocated."
)

MESSAGES = [
    # message, numbers, sentence
    (
        OF_1_0,
        Shortage(20 * MiB, 14 * MiB, round(7.93 * GiB), round(6.5 * GiB)),
        "20 MiB more were needed, 14 MiB of its 7.9 GiB were free, this run held 6.5 GiB",
    ),
    (
        OF_1_13,
        Shortage(2 * GiB, 5 * GiB // 4, 63 * GiB // 4, 27 * GiB // 2),
        "2.0 GiB more were needed, 1.2 GiB of its 15.8 GiB were free, this run held 13.5 GiB",
    ),
    (
        OF_2_1,
        Shortage(2 * GiB, 5 * GiB // 4, 63 * GiB // 4, 27 * GiB // 2),
        "2.0 GiB more were needed, 1.2 GiB of its 15.8 GiB were free, this run held 13.5 GiB",
    ),
    (
        OF_2_4,
        Shortage(2 * GiB, 5 * GiB // 4, 63 * GiB // 4, 19 * GiB // 2),
        "2.0 GiB more were needed, 1.2 GiB of its 15.8 GiB were free, this run held 9.5 GiB",
    ),
    (
        OF_A_SHARE,
        Shortage(512 * MiB, 141 * GiB // 2, 79 * GiB, 33 * GiB // 4, 8 * GiB),
        "512 MiB more were needed, 70.5 GiB of its 79.0 GiB were free, this run held 8.2 GiB, it may hold 8.0 GiB",
    ),
    ("HIP out of memory. Tried to allocate 512 bytes.", Shortage(512), "512 bytes more were needed"),
    ("CUDA out of memory. Tried to allocate more than 1EB memory.", Shortage(), "more than 1EB"),
    ("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`", Shortage(), "(CUDA error: out of memory Compile"),
    (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        Shortage(),
        "(CUDA error: CUBLAS_STATUS_ALLOC_FAILED",
    ),
    ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", Shortage(), "CUDNN_STATUS_ALLOC_FAILED"),
    (
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        Shortage(),
        "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ),
]


@pytest.mark.parametrize(("message", "numbers", "words"), MESSAGES, ids=[message[:60] for message, *_ in MESSAGES])
def test_a_message_of_the_gpu_is_read_and_said(message: str, numbers: Shortage, words: str) -> None:
    assert read_shortage(message) == numbers
    assert sentence(message).startswith("the GPU ran out of memory") and words in sentence(message)


@pytest.mark.parametrize("message", [message for message, *_ in MESSAGES])
@pytest.mark.parametrize("kind", [OutOfMemoryError, RuntimeError])
def test_it_ends_a_run_for_want_of_gpu_memory_and_is_told(message: str, kind: type[Exception]) -> None:
    failure = classify_exception(kind(message))
    assert (failure.reason, failure.message) == ("oom_gpu", sentence(message))


@pytest.mark.parametrize("message", [message for message, *_ in MESSAGES if "\n" not in message])
def test_it_is_found_in_what_a_dead_process_left(message: str) -> None:
    failure = classify_exit(1, None, ["epoch 3", f"torch.OutOfMemoryError: {message}", "bye"])
    assert failure.reason == "oom_gpu"
    wanted = read_shortage(message)
    assert failure.message == sentence(message) if wanted.wanted else message in failure.message


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 B",
        "CUDA error: device-side assert triggered",
        "CUDA error: an illegal memory access was encountered",
    ],
)
def test_other_failures_are_not_taken_for_it(message: str) -> None:
    assert classify_exception(RuntimeError(message)).reason != "oom_gpu"
