"""From the upstreams of a configuration to connections, credentials and rules."""

from base64 import b64encode
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from headworks.config.settings import CredentialConfig, UpstreamConfig
from headworks.core.upstream_bucket import NO_CAPS, Caps
from headworks.errors import ConfigurationError
from headworks.stores.health_track import HealthRules
from headworks.types import Secret
from headworks.upstream.http1 import ClientLimits, HttpClient, Origin, Proxy, tls_context
from headworks.upstream.openai import Credential, Provider
from headworks.upstream.probe import Place

_PROXY_PORT = 3128


def _origin(upstream: UpstreamConfig) -> Origin:
    return Origin.parse(upstream.base_url)[0]


def place_of(upstream: UpstreamConfig) -> Place:
    """Return the first machine on the way to an upstream."""
    first = proxy_of(upstream) or _origin(upstream)
    return Place(first.host, first.port, upstream.timeouts.connect)


def rules_of(upstream: UpstreamConfig) -> HealthRules:
    """Return when its routes are left alone, and what makes these other routes."""
    keys = tuple(replace(one, limits=None) for one in upstream.credentials)
    accounts = {one.name: _account(one) for one in upstream.credentials}
    caps: dict[str, Caps] = {}
    for one in upstream.credentials:
        account, allowed = accounts[one.name], one.limits or upstream.limits
        caps[account] = allowed.lower(caps.get(account, NO_CAPS))
    return HealthRules(
        upstream.breaker,
        upstream.retry_budget,
        (upstream.base_url, keys, upstream.proxy),
        accounts,
        caps,
        has_peers=len(keys) > 1,
    )


def _account(credential: CredentialConfig) -> str:
    """Return whose limits the credential draws on: its project's, where all of it is known."""
    if credential.organization is None or credential.project is None:
        return f"key {credential.name}"
    return f"project {credential.organization} {credential.project}"


def client_of(name: str, upstream: UpstreamConfig) -> HttpClient:
    """Return a client for the upstream; it opens no connection yet.

    Raises:
        ConfigurationError: Its file of authorities cannot be used.
    """
    origin, file = _origin(upstream), upstream.ca_file
    context = None
    if origin.is_secure and file is not None:
        try:
            context = tls_context(str(file))
        except OSError as error:  # ssl.SSLError is one
            problem = f"{file} holds no certificates that can be read: {error}"
            raise ConfigurationError([f"upstreams.{name}.ca_file: {problem}"]) from None
    limits = ClientLimits(connections=upstream.connections)
    return HttpClient(origin, ssl_context=context, proxy=proxy_of(upstream), limits=limits)


def proxy_of(upstream: UpstreamConfig) -> Proxy | None:
    """Return the proxy on the way to it, with what it wants to know."""
    if upstream.proxy is None:
        return None
    parts = urlsplit(upstream.proxy.reveal())
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = Secret("Basic " + b64encode(pair.encode()).decode())
    return Proxy(parts.hostname or "", parts.port or _PROXY_PORT, authorization)


def provider_of(client: HttpClient, upstream: UpstreamConfig) -> Provider:
    """Return the upstream as calls see it: its client, its base path, its credentials."""
    _, base = Origin.parse(upstream.base_url)
    all_ = (
        upstream.credentials if upstream.admin is None else (*upstream.credentials, upstream.admin)
    )
    credentials = {one.name: Credential(one.api_key, one.organization, one.project) for one in all_}
    return Provider(client, base, credentials)
