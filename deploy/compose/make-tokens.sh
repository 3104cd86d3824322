#!/bin/sh
# Makes the tokens of the compose file once: one that posts and asks, one for Prometheus.
set -eu
if [ ! -s /run/tocsin/tokens.yaml ]; then
    word=$(tocsin tokens new compose --role admin --yes)
    tocsin tokens new prometheus --role metrics --yes >/run/tocsin/prometheus-token
    echo "token for sending events and asking, shown this once: $word"
fi
chmod 0755 /run/tocsin
chmod 0644 /run/tocsin/tokens.yaml /run/tocsin/prometheus-token
