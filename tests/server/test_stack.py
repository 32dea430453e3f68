"""Triton and the service in front of it: in which order they stop, and what is told of it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from bgem3_server.stack import Stack


class Part:
    """A part that notes what it is asked for."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.ended: Future[None] = Future()
        self._name = name
        self._asked = asked

    def start(self) -> None:
        """Note it."""
        self._asked.append(f"start {self._name}")

    def stop(self) -> None:
        """Note it."""
        self._asked.append(f"stop {self._name}")

    def kill(self) -> None:
        """Note it."""
        self._asked.append(f"kill {self._name}")


@pytest.fixture
def asked() -> list[str]:
    """What the parts were asked for, in order."""
    return []


@pytest.fixture
def triton(asked: list[str]) -> Part:
    """The one part."""
    return Part("triton", asked)


@pytest.fixture
def service(asked: list[str]) -> Part:
    """The other."""
    return Part("service", asked)


def test_the_service_is_stopped_before_triton(triton: Part, service: Part, asked: list[str]):
    """What the service has accepted is still answered."""
    stack = Stack(triton, service)

    stack.stop()
    stopped_first = list(asked)
    service.ended.set_result(None)
    stopped_then = list(asked)
    early = stack.ended.done()
    triton.ended.set_result(None)

    assert ["stop service"] == stopped_first
    assert ["stop service", "stop triton"] == stopped_then
    assert not early
    assert stack.ended.result(0) is None


def test_the_service_does_not_outlive_triton(triton: Part, service: Part, asked: list[str]):
    """Where Triton is given up the command ends, and its reason is the one that is told."""
    stack = Stack(triton, service)

    triton.ended.set_exception(OSError("no Triton"))
    service.ended.set_exception(ValueError("what followed from it"))

    assert ["stop service"] == asked
    with pytest.raises(OSError, match="no Triton"):
        stack.ended.result(0)


def test_triton_does_not_outlive_the_service(triton: Part, service: Part, asked: list[str]):
    """Nor the other way round."""
    stack = Stack(triton, service)

    service.ended.set_exception(OSError("no port"))
    triton.ended.set_result(None)

    assert ["stop triton"] == asked
    with pytest.raises(OSError, match="no port"):
        stack.ended.result(0)


def test_triton_alone(triton: Part, asked: list[str]):
    """Without a service there is one part to start and to stop."""
    stack = Stack(triton, None)

    stack.start()
    stack.stop()
    triton.ended.set_result(None)

    assert ["start triton", "stop triton"] == asked
    assert stack.ended.done()
