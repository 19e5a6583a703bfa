"""A bundle's command line can be run again, elsewhere."""

from __future__ import annotations

import sys

import pytest

from jobs.train_commands.arguments import recorded_command_line


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ("--images /data/flickr8k/images", "--images images"),
        ("--images /data/flickr8k/images/", "--images images"),
        ("--model merge=/runs/merge/bundle --model aoa=runs/aoa", "--model merge=bundle --model aoa=runs/aoa"),
        ("--model a.b=/home/me/x/bundle --model lstm+gru=/home/me/y", "--model a.b=bundle --model lstm+gru=y"),
        ("--captions s3://somebody:secret@captions.json", "--captions captions.json"),
        ("--images /data/photographs@home", "--images photographs@home"),
        ("--output runs/first", "--output runs/first"),
        ("--captions=/data/captions.txt", "--captions=captions.txt"),
        ("--captions s3://somebody:secret@bucket/a/captions.json", "--captions captions.json"),
        ("--variant zeros1/2", "--variant zeros1/2"),
        ("--note encoder=/etc/issue --epochs 3", "--epochs 3"),
    ],
)
def test_folders_of_this_machine_are_left_out(given: str, recorded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/capstan/jobs/train_compress.py", "study", *given.split()])
    assert recorded_command_line() == f"python jobs/train_compress.py study {recorded}"


def test_what_a_shell_would_split_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job", "study", "--variant", "zeros 1/2", "--images", "/my data/my images"])
    assert recorded_command_line().endswith("study --variant 'zeros 1/2' --images 'my images'")
