"""Requests to explorers on this machine.

For a request without a client, and for each client, httpx loads the certificates of all
authorities, which takes longer than the request itself. These functions do without them.
"""

from __future__ import annotations

from functools import partial

import httpx

get = partial(httpx.get, verify=False)
post = partial(httpx.post, verify=False)
request = partial(httpx.request, verify=False)
stream = partial(httpx.stream, verify=False)
client = partial(httpx.Client, verify=False)
