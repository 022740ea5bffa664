"""TensorZero's gateway from its Python package, run by that environment: `tensorzero_gateway.py CONFIG PORT_FILE`."""

import sys
import time
from pathlib import Path

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
port = gateway.base_url.split(":")[2].partition("/")[0]
fresh = Path(sys.argv[2] + ".new")
fresh.write_text(port)
fresh.replace(sys.argv[2])
while True:
    time.sleep(3600)
