"""The ServerApp that Flower's SuperLink runs."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .rounds import play_rounds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play the rounds that the run's config asks for."""
    config = context.run_config
    play_rounds(grid, str(config["size"]), int(config["rounds"]), Path(str(config["marks"])))
