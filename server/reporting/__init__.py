"""What watches a run. Each module of this package is one reporter, found by its presence.

A reporter is a class with some of the methods of `Reporter`, and a function that builds it where the settings
ask for it:

    from fedmx.settings import ServerSettings
    from server.report import RoundReport
    from server.reporting.reporter import Reporter

    class PrintedRounds(Reporter):
        def on_round(self, report: RoundReport) -> None:
            print(f"round {report.round}: {report.evaluate}")

    def make(_: ServerSettings) -> Reporter | None:
        return PrintedRounds()

That file is all it takes. `make` returns None where the reporter is off, and imports what the reporter needs
only when it is on. A reporter is called on a thread of its own unless it sets `in_background = False`.

The record of a run (`server.record`) is not a reporter: a run that cannot be recorded fails, while a reporter
that fails or hangs is named in one WARNING and the run continues.
"""
