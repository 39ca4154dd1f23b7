"""Writes metrics in Prometheus' text format, by way of its own client library."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from headworks.observe.metrics import Metrics


class _Bridge(Collector):
    """Shows our metrics to a Prometheus registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        for family, samples in self._metrics.samples():
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for suffix, values, number in samples:
                names = (*family.labels, "le") if suffix == "_bucket" else family.labels
                labels = dict(zip(names, values, strict=True))
                metric.add_sample(family.name + suffix, labels, number)
            yield metric


class Exposition:
    """Renders our metrics and the process's own (memory, CPU, file descriptors)."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Bridge(metrics))
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
