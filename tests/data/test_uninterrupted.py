"""Ctrl-C waits for what may not be cut short."""

import _thread
import threading
import time

import pytest

from skelbo.data.uninterrupted import uninterrupted


def test_the_result_and_the_error_of_the_function():
    assert uninterrupted(lambda: 3) == 3
    with pytest.raises(ImportError, match="no such module"):
        uninterrupted(lambda: exec("raise ImportError('no such module')"))


def test_ctrl_c_comes_when_the_function_has_ended():
    ended = []

    def work():
        time.sleep(0.3)
        ended.append(True)

    timer = threading.Timer(0.05, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)
    assert ended
