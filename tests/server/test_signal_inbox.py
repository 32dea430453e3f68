"""Signals as values."""

from __future__ import annotations

import signal
import threading

from bgem3_server.signal_inbox import SignalInbox


def test_a_signal_that_another_thread_was_handed_arrives():
    """The kernel chooses the thread; the main thread is waiting all the same."""
    before = signal.getsignal(signal.SIGTERM)

    def receive() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        inbox.close()

    with SignalInbox() as inbox:
        thread = threading.Timer(0.1, receive)
        thread.start()
        received = list(inbox)
        thread.join()

    assert [signal.SIGTERM, signal.SIGINT] == received
    assert before == signal.getsignal(signal.SIGTERM)
