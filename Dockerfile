# docker build -t kd .
# docker run --init -p 127.0.0.1:7860:7860 -e KD_PASSWORD=... -v kd-workspace:/workspace kd
#
# --init reaps trainers that outlive their supervisor. On a machine with NVIDIA's container toolkit add
#   --gpus all --shm-size 8g
# the second because processes that read images hand them over in shared memory, of which Docker gives 64 MB.
# Without KD_PASSWORD the server refuses to listen on anything but loopback, and the container ends saying so.
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 kd && mkdir /workspace && chown kd:kd /workspace

WORKDIR /opt/kd
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY kdengine kdengine
COPY studies studies
COPY app app
RUN pip install --no-cache-dir -c constraints.txt '.[all]'

USER kd
WORKDIR /workspace
ENV KD_HOME=/workspace PYTHONUNBUFFERED=1
VOLUME /workspace
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 7860), 4).close()"]
CMD ["kd", "ui", "--host", "0.0.0.0", "--port", "7860"]
