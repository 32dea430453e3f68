"""The names of everything that can be wrong; docs/doctor.md says what each means."""

from __future__ import annotations

from enum import StrEnum, auto


class Code(StrEnum):
    """What is wrong. Names stay the same from release to release: programs read them."""

    CHECK_FAILED = auto()
    SETTING_INVALID = auto()

    PYTHON_UNSUPPORTED = auto()
    PACKAGE_MISSING = auto()
    PACKAGE_UNFIT = auto()
    TRITON_NOT_FOUND = auto()
    TRITON_OLD = auto()

    GPU_NOT_VISIBLE = auto()
    GPU_UNUSED = auto()
    GPU_TOO_OLD = auto()
    GPU_ENGINE_MISMATCH = auto()
    GPU_DRIVER_OLD = auto()
    GPU_DRIVER_UNREADABLE = auto()
    GPU_NOT_PERSISTENT = auto()
    GPU_MEMORY_KEPT = auto()

    CORES_LIMITED = auto()
    TRUNK_ENGINE_UNAVAILABLE = auto()
    PROCESSOR_SLOW = auto()

    MEMORY_SHORT = auto()
    MEMORY_TAKEN = auto()
    MEMORY_SETTINGS_LARGE = auto()
    SHARED_MEMORY_SMALL = auto()

    PORT_TAKEN = auto()
    PORT_FORBIDDEN = auto()
    FILE_LIMIT_LOW = auto()

    NOT_A_REPOSITORY = auto()
    MANIFEST_UNREADABLE = auto()
    MANIFEST_MISSING = auto()
    FILE_UNREADABLE = auto()
    FILE_MISSING = auto()
    FILE_CHANGED = auto()
    FILE_UNLISTED = auto()
    FILE_IS_LINK = auto()

    CACHE_OWNED_BY_ANOTHER = auto()
    CACHE_NOT_WRITABLE = auto()
    KEY_FILE_OPEN = auto()
    KEY_FILE_UNREADABLE = auto()

    HUB_UNREACHABLE = auto()
    HUB_OFFLINE = auto()
    PROXY_CATCHES_SERVER = auto()

    SERVER_ADDRESS_INVALID = auto()
    TRITON_UNREACHABLE = auto()
    TRITON_NOT_READY = auto()
    MODEL_NOT_LOADED = auto()
    MODEL_OF_OTHER_CONTRACT = auto()
    MODEL_OF_OTHER_VERSION = auto()
    REQUEST_FAILED = auto()
    VECTORS_WRONG = auto()

    SERVICE_UNREACHABLE = auto()
    SERVICE_FOREIGN = auto()
    SERVICE_NOT_READY = auto()
    SERVICE_OF_OTHER_RELEASE = auto()
    SERVICE_KEY_NEEDED = auto()

    STORE_UNAVAILABLE = auto()
    STORE_LIBRARY_MISSING = auto()
    COLLECTION_NOT_FOUND = auto()
    COLLECTION_FOREIGN = auto()
    COLLECTION_OF_OTHER_MODEL = auto()
