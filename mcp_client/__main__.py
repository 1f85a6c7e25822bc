"""`voice-mcp`, or `python -m mcp_client`."""

from mcp_client.cli import main

if __name__ == "__main__":
    main()
