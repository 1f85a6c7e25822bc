"""Start the MCP server on stdio: `voice-mcp`, or `python -m mcp_client`."""

import logging
import os
import sys

from mcp_client.client import VoiceService
from mcp_client.player import play
from mcp_client.server import build_server


def main() -> None:
    """Serve the editor. stdout belongs to the protocol; everything else goes to stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # one line per request, with the address
    build_server(VoiceService.from_environment(os.environ), play).run()


if __name__ == "__main__":
    main()
