"""The export menu of a run's scores: the rows and figures shown, in every format."""

from collections.abc import Mapping

import pandas as pd

from fda.figures.theme import Theme
from fda.report.cited import Cited
from fda.report.comparison import ALWAYS, Results, titles
from fda.report.comparison_figures import ComparisonView, Drawing, cited_sentence
from fda.report.comparison_tables import raw_table, reading_table
from fda.report.html import report
from fda.report.markup import to_latex, to_markdown
from fda.report.run_report import facts
from fda.store.records import Run
from fda.ui.exports import TextFile, export_menu, run_report_file

NOT_IN_PRINT = ["settings", "chosen", "peak MiB"]  # too wide for a printed page


def comparison_menu(
    run: Run,
    results: Results,
    view: ComparisonView,
    drawn: Mapping[str, Drawing],
    cited: tuple[Cited, Mapping[str, float]] | None,
    theme: Theme,
) -> None:
    """Show the menu. `drawn`: name → figure, as shown; `cited`: the published table and its averages."""
    averages = cited[1] if cited else None

    def table() -> pd.DataFrame:
        return reading_table(results, view.methods, averages)

    def whole() -> str:
        return report(
            f"{run.spec.zoo.name}: merging methods compared",
            facts=facts(run, results),
            table=table(),
            figures={name: (drawing.make(), drawing.sentence) for name, drawing in drawn.items() if drawing.make},
            notes=[cited_sentence(cited[0])] if cited else [],
            theme=theme,
        )

    export_menu(
        f"fda-{run.run_id}",
        tables={"Results": lambda: raw_table(results, view.methods, averages)},
        texts=[
            TextFile("Table (Markdown)", lambda: to_markdown(table()), "md", "text/markdown"),
            TextFile("Table (LaTeX)", lambda: latex(run, results, view, averages), "tex", "text/x-tex"),
            TextFile("What is shown (HTML)", whole, "html", "text/html"),
            run_report_file(run.run_id, theme),
        ],
        figures={name: drawing.make for name, drawing in drawn.items() if drawing.make},
    )


def latex(run: Run, results: Results, view: ComparisonView, averages: Mapping[str, float] | None) -> str:
    """The table for a paper, with the best score of each column in bold; individual models do not compete."""
    scores = ["average %", *(f"{task} %" for task in results.scores.tasks)]
    if results.normalised is not None:
        scores.append("normalised %")
    return to_latex(
        reading_table(results, view.methods, averages).drop(columns=NOT_IN_PRINT),
        best=scores,
        never_best=[titles(ALWAYS)["individual"]],
        caption=f"{run.spec.zoo.name}: {results.metric} on the {results.split} split with 95 % bootstrap intervals.",
    )
