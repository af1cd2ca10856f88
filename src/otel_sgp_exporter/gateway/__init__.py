"""`otel-sgp gateway`: OTLP in, over HTTP or from Kafka; SGP out, through the same mapping and engine.

Stateless: what it has not acknowledged is still with the sender, or behind the committed offset in Kafka. Needs
`pip install 'otel-sgp-exporter[gateway]'`, and `[kafka]` for Kafka.
"""
