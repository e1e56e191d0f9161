"""The ServerApp that Flower's SuperLink runs."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .rounds import run_rounds

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the number of rounds in the run's config."""
    config = context.run_config
    run_rounds(grid, str(config["size"]), int(config["rounds"]), Path(str(config["marks"])))
