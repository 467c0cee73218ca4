"""Tables that leave for papers and programs: LaTeX that compiles, CSV that holds what the report holds."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from test_report import drawn

from mtlab.errors import UserError
from mtlab.report import side_by_side
from mtlab.report.export import render_svg, render_text
from mtlab.report.formats import captions, latex, markdown
from mtlab.report.formats.tables import ReportTable, TableCell
from mtlab.report.study import StudyResults
from mtlab.report.study_report import build_report

CELLS = ["last", "bridge", "static", "adaptive"]
DOCS = Path(__file__).parents[2] / "docs" / "report-json.md"
NASTY = r"50% & co_{1} \x $2^n$ #1 ~ <a|b> “é” β 模 ½"


def pdf(tmp_path, text):
    """Compile a table as a paper would; where there is no LaTeX, see that it is well-formed."""
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\caption{")
    for columns, body in re.findall(r"\\begin{tabular}{([^\n]*)}\n(.*?)\\end{tabular}", text, flags=re.S):
        kinds = re.sub(r"\[.*?\]", "", columns)
        assert set(kinds) <= set("lrS")
        for line in re.findall(r"^(.*) \\\\$", body, flags=re.M):
            spanned = sum(int(width) - 1 for width in re.findall(r"\\multicolumn{(\d+)}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(kinds)
    compiler = shutil.which("pdflatex") or shutil.which("tectonic")
    if compiler is None:
        return
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,siunitx}\begin{document}\input{table}\end{document}"
    )
    batch = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in compiler else []
    done = subprocess.run([compiler, *batch, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.fixture
def lengths_plan(four):
    """Plan a study whose variants were trained for equal steps and equal FLOPs; bridge needs the same for both."""
    for cell in ("static", "last"):
        for seed in range(5):
            four.finish(f"{cell}-short", seed, 0.6 + 0.01 * seed + (0.1 if cell == "static" else 0.0))
    plan = four.plan(["bridge", "static", "last"])
    rows, runs = [], list(plan["runs"])
    for block, short in (("equal steps", ""), ("equal FLOPs", "-short")):
        for row in plan["rows"]:
            cell = row["cell"] + ("" if row["cell"] == "bridge" else short)
            labels = {"manager": row["label"], "train.length": f"length {block}"}
            axes = row["axes"] | {"train.length": {"flops": 1e12} if short else {"steps": 800}}
            rows.append(row | {"cell": cell, "label": " · ".join(labels.values()), "axis_labels": labels, "axes": axes})
            if cell != row["cell"]:
                cost = {"trained_params": 1, "flops_forward": 1.0, "flops": 9e11, "steps": 700}
                runs += [
                    run | {"cell": cell, "id": f"{cell}/s{run['seed']}", "cost": cost}
                    for run in plan["runs"]
                    if run["cell"] == row["cell"]
                ]
    return plan | {"rows": rows, "runs": runs, "study": "lengths"}


@pytest.fixture
def lengths(four, lengths_plan):
    return build_report(four.store, lengths_plan)


def test_a_notebooks_table_names_the_length_of_each_row_though_two_rows_are_one_cell(four, lengths_plan):
    table = StudyResults(four.store, lengths_plan).table
    assert table["axis/train.length"].to_list() == ["length equal steps"] * 3 + ["length equal FLOPs"] * 3


@pytest.fixture
def papers(four):
    """Give a study with results from the literature: of a row, of one that was not run, of a method that is no row."""
    plan = four.plan([*CELLS, "sae"], study="papers")
    entry = {"also": {}, "source": "A et al. 2023, table 2", "note": None}
    plan["published_rows"] = [
        entry | {"cell": None, "label": "ALBEF", "values": {"test/accuracy": 75.84}, "note": "larger"},
        entry | {"cell": "sae", "label": "sae", "values": {"test/accuracy": 0.7812}},
        entry | {"cell": "static", "label": "static", "values": {"test/accuracy": 79.39, "val/accuracy": 79.0}}
        | {"also": {"test-std": 79.15}},
    ]  # fmt: skip
    return build_report(four.store, plan)


def test_markdown_takes_no_label_for_html_and_a_caption_leaves_it_as_it_is(four):
    cells = TableCell("<none> | x"), TableCell("worse (p < 0.001)")
    line = markdown.markdown_table(ReportTable(("variant", "verdict"), (cells,), frozenset({0, 1}))).splitlines()[-1]
    assert line == "| \\<none> \\| x | worse (p < 0.001) |"
    assert markdown.join_parts(["<b> `run <file>`", "see <https://a.b>"]) == "\\<b> `run <file>`\n\nsee <https://a.b>\n"
    report = build_report(four.store, four.plan(CELLS))
    report = replace(report, rows=(replace(report.rows[0], notes=("its note",)), *report.rows[1:]))
    assert f" {report.rows[0].label}: its note." in captions.paper_caption(report)


def test_latex_says_all_that_the_numbers_need_and_marks_what_was_shown(four, tmp_path):
    text = build_report(four.store, four.plan(CELLS)).to_latex()
    pdf(tmp_path, text)
    for expected in ("n = 5 seeds", "95\\% t interval", "m = 300 examples", "paired t test over seeds", "Holm for 3"):
        assert expected in text
    for expected in ("p $\\leq$ 0.05", "val/accuracy", "\\label{tab:trial}", "better", "worse than bridge"):
        assert expected in text
    lines = {line.split(" & ")[0].strip(): line for line in text.splitlines() if line.endswith(r"\\")}
    assert "$^{\\dagger}$" in lines[r"\textbf{static}"]
    assert "$^{\\ddagger}$" in lines["last"]
    assert "dagger" not in lines["adaptive"] + lines["bridge"]
    assert r"\boldmath 80.4 \pm 2.6 $^{\dagger}$ & " in lines[r"\textbf{static}"]
    assert (text.count(r"\textbf{"), text.count(r"\boldmath")) == (1, 1)
    assert r"S[table-format = 2.1(2), table-space-text-post = {$^{\ddagger}$}]" in text  # aligned at point and ±
    assert not re.search(r"\\usepackage|\\hline", text.replace("% needs \\usepackage{booktabs,siunitx}", ""))


def test_bold_is_the_best_mean_and_not_a_verdict(fabric, tmp_path):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.70 + 0.02 * seed)
        fabric.finish("static", seed, 0.75 - 0.02 * seed)
    text = build_report(fabric.store, fabric.plan(["bridge", "static"], seeds=3)).to_latex()
    (bold,) = [line for line in text.splitlines() if "textbf" in line]
    assert "dagger" not in bold
    assert "Bold: highest mean, which alone shows no difference" in text


def test_no_label_is_taken_as_an_option_of_the_line_above(four, tmp_path):
    plan = four.plan(CELLS)
    for row, label in zip(plan["rows"], ("[8, 10, 12]", "*starred", "[1]", "plain"), strict=True):
        row["label"] = label
    text = build_report(four.store, plan).to_latex()
    pdf(tmp_path, text)
    assert not re.search(r"\\(\\|[a-z]+)\s*[\[*]", re.sub(r"\\begin.*", "", text))
    assert "{}[8, 10, 12] & " in text


def test_anything_in_a_label_is_printed_as_it_is(four, tmp_path):
    plan = four.plan(CELLS)
    plan["rows"][0]["label"] = NASTY
    plan["study"] = "odd_name.1"
    plan["rows"][0]["note"] = f"has no {NASTY}"
    text = build_report(four.store, plan).to_latex()
    assert r"50\% \& co\_\{1\} \textbackslash{}x \$2\textasciicircum{}n\$ \#1" in text
    assert r"\label{tab:odd-name-1}" in text
    pdf(tmp_path, text)


def test_unfinished_studies_and_single_rows_make_tables_too(fabric, tmp_path):
    text = build_report(fabric.store, fabric.plan(["bridge"], baseline=None)).to_latex()
    pdf(tmp_path, text)
    assert "% note: provisional: 0 of 5 runs are finished" in text
    assert "n = 0 of 5 seeds" in text


def test_csv_has_the_documented_columns_and_the_reports_numbers(papers):
    lines = list(csv.DictReader(io.StringIO(papers.to_csv())))
    page = DOCS.read_text(encoding="utf-8").partition("## CSV")[2]
    documented = re.findall(r"`(\w+)`", page.partition("With `--by family`")[0].split(": `study`")[1])
    named = ["study", *[name for name in documented if name not in ("measured", "published", "NAME")]]
    columns = [name for name in lines[0] if "/" not in name]
    assert columns == named
    by_label = {line["label"]: line for line in lines}
    static = next(row for row in papers.rows if row.label == "static")
    assert float(by_label["static"]["mean"]) == static.mean.mean
    arms = static.mean.mean - static.mean.interval[0], static.mean.interval[1] - static.mean.mean
    assert float(by_label["static"]["half_width"]) == pytest.approx(max(arms))
    assert float(by_label["static"]["p_corrected"]) == static.p_corrected
    assert (by_label["static"]["best"], by_label["static"]["n"], by_label["static"]["steps"]) == ("true", "5", "800")
    assert (by_label["static"]["published/test/accuracy"], by_label["static"]["published/test-std"]) == (
        "79.39",
        "79.15",
    )
    assert (by_label["ALBEF"]["kind"], by_label["ALBEF"]["mean"], by_label["ALBEF"]["cell"]) == ("published", "", "")
    assert by_label["sae"]["mean"] == ""
    second = page.partition("With `--by family`")[2]
    named = re.findall(r"`(\w+)`", second)
    assert list(csv.DictReader(io.StringIO(papers.to_csv(by_family=True))).fieldnames) == named


def test_csv_keeps_the_results_of_several_sources(four):
    entry = {"label": "static", "cell": "static", "note": None, "also": {}}
    values = (("A", {"test/accuracy": 79.0}), ("B", {"test/accuracy": 78.5}))
    found = [{**entry, "source": paper, "values": value} for paper, value in values]
    report = build_report(four.store, four.plan(["bridge", "static"], published_rows=found))
    _, static = csv.DictReader(io.StringIO(report.to_csv()))
    assert (static["published/test/accuracy"], static["published/test/accuracy (B)"]) == ("79.0", "78.5")
    assert static["published_source"] == "A; B"


def test_theirs_stands_beside_ours_and_is_never_taken_for_it(papers, tmp_path):
    pdf(tmp_path, papers.to_latex())
    for text in (drawn(papers, 120), papers.to_markdown(), papers.to_latex().replace("\\pm", "±")):
        flat = re.sub(r"[|& ]+", " ", text.replace("$±$", "±"))
        assert "static test/accuracy 79.39 80.4 ± 2.6" in flat
        assert "static test-std 79.15 not measured" in flat
        assert "sae test/accuracy 78.1 not run" in flat
        assert "ALBEF test/accuracy 75.84 no row of this study" in flat
        assert "not measured here and not tested against" in " ".join(text.split())
        assert flat.index("static test/accuracy") < flat.index("sae test/accuracy") < flat.index("ALBEF")
    found = {(row["label"], row["metric"]): row for row in papers.to_dict()["published_rows"]}
    assert found["static", "test/accuracy"]["mean"] == pytest.approx(0.804, abs=1e-3)
    assert found["static", "test/accuracy"]["n"] == 5
    assert found["static", "test-std"]["measured_here"] is False
    assert (found["sae", "test/accuracy"]["n"], found["ALBEF", "test/accuracy"]["cell"]) == (0, None)
    page = DOCS.read_text(encoding="utf-8").partition("## A published result")[2].partition("\n## ")[0]
    assert set(found["sae", "test/accuracy"]) == set(re.findall(r"^\| `(\w+)`", page, flags=re.M))


def test_equal_steps_and_equal_flops_stand_side_by_side(lengths, tmp_path):
    data = lengths.to_dict()
    assert [block["label"] for block in data["side_by_side"]["blocks"]] == ["equal steps", "equal FLOPs"]
    assert data["side_by_side"]["variants"] == ["bridge", "static", "last"]
    first, second = (block["rows"] for block in data["side_by_side"]["blocks"])
    rows = data["rows"]
    assert rows[first["bridge"]]["cell"] == rows[second["bridge"]]["cell"]
    assert rows[second["static"]]["cell"] == "static-short"
    assert rows[second["static"]]["compare_to"] == {"cell": "bridge", "label": "bridge · length equal FLOPs"}
    assert (rows[second["static"]]["cost"]["steps"], rows[second["static"]]["cost"]["training_flops"]) == (700, 9e11)
    assert [row["label"] for row in rows if row["best"]] == [
        "static · length equal steps",
        "static · length equal FLOPs",
    ]
    assert data["comparisons"] == 4
    assert not any("no (finite)" in note for note in data["notes"])
    for width in (80, 120):
        shown = drawn(lengths, width)
        assert max(map(len, shown.splitlines())) <= width
        lines = shown.splitlines()
        head = next(index for index, line in enumerate(lines) if re.search(r"equal steps +equal FLOPs", line))
        assert lines[head + 1].split().count("steps") == 2
        static = next(line for line in lines[head:] if line.startswith("static"))
        assert re.findall(r"\b(\d{3}) +(\S+ [TG])", static) == [("800", "1.00 T"), ("700", "900 G")]
        assert ("difference" in lines[head + 1]) == (width == 120)
    assert "| equal steps: accuracy |" in lengths.to_markdown()
    text = lengths.to_latex()
    assert r"\multicolumn{3}{c}{equal steps} & \multicolumn{3}{c}{equal FLOPs} \\" in text
    assert "worse than bridge" in text
    pdf(tmp_path, text)


@pytest.mark.parametrize(
    ("axis", "value", "block"),
    [
        ("train.length", {"steps": 800}, "long"),
        ("schedule", {"train.length.steps": 800, "train.eval_every": 80}, "long"),
        ("world", {"data": "pictograms", "train.length": {"steps": 300}}, "long"),
        ("variant", {"manager": "bridge", "train.length": {"steps": 1380}}, None),  # a control among variants
        ("manager", "bridge", None),
    ],
)
def test_a_length_of_training_is_a_block_where_it_is_an_axis_of_its_own(axis, value, block):
    row = {"label": "long", "axes": {axis: value}, "axis_labels": {axis: "long"}}
    assert side_by_side.block_label(row) == block
    assert side_by_side.variant_label(row) == ("base" if block else "long")


def test_two_studies_stand_side_by_side_each_tested_by_itself(four, lengths, tmp_path):
    other = build_report(four.store, four.plan(CELLS))
    view = side_by_side.compare_studies([other, lengths])
    assert [block.label for block in view.blocks] == ["trial", "lengths, equal steps", "lengths, equal FLOPs"]
    assert view.variants == ("last", "bridge", "static", "adaptive")
    pdf(tmp_path, latex.studies_latex(view))
    text = markdown.studies_markdown(view)
    (static,) = [line for line in text.splitlines() if line.startswith("| static")]
    assert static.count("80.4 ± 2.6") == 2
    assert "corrected by Holm for 3 comparisons" in text
    assert "corrected by Holm for 4 comparisons" in text
    assert "Each study is tested and corrected by itself" in text
    lines = list(csv.DictReader(io.StringIO(render_text([other, lengths], "csv"))))
    assert [line["study"] for line in lines] == ["trial"] * 4 + ["lengths"] * 6
    assert render_svg([other, lengths]).startswith("<svg")


def test_studies_that_cannot_stand_side_by_side_are_told(four):
    one, plan = build_report(four.store, four.plan(CELLS)), four.plan(CELLS, study="other")
    plan["metrics"] = plan["metrics"] | {"verdict": "test/loss"}
    with pytest.raises(UserError, match="on test/accuracy, that of other on test/loss"):
        side_by_side.compare_studies([one, build_report(four.store, plan)])
    with pytest.raises(UserError, match="name each study once"):
        side_by_side.compare_studies([one, one])


def test_labels_are_no_tags_in_sentences_of_markdown_either(fabric):
    for seed in range(3):
        fabric.finish("bridge", seed, 0.70 + 0.01 * seed)
        fabric.finish("static", seed, 0.80 + 0.012 * seed)
    plan = fabric.plan(["bridge", "static"], seeds=3)
    for row in plan["rows"]:
        row["label"] = f"<b>{row['label']}</b>"
    told = build_report(fabric.store, plan).to_markdown()
    assert r"to \<b>bridge\</b>" in told
    assert re.search(r"(?<!\\)<b>", told) is None
