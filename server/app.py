"""The ServerApp, which Flower's engines load: a SuperLink, or a simulation."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedmx.flower_app import check_versions, one_line_errors

app = ServerApp()


@app.main()
def _main_on_flowers_engine(grid: Grid, context: Context) -> None:
    """Run, or end with a line for each problem; the run's status at the engine has the reason too."""
    with one_line_errors():
        check_versions()
        # Another version of Flower may lack what this imports.
        from server import flower_run  # noqa: PLC0415

        flower_run.run(grid, context.run_config)
