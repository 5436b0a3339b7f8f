from __future__ import annotations
import asyncio, itertools
from pathlib import Path
import pytest
from tests.ownership import test_exporters as t
from tests.ownership.test_exporters import *  # noqa
N = itertools.count()
@pytest.fixture
def api_server(request):
    return t.ApiServer(Path("/tmp/owner-plane/kubeconfig"), "default")
@pytest.fixture
def pair(api_server, own_valkey, tmp_path):
    with t.ExitStack() as stack:
        s = t.config(api_server, own_valkey.port, name=f"l{next(N)}")
        yield t.Pair(stack, tmp_path, s)
