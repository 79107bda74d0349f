"""``sg.pl.benchmark`` and ``sg.pl.ablation``: means, intervals and pairs by hand, who stands where, what is written."""

from __future__ import annotations

import io
import itertools
import logging
import statistics

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.pl._palette import BLUE, GREY, VERMILLION

T_95 = {2: 4.302653, 3: 3.182446, 4: 2.776445}
"""97.5 % quantiles of Student's t, from a printed table, by degrees of freedom."""

ROLES = {
    "net": ("method", True),
    "tree": ("method", False),
    "pearson": ("method", False),
    "hub_floor": ("floor", True),
    "tf_rate": ("floor", True),
    "permuted_expression": ("control", True),
}
LEVELS = {"net": 0.9, "tree": 0.6, "pearson": 0.55, "hub_floor": 0.85, "tf_rate": 0.7, "permuted_expression": 0.8}
PREVALENCE = {"easy": 0.4, "hard": 0.05}


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


def results(*, folds: int = 3, seeds: int = 2, splits=("given",), methods=tuple(LEVELS), datasets=("easy", "hard")):
    """A table as of ``bm.run``; values differ by dataset, method, fold and seed in a way that no two are equal."""
    rows = []
    for number, dataset in enumerate(datasets):
        for split in splits:
            for method in methods:
                role, supervised = ROLES[method]
                for fold in range(1, folds + 1):
                    for seed in range(seeds):
                        auroc = LEVELS[method] - 0.1 * number + 0.01 * (fold - 2) ** 2 + 0.001 * fold * (1 + seed)
                        rows.append(
                            {
                                "dataset": dataset,
                                "method": method,
                                "role": role,
                                "supervised": supervised,
                                "split": split,
                                "fold": fold,
                                "seed": seed,
                                "error": "",
                                "auroc": auroc,
                                "auprc": auroc * PREVALENCE[dataset] * 2,
                                "prevalence": PREVALENCE[dataset],
                                "ece": 0.02 + (1 - auroc) / 10 if supervised else np.nan,
                                "fit_seconds": 10.0 ** (fold + seed) * (0.001 if role == "floor" else 1),
                                "peak_memory_mb": 360 + 300 * (1 - auroc) + 5 * seed,
                                "predictions": "",
                            }
                        )
    return pd.DataFrame(rows)


def fail(table: pd.DataFrame, where: pd.Series) -> pd.DataFrame:
    table = table.copy()
    table.loc[where, "error"] = "MemoryError: too large"
    table.loc[where, ["auroc", "auprc", "ece", "prevalence", "fit_seconds"]] = np.nan
    return table


def artists(ax, kind: str) -> dict[str, object]:
    """Name → line, of the lines whose gid begins with ``kind:``."""
    lines = {line.get_gid(): line for line in ax.lines if str(line.get_gid()).startswith(f"{kind}:")}
    return {gid.partition(":")[2]: line for gid, line in lines.items()}


def means(ax) -> dict[str, float]:
    return {name: float(line.get_xdata()[0]) for name, line in artists(ax, "mean").items()}


def heights(ax) -> dict[str, float]:
    return {name: float(line.get_ydata()[0]) for name, line in artists(ax, "mean").items()}


def line_at(ax, gid: str) -> list[float]:
    return [float(line.get_xdata()[0]) for line in ax.lines if line.get_gid() == gid]


def labels(ax) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def legend_texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def assert_tidy(figure, monkeypatch) -> None:
    """No text that is drawn lies over another or reaches out of the figure."""
    figure.draw_without_rendering()  # lets the layout settle
    drawn: list[Text] = []
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text():
            drawn.append(self)
        draw(self, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.draw_without_rendering()
    assert drawn
    boxes = [text.get_window_extent() for text in drawn]
    page = figure.bbox
    for text, box in zip(drawn, boxes, strict=True):
        assert box.x0 >= page.x0 - 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y1 <= page.y1 + 1, text
    for at, (text, box) in enumerate(zip(drawn, boxes, strict=True)):
        for other, beside in zip(drawn[at + 1 :], boxes[at + 1 :], strict=True):
            width = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            height = min(box.y1, beside.y1) - max(box.y0, beside.y0)
            assert not (width > 1 and height > 1), f"{text} lies over {other}"


# ---------------------------------------------------------------- benchmark: means and intervals


def test_mean_over_folds_of_the_mean_over_seeds_with_a_t_interval():
    table = results()
    (ax,) = sg.pl.benchmark(table, metric="auroc", datasets="easy").ravel()
    for method in LEVELS:
        of_method = table[(table["method"] == method) & (table["dataset"] == "easy")]
        by_fold = [statistics.mean(of_method.loc[of_method["fold"] == fold, "auroc"]) for fold in (1, 2, 3)]
        margin = T_95[2] * statistics.stdev(by_fold) / 3**0.5
        assert means(ax)[method] == pytest.approx(statistics.mean(by_fold))
        interval = artists(ax, "interval")[method].get_xdata()
        np.testing.assert_allclose(
            interval, [statistics.mean(by_fold) - margin, statistics.mean(by_fold) + margin], rtol=1e-5
        )
        np.testing.assert_allclose(np.sort(artists(ax, "runs")[method].get_xdata()), np.sort(of_method["auroc"]))


def test_repeated_seeds_of_a_method_without_chance_do_not_narrow_its_interval():
    once = results(seeds=1, methods=["pearson"])
    twice = pd.concat([once, once.assign(seed=1), once.assign(seed=2)])
    ends = [
        artists(sg.pl.benchmark(table, metric="auroc")[0, 0], "interval")["pearson"].get_xdata()
        for table in (once, twice)
    ]
    np.testing.assert_allclose(*ends)


def test_with_one_fold_the_interval_is_over_seeds():
    table = results(folds=1, seeds=4, methods=["net"], datasets=["easy"])
    ax = sg.pl.benchmark(table, metric="auroc")[0, 0]
    margin = T_95[3] * statistics.stdev(table["auroc"]) / 2
    np.testing.assert_allclose(np.diff(artists(ax, "interval")["net"].get_xdata()), 2 * margin, rtol=1e-5)


def test_two_values_are_shown_without_an_interval():
    ax = sg.pl.benchmark(results(folds=2, methods=["net"]), metric="auroc")[0, 0]
    assert not artists(ax, "interval")
    assert len(artists(ax, "runs")["net"].get_xdata()) == 4


def test_many_runs_are_not_shown_one_by_one():
    ax = sg.pl.benchmark(results(folds=4, seeds=4, methods=["net"]), metric="auroc")[0, 0]
    assert not artists(ax, "runs")
    assert artists(ax, "interval")


def test_one_run():
    ax = sg.pl.benchmark(results(folds=1, seeds=1), metric="auroc")[0, 0]
    assert set(means(ax)) == set(LEVELS)
    assert not artists(ax, "interval")
    assert not artists(ax, "runs")


def test_times_have_a_logarithmic_axis_and_a_geometric_mean():
    table = results(methods=["net", "hub_floor"], datasets=["easy"])
    ax = sg.pl.benchmark(table, metric="fit_seconds")[0, 0]
    assert ax.get_xscale() == "log"
    assert means(ax)["net"] == pytest.approx(10 ** np.mean([1, 2, 2, 3, 3, 4]))
    assert means(ax)["hub_floor"] == pytest.approx(0.001 * means(ax)["net"])
    half = T_95[2] / 3**0.5  # logarithms of the folds are 1.5, 2.5, 3.5: their standard deviation is 1
    np.testing.assert_allclose(
        np.log10(artists(ax, "interval")["net"].get_xdata()), [2.5 - half, 2.5 + half], rtol=1e-5
    )
    assert line_at(ax, "floor") == []
    assert line_at(ax, "random") == []
    assert "(lower is better)" in ax.get_xlabel()


def test_all_runs_and_lines_are_inside_the_axes_however_wide_an_interval():
    table = results(methods=["net", "tree"], datasets=["hard"])
    table.loc[(table["method"] == "tree") & (table["fold"] == 1), "auroc"] = 0.95  # an interval far beyond 0 and 1
    ax = sg.pl.benchmark(table, metric="auroc")[0, 0]
    low, high = ax.get_xlim()
    assert low < min(0.5, table["auroc"].min())
    assert table["auroc"].max() < high
    assert artists(ax, "interval")["tree"].get_xdata()[0] < low
    assert high - low < 1.0


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        ("auprc", [0.01, 0.02, 0.2], (0.0, None)),
        ("auroc", [0.8, 0.99, 0.99], (None, 1.0)),
        ("epr", [0.1, 0.2, 3.0], (0, None)),
    ],
)
def test_intervals_end_where_the_metric_does(metric, values, expected):
    table = results(seeds=1, methods=["net", "tree"], datasets=["easy"]).assign(epr=1.5)
    table.loc[table["method"] == "net", metric] = values
    ax = sg.pl.benchmark(table, metric=metric, floor=None)[0, 0]
    found = artists(ax, "interval")["net"].get_xdata()
    margin = T_95[2] * statistics.stdev(values) / 3**0.5
    mean = statistics.mean(values)
    np.testing.assert_allclose(
        found, [mean - margin if expected[0] is None else 0, mean + margin if expected[1] is None else 1], rtol=1e-5
    )
    assert (ax.get_xlim()[0] < 0) <= (expected[0] == 0)


@pytest.mark.parametrize(("metric", "values", "edges"), [("auroc", [0.95, 0.5, 0.5], [0]), ("epr", [2, 2, 20], [1])])
def test_a_triangle_points_to_where_an_interval_goes_on(metric, values, edges):
    table = results(seeds=1, methods=["net", "tree"], datasets=["hard"]).assign(epr=2.5)
    table.loc[table["method"] == "tree", metric] = values
    ax = sg.pl.benchmark(table, metric=metric)[0, 0]
    low, high = artists(ax, "interval")["tree"].get_xdata()
    assert [low < ax.get_xlim()[0], ax.get_xlim()[1] < high] == [0 in edges, 1 in edges]
    at_edge = [line for line in ax.lines if line.get_gid() == "beyond:tree"]
    assert [line.get_xdata()[0] for line in at_edge] == edges  # as a share of the panel's width
    assert {line.get_ydata()[0] for line in at_edge} == {heights(ax)["tree"]}
    assert not any(line.get_gid() == "beyond:net" for line in ax.lines)


# ---------------------------------------------------------------- benchmark: rows, lines, words


def test_methods_are_sorted_with_floors_and_controls_apart():
    axes = sg.pl.benchmark(results())
    assert axes.shape == (2, 2)
    expected = ["net", "tree", "pearson", "hub_floor", "tf_rate", "permuted_expression"]
    for ax in axes.ravel():
        at = heights(ax)
        assert sorted(at, key=at.get) == expected
        np.testing.assert_allclose(np.diff([at[name] for name in expected]), [1, 1, 1.6, 1, 1.6])
        assert ax.get_ylim()[0] > ax.get_ylim()[1]  # downwards
    assert [labels(ax) for ax in axes[:, 0]] == [expected, expected]
    assert not any(label.label1.get_visible() for ax in axes[:, 1] for label in ax.yaxis.get_major_ticks())
    assert [ax.get_title() for ax in axes[0]] == ["easy", "hard"]
    assert [ax.get_xlabel() for ax in axes[:, 0]] == ["AUROC", "AUPRC"]


def test_a_method_that_lacks_the_hard_dataset_is_not_better_for_it():
    table = results()
    table.loc[table["method"] == "tree", "auroc"] += 0.25  # 0.85 and 0.75: second after net
    table = table[~((table["method"] == "net") & (table["dataset"] == "easy"))]
    table = table[~((table["method"] == "tree") & (table["dataset"] == "hard"))]
    plain = table.groupby("method")["auroc"].mean()
    assert plain["tree"] > plain["net"]
    easy, hard = sg.pl.benchmark(table, metric="auroc")[0]
    assert heights(hard)["net"] == 0
    assert heights(easy)["tree"] == 1
    assert "not run" in texts(easy)
    assert "not run" in texts(hard)


def test_lower_is_better():
    ax = sg.pl.benchmark(results(methods=["net", "hub_floor", "tf_rate"]), metric="ece")[0, 0]
    assert labels(ax) == ["net", "hub_floor", "tf_rate"]  # 0.03, 0.035, 0.05


def test_hub_floor_and_random_level():
    table = results()
    axes = sg.pl.benchmark(table, methods=["net", "tree"])
    for number, metric in enumerate(("auroc", "auprc")):
        for ax, dataset in zip(axes[number], ("easy", "hard"), strict=True):
            floor = table.loc[(table["method"] == "hub_floor") & (table["dataset"] == dataset), metric].mean()
            level = 0.5 if metric == "auroc" else PREVALENCE[dataset]
            assert set(means(ax)) == {"net", "tree"}  # the line is there though the floor has no row
            assert line_at(ax, "floor") == [pytest.approx(floor)]
            assert line_at(ax, "random") == [pytest.approx(level)]
            assert {f"{floor:.3f}", f"{level:.3f}"} <= set(texts(ax))
    assert {"hub_floor", "random level"} <= set(legend_texts(axes[0, 0].figure))


def test_a_floor_at_the_random_level_is_told_once():
    table = results()
    table.loc[table["method"] == "hub_floor", "auroc"] = 0.5
    for ax in sg.pl.benchmark(table, methods=["net", "tree"], metric="auroc").flat:
        assert line_at(ax, "floor") == line_at(ax, "random") == [pytest.approx(0.5)]
        assert texts(ax).count("0.500") == 1


def test_no_floor():
    axes = sg.pl.benchmark(results(), floor=None)
    assert line_at(axes[0, 0], "floor") == []
    assert "hub_floor" not in legend_texts(axes[0, 0].figure)
    other = sg.pl.benchmark(results(), metric="auroc", floor="tf_rate")
    assert line_at(other[0, 0], "floor") == [pytest.approx(means(other[0, 0])["tf_rate"])]
    assert "tf_rate" in legend_texts(other[0, 0].figure)


def test_a_table_without_the_hub_floor_is_drawn_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "scgrn_tl"):
        axes = sg.pl.benchmark(results(methods=["net", "tree"]), metric="auroc")
    assert "no 'hub_floor'" in caplog.text
    assert line_at(axes[0, 0], "floor") == []
    with pytest.raises(ArgumentError, match="floor='hubs' is not among the methods"):
        sg.pl.benchmark(results(), floor="hubs")


def test_values_are_printed():
    ax = sg.pl.benchmark(results(), metric="auroc", datasets="easy")[0, 0]
    assert {f"{value:.3f}" for value in means(ax).values()} <= set(texts(ax))


def test_failed_runs_are_counted():
    table = results()
    table = fail(table, (table["method"] == "tree") & (table["dataset"] == "easy"))
    table = fail(table, (table["method"] == "net") & (table["dataset"] == "easy") & (table["fold"] == 3))
    easy, hard = sg.pl.benchmark(table, metric="auroc")[0]
    assert {"6 failed", "2 failed", "–"} <= set(texts(easy))
    assert not any("failed" in text for text in texts(hard))
    assert "tree" not in means(easy)
    assert "tree" in labels(easy)
    of_net = table[(table["method"] == "net") & (table["dataset"] == "easy")]
    assert means(easy)["net"] == pytest.approx(of_net["auroc"].mean())  # of what did not fail
    assert line_at(easy, "random") == [0.5]


def test_a_metric_that_a_method_does_not_have():
    ax = sg.pl.benchmark(results(), metric="ece", datasets="easy")[0, 0]
    assert texts(ax).count("no value") == 2  # the two unsupervised methods give no probabilities
    at = dict(zip(labels(ax), ax.get_yticks(), strict=True))
    assert at["net"] == 0
    assert at["pearson"] == 1  # those without come last, by name
    assert at["tree"] == 2


def test_nothing_but_failures():
    table = results(methods=["net"])
    axes = sg.pl.benchmark(fail(table, table["fold"] > 0))
    assert all("6 failed" in texts(ax) for ax in axes.ravel())


def test_colors_and_markers():
    axes = sg.pl.benchmark(results(), metric="auroc", highlight="net")
    line = artists(axes[0, 0], "mean")
    assert to_hex(line["net"].get_markeredgecolor()) == VERMILLION.lower()
    assert to_hex(line["tree"].get_markeredgecolor()) == BLUE.lower()
    assert to_hex(line["hub_floor"].get_markeredgecolor()) == GREY.lower()
    assert to_hex(line["tree"].get_markerfacecolor()) == "#ffffff"  # unsupervised
    assert len({line[name].get_marker() for name in ("net", "hub_floor", "permuted_expression")}) == 3
    colors = {label.get_text(): to_hex(label.get_color()) for label in axes[0, 0].get_yticklabels()}
    assert colors["net"] == VERMILLION.lower()
    assert colors["hub_floor"] == GREY.lower()
    shown = set(legend_texts(axes[0, 0].figure))
    assert {"supervised", "unsupervised", "floor", "control", "95 % interval", "one run"} <= shown
    only = sg.pl.benchmark(results(methods=["tree"]), metric="auroc", floor=None)
    assert not {"supervised", "floor", "control"} & set(legend_texts(only[0, 0].figure))


def test_the_legend_has_what_is_drawn_and_nothing_else():
    def shown(table, **given):
        return set(legend_texts(sg.pl.benchmark(table, **given)[0, 0].figure))

    assert shown(results(), metric=["ece"]) == {
        "supervised",
        "floor",
        "control",
        "95 % interval",
        "one run",
        "hub_floor",
    }
    assert shown(results(folds=1, seeds=1), metric="fit_seconds") == {"supervised", "unsupervised", "floor", "control"}
    table = results()
    assert shown(fail(table, table["fold"] > 0), metric="ece") == set()


# ---------------------------------------------------------------- benchmark: figure


def test_axes_that_are_given():
    figure, given = plt.subplots(2, 2, layout="constrained")
    axes = sg.pl.benchmark(results(), axes=given)
    assert axes.ravel().tolist() == given.ravel().tolist()
    assert means(given[1, 1])
    assert len(plt.get_fignums()) == 1
    assert figure.axes == given.ravel().tolist()
    _, stacked = plt.subplots(2, 1)
    sg.pl.benchmark(results(), metric="auroc", axes=stacked, legend=False)
    assert [labels(ax)[0] for ax in stacked] == ["net", "net"]  # both at the left
    _, single = plt.subplots()
    assert sg.pl.benchmark(results(), metric="auroc", datasets="hard", axes=single)[0, 0] is single
    with pytest.raises(ArgumentError, match="1 axes for 4 panels"):
        sg.pl.benchmark(results(), axes=single)


def test_axes_in_a_figure_without_a_layout_that_are_too_small(caplog, monkeypatch):
    figure, ax = plt.subplots(layout="constrained")
    with caplog.at_level(logging.WARNING, "scgrn_tl"):
        sg.pl.benchmark(results(), metric="auroc", datasets="easy", axes=ax)
        assert caplog.text == ""
        assert_tidy(figure, monkeypatch)  # savefig needs no bbox_inches
        _, large = plt.subplots(figsize=(8, 8))
        large.set_position((0.3, 0.3, 0.5, 0.5))
        sg.pl.benchmark(results(), metric="auroc", datasets="easy", axes=large)
        assert caplog.text == ""
        sg.pl.benchmark(results(), metric="auroc", datasets="easy", axes=plt.subplots()[1])
    assert "layout='constrained'" in caplog.text


def test_a_legend_beside_other_axes_stays_below_its_own():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    sg.pl.benchmark(results(), metric="auroc", datasets="easy", axes=left)
    assert left.get_legend() is not None
    assert figure.legends == []
    assert right.get_legend() is None


def test_width():
    assert sg.pl.benchmark(results(), metric="auroc", datasets="easy")[0, 0].figure.get_figwidth() == 3.4
    assert sg.pl.benchmark(results())[0, 0].figure.get_figwidth() == 7.0
    narrow = sg.pl.benchmark(results(), metric="auroc", width=2.6)
    assert narrow.shape == (1, 2)
    assert [ax.get_subplotspec().colspan.start for ax in narrow[0]] == [0, 0]  # one below the other
    assert [labels(ax)[0] for ax in narrow[0]] == ["net", "net"]
    beside = sg.pl.benchmark(results(), datasets="easy", width=7)
    assert beside.shape == (2, 1)
    assert [ax.get_subplotspec().colspan.start for ax in beside[:, 0]] == [0, 1]


def test_panels_that_do_not_fill_the_last_line():
    many = pd.concat([results(datasets=["easy"]).assign(dataset=f"cells {n}") for n in range(5)])
    axes = sg.pl.benchmark(many, width=6)
    assert axes.shape == (2, 5)
    assert len(axes[0, 0].figure.axes) == 10
    assert [ax.get_title() for ax in axes[1]] == [f"cells {n}" for n in range(5)]
    assert {ax.get_xlabel() for ax in axes[1]} == {"AUPRC"}


@pytest.mark.parametrize(
    "given",
    [
        {"highlight": "net"},
        {"metric": "auroc", "width": 3.4},
        {"metric": ["auroc", "auprc", "ece", "fit_seconds"], "datasets": "easy"},
        {"metric": "auprc", "datasets": "hard"},
        {"metric": ["fit_seconds", "peak_memory_mb", "auroc", "auprc"], "datasets": "hard"},
        {"metric": ["peak_memory_mb", "fit_seconds"], "width": 4.0},
    ],
    ids=str,
)
def test_no_text_lies_over_another_or_is_cut(given, monkeypatch):
    table = results()
    table = fail(table, (table["method"] == "permuted_expression") & (table["fold"] == 2))
    table.loc[table["method"] == "hub_floor", ["auroc", "auprc"]] *= 0.55  # close to the random level
    assert_tidy(sg.pl.benchmark(table, **given)[0, 0].figure, monkeypatch)


@pytest.mark.parametrize("inches", [0.6, 1.0, 1.5, 4.0])
@pytest.mark.parametrize(
    ("low", "high", "is_log"),
    [
        (0.45, 0.92, False),
        (0.0401, 0.0472, False),
        (-0.025, 0.012, False),
        (352, 690, True),
        (350, 480, True),
        (300, 41_000, True),
        (0.0007, 90, True),
        (1e-6, 2e5, True),
        (2e4, 3e5, True),
        (0.4, 2.2, True),
    ],
)
def test_ticks_have_room_and_one_style(low, high, is_log, inches):
    from scgrn_tl.pl._value_ticks import LogLabels, RoundNumbers

    figure = plt.figure(figsize=(inches + 2, 1))
    ax = figure.add_axes((1 / (inches + 2), 0.5, inches / (inches + 2), 0.4))
    if is_log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(LogLabels())
    ax.xaxis.set_major_locator(RoundNumbers(ax, is_log=is_log))
    ax.tick_params(labelsize=7)
    ax.set_xlim(low, high)
    figure.draw_without_rendering()
    ticks = np.asarray(ax.get_xticks())
    assert len(ticks) >= (1 if inches < 1 else 2)
    assert ((low <= ticks) & (ticks <= high)).all()
    drawn = [label for label in ax.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in drawn]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert len({label.get_text().startswith("$10^") for label in drawn}) == 1


# ---------------------------------------------------------------- the table


def test_the_table_stays_as_it_is_and_may_come_from_a_file():
    table = results()
    table = fail(table, (table["method"] == "tree") & (table["fold"] == 2))
    before = table.copy()
    first = sg.pl.benchmark(table)
    pd.testing.assert_frame_equal(table, before)
    text = table.to_csv(index=False)  # empty errors come back as NaN
    read = pd.read_csv(io.StringIO(text)).astype({"dataset": "category", "method": "category"})
    assert read["error"].isna().any()
    for ax, again in zip(first.ravel(), sg.pl.benchmark(read).ravel(), strict=True):
        assert means(ax) == pytest.approx(means(again))
        assert texts(ax) == texts(again)


def test_order_of_datasets():
    assert [ax.get_title() for ax in sg.pl.benchmark(results(), datasets=["hard", "easy"])[0]] == ["hard", "easy"]
    shuffled = results().sample(frac=1, random_state=0)
    assert [ax.get_title() for ax in sg.pl.benchmark(shuffled, datasets=["easy", "hard"])[0]] == ["easy", "hard"]


def test_splits_do_not_mix():
    table = results(splits=["given", "tf"])
    table.loc[table["split"] == "tf", "auroc"] -= 0.2
    with pytest.raises(ArgumentError, match=r"several kinds of split, which do not mix: 'given', 'tf'.*split="):
        sg.pl.benchmark(table)
    given, tf = (sg.pl.benchmark(table, metric="auroc", split=split)[0, 0] for split in ("given", "tf"))
    assert means(given)["net"] - means(tf)["net"] == pytest.approx(0.2)
    with pytest.raises(ArgumentError, match="no split 'both'; there are: 'given', 'tf'"):
        sg.pl.benchmark(table, split="both")


@pytest.mark.parametrize("plot", [sg.pl.benchmark, lambda table, **given: sg.pl.ablation(table, full="net", **given)])
def test_bad_tables(plot):
    table = results()
    with pytest.raises(ArgumentError, match=r"table is a DataFrame, not"):
        plot({})
    with pytest.raises(MissingKeyError, match=r"no column 'auroc', 'fold'|no column 'fold', 'auroc'"):
        plot(table.drop(columns=["auroc", "fold"]))
    with pytest.raises(ArgumentError, match="no rows"):
        plot(table.iloc[:0])
    with pytest.raises(ArgumentError, match=r"metric='auc' cannot be drawn\. There are: auroc, auprc"):
        plot(table, metric="auc")
    with pytest.raises(ArgumentError, match="methods has 'nets', not in the table; there are: 'net'"):
        plot(table, methods=["net", "nets"])
    with pytest.raises(ArgumentError, match="datasets has 'mESC', not in the table; there are: 'easy', 'hard'"):
        plot(table, datasets="mESC")
    with pytest.raises(ArgumentError, match="datasets is empty"):
        plot(table, datasets=[])
    with pytest.raises(ArgumentError, match=r"72 runs stand in the table more than once, the first being .*'easy'"):
        plot(pd.concat([table, table]))
    assert plt.get_fignums() == []


def test_bad_arguments_of_the_benchmark():
    with pytest.raises(ArgumentError, match="metric is empty"):
        sg.pl.benchmark(results(), metric=[])
    with pytest.raises(ArgumentError, match="highlight has 'nets'"):
        sg.pl.benchmark(results(), highlight="nets")
    with pytest.raises(ArgumentError, match="'role' has 'rival'; it is one of 'method', 'floor', 'control'"):
        sg.pl.benchmark(results().replace({"role": {"control": "rival"}}))
    with pytest.raises(MissingKeyError, match="no column 'prevalence'"):
        sg.pl.benchmark(results().drop(columns="prevalence"))
    sg.pl.benchmark(results().drop(columns="prevalence"), metric="auroc")  # whose random level needs none


# ---------------------------------------------------------------- ablation


def variants(**shifts: float) -> pd.DataFrame:
    """The full model (``net``) and variants that are off by a shift, and by as much again as their fold says."""
    full = results(methods=["net"], seeds=2)
    parts = [full]
    for name, shift in shifts.items():
        off = shift * (1 + 0.1 * full["fold"] + 0.01 * full["seed"])
        parts.append(full.assign(method=name, auroc=full["auroc"] + off, auprc=full["auprc"] + off))
    return pd.concat(parts, ignore_index=True)


def test_differences_are_paired():
    ax = sg.pl.ablation(variants(no_graph=-0.02), full="net")
    by_fold = [-0.02 * (1 + 0.1 * fold + 0.005) for fold in (1, 2, 3)]
    margin = T_95[2] * statistics.stdev(by_fold) / 3**0.5
    assert means(ax) == pytest.approx(dict.fromkeys(["no_graph:easy", "no_graph:hard"], statistics.mean(by_fold)))
    np.testing.assert_allclose(
        artists(ax, "interval")["no_graph:easy"].get_xdata(),
        [statistics.mean(by_fold) - margin, statistics.mean(by_fold) + margin],
        rtol=1e-5,
    )
    runs = sorted(-0.02 * (1 + 0.1 * fold + 0.01 * seed) for fold in (1, 2, 3) for seed in (0, 1))
    np.testing.assert_allclose(sorted(artists(ax, "runs")["no_graph:hard"].get_xdata()), runs)
    assert line_at(ax, "full") == [0.0]
    assert ax.get_xlabel() == "AUROC, difference from net"


def test_a_run_without_its_pair_does_not_count():
    table = variants(no_graph=-0.02)
    table = fail(table, (table["method"] == "net") & (table["dataset"] == "easy") & (table["fold"] == 3))
    ax = sg.pl.ablation(table, full="net")
    assert means(ax)["no_graph:easy"] == pytest.approx(-0.02 * (1 + 0.15 + 0.005))  # folds 1 and 2
    assert means(ax)["no_graph:hard"] == pytest.approx(-0.02 * (1 + 0.2 + 0.005))
    shuffled = sg.pl.ablation(table.sample(frac=1, random_state=1), full="net", datasets=["easy", "hard"])
    assert means(shuffled) == pytest.approx(means(ax))


def test_the_variant_that_loses_most_stands_on_top():
    ax = sg.pl.ablation(variants(mean_pooling=0.001, no_graph=-0.02, no_expression=-0.1), full="net", metric="auprc")
    assert labels(ax) == ["no_expression", "no_graph", "mean_pooling"]
    assert heights(ax)["no_expression:easy"] < heights(ax)["no_expression:hard"] < heights(ax)["no_graph:easy"]
    chosen = sg.pl.ablation(
        variants(mean_pooling=0.001, no_graph=-0.02), full="net", methods=["mean_pooling", "net"], datasets="hard"
    )
    assert set(means(chosen)) == {"mean_pooling:hard"}
    worse = variants(slow=-0.1, fast=0.1)
    worse["ece"] = 1 - worse["auroc"]
    assert labels(sg.pl.ablation(worse, full="net", metric="ece")) == ["slow", "fast"]


def test_floors_and_controls_are_no_ablations():
    """They stand below the variants, however much worse, in groups of their own and in grey, controls open."""
    table = variants(no_graph=-0.02, mean_pooling=0.001, hub_floor=-0.2, shuffled=-0.1)
    table["role"] = table["method"].map({"hub_floor": "floor", "shuffled": "control"}).fillna("method")
    ax = sg.pl.ablation(table, full="net")
    assert labels(ax) == ["no_graph", "mean_pooling", "hub_floor", "shuffled"]
    within, *between = np.diff(ax.get_yticks())
    assert within == pytest.approx(1.0)
    assert min(between) > 1.2
    line = artists(ax, "mean")
    colors = {name: to_hex(each.get_markeredgecolor()) for name, each in line.items()}
    assert {colors[f"{name}:{on}"] for name in ("hub_floor", "shuffled") for on in ("easy", "hard")} == {GREY.lower()}
    assert GREY.lower() not in {
        colors[f"{name}:{on}"] for name in ("no_graph", "mean_pooling") for on in ("easy", "hard")
    }
    assert to_hex(line["shuffled:easy"].get_markerfacecolor()) == "#ffffff"
    assert to_hex(line["hub_floor:easy"].get_markerfacecolor()) != "#ffffff"
    assert line["hub_floor:easy"].get_marker() != line["hub_floor:hard"].get_marker()  # datasets are still told apart
    assert to_hex(ax.get_yticklabels()[2].get_color()) == GREY.lower()
    assert legend_texts(ax.figure)[2:] == ["floor", "control"]
    assert "floor" not in legend_texts(sg.pl.ablation(variants(no_graph=-0.02), full="net").figure)
    with pytest.raises(ArgumentError, match="'role' has 'rival'"):
        sg.pl.ablation(table.replace({"role": {"control": "rival"}}), full="net")


def test_an_interval_smaller_than_its_dot_shows_on_it():
    ax = sg.pl.ablation(variants(no_graph=-0.02, as_good=-1e-9), full="net")
    for name, interval in artists(ax, "interval").items():
        dot = artists(ax, "mean")[name]
        assert interval.get_zorder() > dot.get_zorder()
        assert to_hex(interval.get_color()) != to_hex(dot.get_markerfacecolor())


def test_datasets_have_colors_and_the_level_of_the_full_model():
    table = variants(no_graph=-0.02)
    ax = sg.pl.ablation(table, full="net")
    line = artists(ax, "mean")
    assert len({to_hex(each.get_markeredgecolor()) for each in line.values()}) == 2
    assert len({each.get_marker() for each in line.values()}) == 2
    level = table[table["method"] == "net"].groupby("dataset")["auroc"].mean()
    assert legend_texts(ax.figure) == [f"easy {level['easy']:.3f}", f"hard {level['hard']:.3f}"]
    assert ax.figure.legends[0].get_title().get_text() == "AUROC of net"


def test_times_are_compared_by_their_ratio():
    table = variants(no_graph=0.0)
    table.loc[table["method"] == "no_graph", "fit_seconds"] *= table["fold"].map({1: 0.5, 2: 0.25, 3: 0.5})
    ax = sg.pl.ablation(table, full="net", metric="fit_seconds")
    assert ax.get_xscale() == "log"
    assert line_at(ax, "full") == [1.0]
    assert means(ax)["no_graph:easy"] == pytest.approx(0.5 ** (4 / 3))
    assert ax.get_xlabel() == "seconds of a fit, ratio to net\n(lower is better)"


def test_failed_and_missing_variants():
    table = variants(no_graph=-0.02, no_embedding=-0.01)
    table = fail(table, (table["method"] == "no_graph") & (table["dataset"] == "easy"))
    table = table[~((table["method"] == "no_embedding") & (table["dataset"] == "hard"))]
    ax = sg.pl.ablation(table, full="net")
    assert set(means(ax)) == {"no_graph:hard", "no_embedding:easy"}
    assert sorted(texts(ax)) == ["easy: 6 failed", "hard: not run"]
    alone = sg.pl.ablation(table, full="net", datasets="easy")
    assert texts(alone) == ["6 failed"]


def test_axes_of_an_ablation():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    assert sg.pl.ablation(variants(no_graph=-0.02), full="net", ax=left) is left
    assert sg.pl.ablation(variants(no_graph=-0.02), full="net", metric="auprc", ax=right, legend=False) is right
    assert len(plt.get_fignums()) == 1
    assert left.get_legend() is not None
    assert right.get_legend() is None
    assert figure.legends == []
    assert sg.pl.ablation(variants(no_graph=-0.02), full="net").figure.get_figwidth() == 3.4


def test_bad_arguments_of_an_ablation():
    table = variants(no_graph=-0.02)
    with pytest.raises(ArgumentError, match="full='full' is not among the methods of the table: 'net', 'no_graph'"):
        sg.pl.ablation(table)
    with pytest.raises(ArgumentError, match="no variant to hold against 'net'"):
        sg.pl.ablation(table, full="net", methods="net")
    failed = fail(table, (table["method"] == "net") & (table["dataset"] == "hard"))
    with pytest.raises(ArgumentError, match="'net' has no auroc on 'hard'"):
        sg.pl.ablation(failed, full="net")
    sg.pl.ablation(failed, full="net", datasets="easy")
    with pytest.raises(ArgumentError, match="several kinds of split"):
        sg.pl.ablation(results(splits=["given", "tf"]), full="net")


@pytest.mark.parametrize("datasets", [None, "easy"])
def test_no_text_of_an_ablation_lies_over_another(datasets, monkeypatch):
    table = variants(no_expression_at_all=-0.2, no_graph=-0.02, mean_pooling=0.001, random_weights=-0.01)
    table = fail(table, (table["method"] == "no_graph") & (table["dataset"] == "easy"))
    assert_tidy(sg.pl.ablation(table, full="net", datasets=datasets).figure, monkeypatch)
