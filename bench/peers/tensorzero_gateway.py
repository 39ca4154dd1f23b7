"""TensorZero's gateway as its Python package carries it: python tensorzero_gateway.py SETTINGS PORT_FILE.

It takes a port of its own choice, which is written into the file. Its threads serve; ours sleeps.
"""

import signal
import sys
import types
import warnings
from pathlib import Path

import tensorzero

warnings.simplefilter("ignore", DeprecationWarning)
client = types.SimpleNamespace()
tensorzero.patch_openai_client(client, config_file=sys.argv[1], async_setup=False)
port = client.base_url.split(":")[2].partition("/")[0]
part = Path(sys.argv[2] + ".part")
part.write_text(port, encoding="utf-8")
part.rename(sys.argv[2])
signal.sigwait({signal.SIGTERM, signal.SIGINT})
