# Build: make image (docker, podman or buildah), or docker build -t hafnium-exporter .
# Run:   docker run --read-only --cap-drop ALL -p 9818:9818 -v ./config:/etc/hafnium-exporter:ro hafnium-exporter
# The digest is the one that Docker Official Images' own record (docker-library/repo-info) tells of this tag; docs/security.md
# says how to renew it. Whatever else is installed is pinned by hash.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# What builds stays apart from what is shipped: one has pip and hatchling, the other has not.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/venv
WORKDIR /src
COPY requirements.build.lock requirements.serve.lock ./
RUN /opt/build/bin/pip install --require-hashes --no-deps -r requirements.build.lock \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-compile --require-hashes --no-deps -r requirements.serve.lock
# Of the Kubernetes client, kubeconfigs are read by it and no more. Its classes for every object of every API are loaded when
# somebody asks for one, which nobody does, and are 70 MB; tests/shipping/test_image.py reads kubeconfigs in the image.
RUN cd /opt/venv/lib/python3.*/site-packages/kubernetes \
 && rm -r aio && find client/models client/api -name '*.py' ! -name __init__.py -delete
COPY pyproject.toml README.md LICENSE ./
COPY docs/hafnium-exporter.1 ./docs/
COPY exporter ./exporter
# Bytecode is made here, as a root that is read-only cannot take any: without it every start compiles everything anew.
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-compile --no-index --no-deps /wheel/*.whl \
 && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib \
 && find /opt/venv/bin -type f ! -name hafnium-exporter -delete \
 && /opt/venv/bin/hafnium-exporter --version

FROM ${BASE}
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hafnium-exporter" \
      org.opencontainers.image.description="Health-probe exporter for a Spring Boot fleet and what it depends on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# The base's own pip, in neither of its places, is of use to an intruder only.
RUN ["rm", "-rf", "/usr/local/lib/python3.11/site-packages", "/usr/local/lib/python3.11/ensurepip"]
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HAFNIUM_EXPORTER_CONFIG=/etc/hafnium-exporter/exporter.yml \
    HEALTH_URL=http://127.0.0.1:9818/-/healthy
COPY --from=build /opt/venv /opt/venv
COPY config/exporter.yml /etc/hafnium-exporter/exporter.yml
# No name, so that runAsNonRoot can tell; nothing is written, so the root may be read-only.
USER 65532:65532
EXPOSE 9818
STOPSIGNAL SIGTERM
# Plain HTTP, by no proxy: with TLS or a login on that port, `server.health_listen` is what HEALTH_URL must name.
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(os.environ['HEALTH_URL'], timeout=2)"]
ENTRYPOINT ["hafnium-exporter"]
CMD ["serve"]
