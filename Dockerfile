# The service with the starter bundle. If bundles/current is mounted, it serves that one.
# It listens on all addresses, so it needs KINDRED_API_KEYS or KINDRED_ALLOW_ANONYMOUS=true.
FROM python:3.12-slim

WORKDIR /app
# requirements-milvus.lock also has the client of Milvus.
ARG LOCK=requirements.lock
COPY requirements.lock ./
COPY requirements-milvus.lock ./
RUN pip install --no-cache-dir --require-hashes -r "$LOCK" \
    && useradd --create-home --uid 1000 kindred \
    && install --directory --owner kindred gallery

COPY kindred ./kindred
COPY training ./training
COPY service ./service
COPY starter ./starter

USER kindred
ENV KINDRED_HOST=0.0.0.0 KINDRED_PORT=8000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz')"]
CMD ["python", "-m", "service"]
