# syntax=docker/dockerfile:1
# Build: docker build -t hafnium-exporter .
# Run:   docker run --read-only --cap-drop ALL -p 9818:9818 -v ./config:/etc/hafnium-exporter:ro hafnium-exporter
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY requirements.serve.lock ./
RUN /opt/venv/bin/pip install --require-hashes --no-deps -r requirements.serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY exporter ./exporter
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
 && /opt/venv/bin/python -m compileall -q /opt/venv/lib \
 && /opt/venv/bin/hafnium-exporter --version

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HAFNIUM_EXPORTER_CONFIG=/etc/hafnium-exporter/exporter.yml
COPY --from=build /opt/venv /opt/venv
COPY config/exporter.yml /etc/hafnium-exporter/exporter.yml
# No name, so that runAsNonRoot can tell; nothing is written, so the root may be read-only.
USER 65532:65532
EXPOSE 9818
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9818/-/healthy', timeout=2)"]
ENTRYPOINT ["hafnium-exporter"]
CMD ["serve"]
