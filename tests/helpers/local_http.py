"""Requests to explorers on this machine.

For a request without a client, and for each client, httpx loads the certificates of all
authorities, which takes longer than the request itself. These functions do without them, and wait
longer than httpx's five seconds, which an answer may take on a busy machine.
"""

from __future__ import annotations

from functools import partial

import httpx
from gradio_client import Client

get = partial(httpx.get, verify=False, timeout=60)
post = partial(httpx.post, verify=False, timeout=60)
request = partial(httpx.request, verify=False, timeout=60)
stream = partial(httpx.stream, verify=False, timeout=60)
client = partial(httpx.Client, verify=False, timeout=60)
explorer = partial(Client, verbose=False, httpx_kwargs={"timeout": 60})
