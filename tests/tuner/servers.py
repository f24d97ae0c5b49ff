"""Real servers for tests, in folders of their own on free ports."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

PASSWORD = "geheim-7"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgreSQL:
    """A server of its own, which may be stopped and started again."""

    def __init__(self, programs):
        self._programs = programs
        # Another user than root runs it, who may not enter pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="fusetune-postgresql-"))
        self._user = {"user": "postgres"} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, "postgres")
        (self.folder / "password").write_text(PASSWORD)
        self._run(
            "initdb",
            "-D",
            "data",
            "-U",
            "tester",
            "-A",
            "scram-sha-256",
            "--pwfile",
            "password",
            "--no-sync",
        )
        self.port, self._n_databases = free_port(), 0
        self.start()

    def _run(self, program, *arguments):
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self.folder,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            **self._user,
        )
        assert done.returncode == 0, done.stderr

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        options += " -c max_connections=300"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self):
        """Stop it as a crash does."""
        self._run("pg_ctl", "-D", "data", "-m", "immediate", "stop")

    def database(self):
        """Make an empty database and return its URL."""
        import psycopg

        self._n_databases += 1
        name = f"d{self._n_databases}"
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="tester",
            password=PASSWORD,
            dbname="postgres",
            autocommit=True,
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def postgresql_server():
    pytest.importorskip("psycopg", reason="needs the extra 'postgresql'")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (programs and programs[-1])
    if not found:
        pytest.skip("needs PostgreSQL's initdb")
    server = PostgreSQL(Path(found).parent)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


PROXY = """
import os
from optuna.storages import run_grpc_proxy_server
from tuner.storage.backends import open_storage
storage, port = open_storage(os.environ["STORAGE"]), int(os.environ["PORT"])
run_grpc_proxy_server(storage, host="127.0.0.1", port=port)
"""


@contextlib.contextmanager
def grpc_proxy(url):
    """Run Optuna's proxy in front of a storage; give the proxy's URL."""
    pytest.importorskip("grpc", reason="needs the extra 'grpc'")
    port = free_port()
    environment = os.environ | {"STORAGE": url, "PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-c", PROXY], env=environment)
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def redis_server():
    """Run a Redis of its own with a password; give its URL."""
    redis = pytest.importorskip("redis", reason="needs the extra 'redis'")
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    port = free_port()
    process = subprocess.Popen(
        [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--requirepass",
            PASSWORD,
        ],
        stdout=subprocess.DEVNULL,
        cwd=tempfile.gettempdir(),
    )
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url) as client:
            for _ in range(100):
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    break
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
