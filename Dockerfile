# For a machine with an NVIDIA GPU, its driver and the NVIDIA Container Toolkit. No test builds it.
#
#   docker build -t mtlab .
#   docker run --rm -it --gpus all --shm-size 8g -v "$PWD/runs:/work/runs" -v mtlab-cache:/cache mtlab run quickstart
FROM python:3.12-slim

# torch's wheels on PyPI bring CUDA's libraries: the image needs none.
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ".[offline,dashboard,slurm]"

ENV MTLAB_CACHE=/cache
WORKDIR /work
ENTRYPOINT ["mtlab"]
CMD ["--help"]
