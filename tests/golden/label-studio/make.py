"""Import the tasks of a project into a running Label Studio, annotate them, and export what became of them.

    make.py PROJECT TOKEN FOLDER: PROJECT/label-studio.json in; export.json, export-min.json and export.csv in FOLDER out.

The label is the first folder of an image. By rank: the first image gets the same label twice, the second one two labels, the
last but one nobody looks at, the last is skipped.
"""

import json
import pathlib
import sys
import urllib.request

SERVER = "http://127.0.0.1:8099"
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="choice" toName="image" choice="single">'
    '<Choice value="ants"/><Choice value="bees"/></Choices></View>'
)


def call(method, path, body=None):
    headers = {"Authorization": f"Token {sys.argv[2]}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(SERVER + path, data, headers, method=method)) as answer:
        return answer.read()


def annotate(task, label):
    choice = {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": [label]}}
    body = {"result": [choice] if label else [], "was_cancelled": label is None}
    call("POST", f"/api/tasks/{task['id']}/annotations", body)


project = json.loads(call("POST", "/api/projects", {"title": "golden", "label_config": CONFIG}))["id"]
tasks = json.loads(pathlib.Path(sys.argv[1], "label-studio.json").read_text())
call("POST", f"/api/projects/{project}/import", tasks)
tasks = json.loads(call("GET", f"/api/tasks?project={project}&page_size=100"))["tasks"]
tasks.sort(key=lambda task: task["data"]["coldstart_rank"])
labels = [task["data"]["coldstart_image"].split("/")[0] for task in tasks]
for task, label in zip(tasks[:-2], labels):
    annotate(task, label)
annotate(tasks[0], labels[0])
annotate(tasks[1], "ants" if labels[1] == "bees" else "bees")
annotate(tasks[-1], None)
for kind, name in [("JSON", "export.json"), ("JSON_MIN", "export-min.json"), ("CSV", "export.csv")]:
    export = call("GET", f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
    pathlib.Path(sys.argv[3], name).write_bytes(export)
