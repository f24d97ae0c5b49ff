# The command line on a CPU, without the four gigabytes of CUDA that torch brings on Linux otherwise:
#   docker build -t fusetune .
#   docker run --rm -v "$PWD:/data" fusetune mlp people.csv --target income
FROM python:3.13-slim

RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY pyproject.toml README.md LICENSE /fusetune/
COPY objectives /fusetune/objectives
COPY tuner /fusetune/tuner
RUN pip install --no-cache-dir "/fusetune[excel,parquet]"

RUN useradd --create-home tuner
USER tuner
WORKDIR /data
ENTRYPOINT ["tuner"]
CMD ["--help"]
