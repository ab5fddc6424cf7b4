"""The explorer. ``python app.py --help`` says how to start it; app/ is the program."""

from __future__ import annotations

import argparse
import os

if __name__ == "__main__":
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), "GRADIO_SERVER_PORT"
    parser = argparse.ArgumentParser(description="Open RegVQ Studio's explorer in a browser.")
    parser.add_argument("--host", default=host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=int,
        default=int(os.environ.get(port, 0)) or None,
        help=f"port (default: ${port}, else the first free one from 7860)",
    )
    arguments = parser.parse_args()
    from app.access import SettingError
    from app.shell import launch  # after the flags, so that --help answers at once

    try:
        launch(arguments.host, arguments.port)
    except SettingError as error:
        parser.exit(2, f"error: {error}\n")
