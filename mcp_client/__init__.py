"""The MCP server that an editor starts: it sends text to the voice service and plays the answer. HTTP only."""
