"""What can be taken home from a comparison: the rows and figures that are shown, in every format."""

from collections.abc import Mapping

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

NOT_IN_PRINT = ["settings", "chosen", "peak MiB"]  # too wide for a page of paper


def comparison_menu(
    run: Run,
    found: Results,
    view: ComparisonView,
    drawn: Mapping[str, Drawing],
    cited: tuple[Cited, Mapping[str, float]] | None,
    theme: Theme,
) -> None:
    """The export menu of the page."""
    averages = cited[1] if cited else None

    def table():
        return reading_table(found, view.methods, averages)

    def whole() -> str:
        return report(
            f"{run.spec.zoo.name}: merging methods compared",
            facts=facts(run, found),
            table=table(),
            figures={name: (one.make(), one.sentence) for name, one in drawn.items() if one.make},
            notes=[cited_sentence(cited[0])] if cited else [],
            theme=theme,
        )

    export_menu(
        f"fda-{run.run_id}",
        tables={"Results": lambda: raw_table(found, view.methods, averages)},
        texts=[
            TextFile("Table (Markdown)", lambda: to_markdown(table()), "md", "text/markdown"),
            TextFile("Table (LaTeX)", lambda: latex(run, found, view, averages), "tex", "text/x-tex"),
            TextFile("What is shown (HTML)", whole, "html", "text/html", ":material/article:"),
            run_report_file(run.run_id, theme),
        ],
        figures={name: one.make for name, one in drawn.items() if one.make},
    )


def latex(run: Run, found: Results, view: ComparisonView, averages: Mapping[str, float] | None) -> str:
    """The table for a paper: the best of each column of scores bold, the individual models not competing."""
    scores = ["average %", *(f"{task} %" for task in found.scores.tasks)]
    if found.normalised is not None:
        scores.append("normalised %")
    return to_latex(
        reading_table(found, view.methods, averages).drop(columns=NOT_IN_PRINT),
        best=scores,
        never_best=[titles(ALWAYS)["individual"]],
        caption=f"{run.spec.zoo.name}: {found.metric} on the {found.split} split with 95 % bootstrap intervals.",
    )
