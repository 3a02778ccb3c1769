"""What of a user's HTTP options no message may show."""

from __future__ import annotations

from typing import Any
from urllib.request import getproxies

from agentkit.gemini.faults import Faults


def hide_options(faults: Faults, options: Any) -> None:
    """Keep what `types.HttpOptions` give a client out of every message: headers, bodies, addresses, cookies."""
    if options is None:
        return
    faults.hide_headers(options.headers)
    faults.hide_all_in(options.extra_body)
    for url in (options.base_url, *getproxies().values()):
        faults.hide_url(url)
    for args in (options.client_args, options.async_client_args):
        _hide_args(faults, args or {})
    for client in (options.httpx_client, options.httpx_async_client):
        if client is not None:
            faults.hide_headers(client.headers)
            faults.hide([*client.cookies.values(), *client.params.values()])
            faults.hide_url(client.base_url)


def _hide_args(faults: Faults, args: dict[str, Any]) -> None:
    headers, auth, proxy = args.get("headers"), args.get("auth"), args.get("proxy")
    faults.hide_headers(dict(headers) if headers is not None else None)
    for values in (args.get("cookies"), args.get("params")):
        faults.hide_all_in(values if isinstance(values, dict) else None)
    if isinstance(auth, tuple):
        faults.hide(auth, shortest=4)
    if proxy is not None:
        faults.hide_url(getattr(proxy, "url", proxy))
        faults.hide(getattr(proxy, "auth", None) or (), shortest=4)
