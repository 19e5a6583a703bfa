from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compression.measuring.start_line import StartLine, call_off


def test_nobody_starts_before_all_are_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        early = [pool.submit(StartLine(tmp_path, slot, 3).wait) for slot in range(2)]
        with pytest.raises(TimeoutError):
            early[0].result(timeout=0.2)
        StartLine(tmp_path, 2, 3).wait()
        for one in early:
            one.result(timeout=10)


def test_who_waits_in_vain_says_so(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=r"1 of 2 processes were ready after 0\.05 s"):
        StartLine(tmp_path, 0, 2).wait(0.05)


def test_nobody_starts_when_it_was_called_off(tmp_path: Path) -> None:
    call_off(tmp_path)
    with pytest.raises(RuntimeError, match="at the same time failed"):
        StartLine(tmp_path, 0, 2).wait(5)
