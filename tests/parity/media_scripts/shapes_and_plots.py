import io
import pathlib

import matplotlib
import numpy as np
import plotly.graph_objects as go
import torch
import wandb
from wandb.data_types import Graph, Node

matplotlib.use("Agg")
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
numbers = rng.normal(size=1000)
run = wandb.init(project="media", id="media2")

run.log({"list": wandb.Histogram([1, 2, 3.5, 2]), "array": wandb.Histogram(numbers), "n": 1})
run.log({"bins": wandb.Histogram(numbers, num_bins=7), "edges": wandb.Histogram(numbers, num_bins=[-3, 0, 1, 3])})
run.log({"auto": wandb.Histogram(numbers, num_bins="auto"), "torch": wandb.Histogram(torch.arange(50.0))})
run.log({"counted": wandb.Histogram(np_histogram=np.histogram(numbers, bins=5))})
run.log({"by hand": wandb.Histogram(np_histogram=([1, 2], [0, 0.5, 1])), "two": [wandb.Histogram([1, 2])] * 2})
run.log({"hidden": {"in": wandb.Histogram(numbers.reshape(10, 100)), "ints": wandb.Histogram(np.arange(40))}})

run.log({"html": wandb.Html("<h1>Hello</h1>"), "raw": wandb.Html("<head></head>x", inject=False)})
pathlib.Path("page.html").write_text("<html><body>page</body></html>")
run.log({"file": wandb.Html("page.html"), "as it is": wandb.Html(pathlib.Path("page.html"), inject=False)})
run.log({"not a path": wandb.Html("page.html", data_is_not_path=True), "stream": wandb.Html(io.StringIO("<p>é</p>"))})
run.log({"pages": [wandb.Html("a"), wandb.Html("b")]})

points = rng.uniform(-1, 1, (20, 3))
run.log({"xyz": wandb.Object3D(points), "rgb": wandb.Object3D(rng.integers(0, 255, (5, 6)), caption="coloured")})
boxes = [
    wandb.box3d(center=(0.5 * i, 0, 0), size=[0.1, 0.2, 0.3], orientation=np.array([1, 0.2 * i, 0, 0.1]),
                color=(1, 0, 0), label=f"box {i}", score=0.5)
    for i in range(3)
]  # fmt: skip
run.log({"scene": wandb.Object3D.from_point_cloud(points=points, boxes=boxes)})
vectors = [{"start": [0, 0, 0], "end": [0.1, 0.2, 0.5]}]
run.log({"vectors": wandb.Object3D.from_point_cloud(points.tolist(), boxes, vectors)})
scene = {"type": "lidar/beta", "points": points, "boxes": np.array(boxes), "vectors": np.array(vectors)}
run.log({"dict": wandb.Object3D(scene), "numpy": wandb.Object3D.from_numpy(points[:, [0, 1, 2, 0]])})
pathlib.Path("model.obj").write_text("v 0 0 0\n")
with pathlib.Path("model.obj").open() as file:
    run.log({"path": wandb.Object3D("model.obj"), "open": wandb.Object3D(file)})
run.log(
    {"text": wandb.Object3D.from_file(io.StringIO("v 1 1 1\n"), file_type="obj"), "many": [wandb.Object3D(points)] * 2}
)

pathlib.Path("protein.pdb").write_text("ATOM\n")
run.log({"molecule": wandb.Molecule("protein.pdb", caption="a file")})
run.log({"of text": wandb.Molecule(io.StringIO("ATOM 2\n"), file_type="pdb"), "list": [wandb.Molecule("protein.pdb")]})

figure = go.Figure(go.Scatter(x=numbers[:100], y=[1, 2, 3], text=["a", "b", "c"]))
figure.update_layout(title="a figure", shapes=[{"type": "line", "x0": np.float32(1)}])
run.log({"plotly": figure, "wrapped": wandb.Plotly(figure)})
lines, axes = plt.subplots()
axes.plot([1, 2, 3], [3, 1, 2], label="line")
axes.set_title("converted")
run.log({"matplotlib": lines, "n": 2})
plt.figure()
plt.plot([1, 2, 3], [1, 4, 9])
run.log({"in a dict": {"pyplot": plt}})
plt.close(lines)

graph = Graph()
first = graph.add_node(id="a", name="input", class_name="Input", num_parameters=0)
second = graph.add_node(Node(id="b", name="dense", class_name="Dense", size=(3, 4), output_shape=[None, 4]))
graph.add_edge(first, second)
run.log({"graph": graph})
run.summary.update({"histogram": wandb.Histogram([1, 2, 3]), "nested": {"page": wandb.Html("<b>x</b>")}})
run.finish()
