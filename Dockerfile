# For a machine with an NVIDIA GPU, its driver and the NVIDIA Container Toolkit. It has never been built, and no test does.
# Tried by hand on Debian 13 with its Python 3.13: from the files that .dockerignore leaves, without git, pip builds mtlab
# and finds every package of the line below (`pip install --dry-run`). Not tried: the image, torch with CUDA, a GPU.
#
#   docker build -t mtlab .
#   docker run --rm -it --gpus all --shm-size 8g -v "$PWD/runs:/work/runs" -v mtlab-cache:/cache mtlab run quickstart
FROM python:3.13-slim

# torch's wheels on PyPI bring CUDA's libraries: the image needs none.
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir ".[offline,dashboard,slurm]"

ENV MTLAB_CACHE=/cache
WORKDIR /work
ENTRYPOINT ["mtlab"]
CMD ["--help"]
