"""One JSON line for each request and event, without what was said."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("serving")


class JsonLines(logging.Formatter):
    """A record as one line of JSON; `extra={"fields": {...}}` becomes keys."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def write_json_lines() -> None:
    """Write the service's and the engine's log to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    for name in ("serving", "voice"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log something that happened."""
    log.log(level, name, extra={"fields": fields}, exc_info=error)
