# Two stages: the first builds the wheel, the second holds it, its dependencies and nothing to build with.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY consumers consumers
COPY rules rules
COPY templates templates
COPY docs/examples docs/examples
RUN python -m venv /opt/tocsin \
    && /opt/tocsin/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="tocsin" \
      org.opencontainers.image.description="Event-driven monitoring and alerting for training runs, jobs and pipelines" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tocsin \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/tocsin --create-home --shell /usr/sbin/nologin tocsin
COPY --from=build /opt/tocsin /opt/tocsin
ENV PATH=/opt/tocsin/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TOCSIN_HOME=/var/lib/tocsin \
    TOCSIN_HTTP__HOST=0.0.0.0 \
    TOCSIN_LOG__FORMAT=json
USER 10001:10001
WORKDIR /var/lib/tocsin
VOLUME /var/lib/tocsin
EXPOSE 8700
# SIGTERM: what was taken is committed and evaluated before it ends.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8700/healthz', timeout=4)"]
ENTRYPOINT ["tocsin"]
CMD ["up"]
