"""The page of ``mexport dump --html`` in a real headless Chromium."""

import shutil

import numpy as np
import pytest

import mexport_pb as mx
from mexport_pb._proto.saved_model_pb2 import SavedModel
from mexport_pb.inspect.html import html_page
from mexport_pb.inspect.plots import merged_bars, stacked_bar
from tests.support.browser import open_browser, open_page
from tests.support.dumps import bytes_on_disk, describe, flip, make_model, run
from tests.support.tables import make_table


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An export, with a table more of which the distributions are known."""
    path = make_model(tmp_path_factory.mktemp("model"))
    ids = (np.arange(1000) % 10 + 3 << 48) + np.arange(1000)
    values = np.repeat(2.0 ** (np.arange(1000) % 7), 4).reshape(1000, 4).astype(np.float32)
    times = 1_700_000_000 + np.arange(1000) * 3600
    mx.write_table(path / "assets" / "extra", mx.TableDump(ids, values, times), 2)
    return path


@pytest.fixture(scope="module")
def page_file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "dump.html"
    file.write_text("".join(html_page(mx.describe(model))))
    return file


def section(page, title):
    """The first one of that title."""
    return page.locator("section", has=page.locator("h2", has_text=title)).first


def titles(page, title):
    """What the bars of a plot say, by the plot's name."""
    found = {}
    for svg in section(page, title).locator("svg").all():
        found[svg.get_attribute("aria-label")] = svg.locator("rect title").all_text_contents()
    return found


def test_facts(browser, page_file, model):
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        assert page.inner_text("h1") == model.name
        assert page.locator("h2").all_inner_texts() == [
            *("Size by part", "Signatures serve", "Graph serve", "Tables", "Table MonolithHashTable_slot"),
            *("Table MonolithMultiHashTable_: a", "Table MonolithMultiHashTable_: b", "Table extra"),
            *("Variables", "Assets", "Warmup"),
        ]
        assert page.inner_text(".sizes summary >> nth=0").split()[-2:] == [f"{bytes_on_disk(model):,}", "100.0%"]
        signatures = section(page, "Signatures").inner_text()
        for want in ("serving_default", "MonolithHashTable_slot_value", "float32", "[?, 4]", "ids:0"):
            assert want in signatures
        assert "global_step" in section(page, "Variables").inner_text()
        assert page.locator("img, script, link, iframe, object").count() == 0


def test_plots(browser, page_file):
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        plots = titles(page, "Table extra")
        assert plots["rows by slot"] == [f"slot {slot}: 100" for slot in range(3, 13)]
        # A norm is the square root of 4 times the value.
        norms = plots["rows by the norm of their embedding"]
        assert [text for text in norms if not text.endswith(": 0")] == [
            f"{2 ** (i + 1):.4g} to {2 ** (i + 1.25):.4g}: {count}"
            for i, count in enumerate([143, 143, 143, 143, 143, 143, 142])
        ]
        assert sum(int(text.rpartition(": ")[2].replace(",", "")) for text in plots["rows by timestamp"]) == 1000
        assert "values: 16,000 bytes" in "".join(plots["bytes by part of a record"])
        for svg in page.locator("svg").all():
            box = svg.bounding_box()
            assert box["width"] > 200
            assert box["height"] > 20
            for rect in svg.locator("rect").all():
                bar = rect.bounding_box()
                assert bar["height"] > 0
                assert bar["y"] >= box["y"] - 1
                assert bar["x"] + bar["width"] <= box["x"] + box["width"] + 1


def test_size_tree_opens(browser, page_file):
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        leaf = page.locator(".leaf", has_text="op signatures").first
        assert not leaf.is_visible()
        page.locator("summary", has_text="saved_model.pb").click()
        assert leaf.is_visible()


def colours(page):
    return page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")


def test_light_and_dark(browser, page_file):
    with open_page(browser, page_file.as_uri()) as light, open_page(browser, page_file.as_uri(), dark=True) as dark:
        assert colours(light) == ["rgb(251, 251, 250)", "rgb(29, 34, 38)"]
        assert colours(dark) == ["rgb(20, 23, 26)", "rgb(228, 231, 234)"]


def test_small_window(browser, page_file):
    with open_page(browser, page_file.as_uri(), width=400) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_names_are_text(browser, tmp_path):
    """Nothing that a model says is taken for markup, nor run, nor loaded."""
    code = "document.body.id='run'"
    evil = f'</style></title><script>{code}</script><img src=http://x.test/ onerror="{code}">'
    saved_model = SavedModel()
    meta_graph = saved_model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append(evil)
    meta_graph.meta_info_def.tensorflow_version = evil
    meta_graph.graph_def.node.add(name="n", op=evil, device=evil)
    meta_graph.signature_def[evil].method_name = evil
    meta_graph.signature_def[evil].inputs[evil].name = evil
    meta_graph.collection_def[evil].node_list.value.append("n")
    meta_graph.graph_def.library.function.add().signature.name = evil
    meta_graph.asset_file_def.add(filename=evil).tensor_info.name = evil
    meta_graph.saver_def.restore_op_name = evil
    (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    page_file = tmp_path / "page.html"
    page_file.write_text("".join(html_page(mx.describe(tmp_path))))
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        assert page.locator("img, script").count() == 0
        assert page.evaluate("document.body.id") == ""
        assert "asset filename: got" in page.inner_text(".damage")
        assert evil in section(page, "Signatures").inner_text()


def test_several_models_and_damage(browser, model, tmp_path, capsys):
    for name in ("entry", "ps_0"):
        shutil.copytree(model, tmp_path / "ctr" / name / "17")
    flip(tmp_path / "ctr" / "ps_0" / "17" / "variables" / "variables.data-00000-of-00001", 0)
    page_file = tmp_path / "page.html"
    captured = run(capsys, tmp_path / "ctr", "--html", page_file, status=1)
    assert captured.out == f"{page_file}\n"
    assert "checksum" in captured.err
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        assert page.locator("main h1").all_inner_texts() == ["entry", "ps_0"]
        page.click("nav a >> text=ps_0")
        assert page.locator("#m1 .damage").is_visible()
        assert page.locator("#m0 .damage").count() == 0


def test_the_same_bytes_for_the_same_facts(model):
    assert "".join(html_page(mx.describe(model))) == "".join(html_page(mx.describe(model)))


def test_bundles_and_tables(browser, tmp_path):
    with mx.BundleWriter(tmp_path / "c") as bundle:
        for i in range(100):
            bundle.add(f"v{i:03d}", np.arange(i, dtype=np.float32))
    mx.write_table(tmp_path / "t", make_table(np.arange(200) << 48), 1)
    page_file = tmp_path / "page.html"
    page_file.write_text("".join(html_page([describe(tmp_path / "c"), describe(tmp_path / "t")])))
    with open_page(browser, page_file.as_uri(), offline=True) as page:
        assert "the 64 largest of 200" in page.inner_text("main >> nth=1")
        page.locator("summary", has_text="100 rows").click()
        assert page.locator("td >> text=v099").is_visible()


def test_bars():
    bars = merged_bars([1, 2, 3, 4, 5], 2, str, lambda i, j: f"{i} to {j}")
    assert [(bar.label, bar.value, bar.title) for bar in bars] == [("0", 6, "0 to 3: 6"), ("3", 9, "3 to 5: 9")]
    assert stacked_bar([("a", 0)], "x") == ""
    many = stacked_bar([(f"p{i}", 100) for i in range(20)], "x")
    assert "everything else: 1,300 bytes, 65.0%" in many
