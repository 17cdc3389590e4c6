import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "real_networks.ipynb"


def test_the_notebook_was_run_from_top_to_bottom_without_errors():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    tables = ["".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {})]
    assert len(tables) == 4
    assert all(name in tables[0] for name in ("SGD", "SWAG", "ensemble", "SGHMC", "minus SGD, paired"))
    assert "T = " in tables[1]
    assert str(Path.home()) not in NOTEBOOK.read_text()
    assert "/tmp/" not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("BAYESSGD_NOTEBOOK_SCALE", "0.1")
    monkeypatch.delenv("BAYESSGD_DATA", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    where = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
