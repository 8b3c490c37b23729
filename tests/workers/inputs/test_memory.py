"""200 MB are read and written in little memory: measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

_START = """
import io, itertools, sys
from tests.workers.inputs.streams import Repeated
from workers.inputs.tables.output_columns import OutputColumn
from workers.inputs.tables.sniff import sniff
from workers.inputs.tables.reader import read_rows
from workers.inputs.tables.writers import write_rows

def row(i):
    return {"id": str(i), "text": f"A text about {i} that goes, on and; on " * 5, "n": i}

def rows(count):
    return map(row, range(count))

def peak_mb():
    # Not ru_maxrss, which a process has from its parent.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

class Pieces(io.RawIOBase):
    def __init__(self, pieces):
        self._pieces = iter(pieces)
    def read(self, size=-1):
        return next(self._pieces, b"")

# What the first use of everything takes is not counted.
for kind in ("jsonl", "csv", "parquet"):
    data = b"".join(write_rows(rows(100), kind))
    assert sum(1 for _ in read_rows(io.BytesIO(data), sniff(data))) == 100
del data
before = peak_mb()
"""


def grown_mb(work: str) -> float:
    script = textwrap.dedent(_START) + textwrap.dedent(work) + "\nprint(peak_mb() - before)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("compressed", [False, True])
def test_200_mb_are_written_and_read_in_little_memory(kind: str, compressed: bool):
    grown = grown_mb(
        f"""
        import zlib
        count = 1_000_000
        columns = ["id", "text", OutputColumn(name="n", type="integer")]
        pieces = write_rows(rows(count), {kind!r}, columns)
        if {compressed}:
            deflate = zlib.compressobj(1, wbits=31)
            pieces = itertools.chain(map(deflate.compress, pieces), (deflate.flush() for _ in "1"))
            pieces = filter(None, pieces)
        head = b""
        while len(head) < 65536:
            head += next(pieces)
        stream = Pieces(itertools.chain([head], pieces))
        found = sniff(head[:65536])
        read = sum(row.data is not None for row in read_rows(stream, found))
        assert read == count, read
        """
    )
    # A row group is held while it is written, as columns and as bytes.
    assert grown < (100 if kind == "parquet" else 16)


@pytest.mark.slow
def test_a_parquet_file_of_one_row_group_is_read_in_little_memory():
    grown = grown_mb(
        """
        import os, subprocess, sys, tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/a.parquet"
            subprocess.run([sys.executable, "-c", f'''if True:
                import os, pyarrow as pa, pyarrow.parquet as pq
                texts = [os.urandom(100).hex() for _ in range(1_000_000)]
                pq.write_table(pa.table(dict(text=texts)), {path!r}, row_group_size=1_000_000)
                '''], check=True)
            with open(path, "rb") as file:
                assert os.path.getsize(path) > 100_000_000
                found = sniff(file.read(65536))
                file.seek(0)
                assert sum(row.data is not None for row in read_rows(file, found)) == 1_000_000
        """
    )
    assert grown < 50
