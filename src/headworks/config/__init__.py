"""What the operator says: schema, loading, secrets."""

from headworks.config.loading import default_config, find, load
from headworks.config.settings import (
    CapabilityConfig,
    Config,
    CredentialConfig,
    GroupConfig,
    KeyConfig,
    LogConfig,
    ModelConfig,
    PriceConfig,
    RetryConfig,
    RouteConfig,
    ServerConfig,
    UpstreamConfig,
    known_secrets,
)
from headworks.config.units import Address
from headworks.config.watch import changes

__all__ = [
    "Address",
    "CapabilityConfig",
    "Config",
    "CredentialConfig",
    "GroupConfig",
    "KeyConfig",
    "LogConfig",
    "ModelConfig",
    "PriceConfig",
    "RetryConfig",
    "RouteConfig",
    "ServerConfig",
    "UpstreamConfig",
    "changes",
    "default_config",
    "find",
    "known_secrets",
    "load",
]
