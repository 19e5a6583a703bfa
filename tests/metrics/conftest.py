"""The data set folder that lies beside the project on some machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A machine may be slow; no test is about time.
settings.register_profile("capstan", deadline=None)
settings.load_profile("capstan")

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the COCO metric truth and Flickr8k; a test that needs it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the data sets in ../shared/data, which are not here")
    return SHARED
