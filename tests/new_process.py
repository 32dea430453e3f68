"""Functions called in a new process: those that are sent signals."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")


def call_in_new_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a module's function in a fresh interpreter, and return or raise what it does.

    A real SIGINT ended the process of all tests now and then: a SIGSEGV that the kernel raised in
    delivering it (si_code SI_KERNEL), where pytest's faulthandler has put signals on a stack of
    their own and numeric libraries have used the processor's matrix registers.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()
