"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const escape = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const colour = (arm) => data.colours[arm.line];
const faint = (arm, alpha) => colour(arm) + Math.round(alpha * 255).toString(16).padStart(2, "0");

// Controls

for (const [key, title] of data.measures) $("measure").append(new Option(title, key));
data.facets.forEach((facet, place) => $("facet").append(new Option(facet.name, place)));
$("facet-tool").hidden = data.facets.length < 2;

function chips(field, names, colours) {
  return names.map((name, place) => {
    const box = element("input", { type: "checkbox", checked: true, value: place });
    const swatch = colours ? [element("span", { className: "swatch", style: `--c:${colours[place]}` })] : [];
    field.append(element("label", { className: "chip" }, box, ...swatch, name));
    return box;
  });
}
const lines = chips($("lines"), data.lines, data.colours);
const sizes = chips($("sizes"), data.sizes);
$("lines").hidden = data.lines.length < 2;
$("sizes").hidden = data.sizes.length < 2;

const facet = () => Number($("facet").value || 0);
const shownLine = (line) => lines[line].checked && !lines[line].parentElement.hidden;
const shown = (arm) => arm.facet === facet() && shownLine(arm.line) && (arm.size === null || sizes[arm.size].checked);

// Charts

const config = { responsive: true, displayModeBar: false };
function layout(x, y) {
  const axis = (title) => ({ title: { text: title }, zeroline: false, automargin: true });
  return {
    xaxis: { ...axis(x), rangemode: "normal" }, yaxis: axis(y), hovermode: "closest", showlegend: false,
    margin: { l: 56, r: 16, t: 12, b: 48 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
  };
}
const interval = (low, high) => (low === null ? "" : `<br>95 % interval ${low.toFixed(4)} to ${high.toFixed(4)}`);
const about = (run) => `<b>${escape(data.arms[run.arm].name)}</b><br>run ${run.id}, seed ${escape(run.seed || "–")}, ${run.state}`;

function curves() {
  const measure = $("measure").selectedIndex;
  const title = data.measures[measure][1];
  const traces = [];
  const visible = data.arms.map((arm, place) => [arm, place]).filter(([arm]) => shown(arm));
  const bands = visible.length <= 6;
  for (const [arm] of visible) {
    const band = arm.means[measure].filter((point) => point[2] !== null);
    if (!bands || !band.length) continue;
    traces.push({
      x: [...band.map((p) => p[0]), ...band.map((p) => p[0]).reverse()],
      y: [...band.map((p) => p[3]), ...band.map((p) => p[2]).reverse()],
      mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faint(arm, 0.13), hoverinfo: "skip",
    });
  }
  for (const [arm, place] of visible) {
    const runs = data.runs.filter((run) => run.arm === place);
    const dots = runs.flatMap((run) => run.curves[measure].map((point) => [run, point]));
    traces.push({
      x: dots.map(([, p]) => p[1]), y: dots.map(([, p]) => p[2]), mode: "markers", opacity: 0.45,
      marker: { color: colour(arm), size: 5, symbol: SYMBOLS[arm.line % SYMBOLS.length] },
      customdata: dots.map(([run]) => run.id), hoverinfo: "text",
      hovertext: dots.map(([run, p]) => `${about(run)}<br>round ${p[0]}, ${p[1]} labels<br>${title} ${p[2].toFixed(4)}`),
    });
  }
  for (const [arm] of visible) {
    const means = arm.means[measure];
    traces.push({
      x: means.map((p) => p[0]), y: means.map((p) => p[1]), mode: "lines+markers", hoverinfo: "text",
      line: { color: colour(arm), width: 2.5, dash: DASHES[(arm.size ?? 0) % DASHES.length] },
      marker: { color: colour(arm), size: 7, symbol: SYMBOLS[arm.line % SYMBOLS.length] },
      hovertext: means.map((p) => `<b>${escape(arm.name)}</b><br>mean of ${p[4]} of ${arm.runs} runs<br>${p[0]} labels<br>${title} ${p[1].toFixed(4)}${interval(p[2], p[3])}`),
    });
  }
  Plotly.react("curves", traces, layout("labels bought", title), config);
}

// Lines stand side by side at each size, or their intervals would hide each other.
function flip() {
  if (!$("flip")) return;
  const { ranked, compare_at } = data.facets[facet()];
  const places = ranked.filter(({ arm }) => shown(data.arms[arm]));
  const present = [...new Set(places.map(({ arm }) => data.arms[arm].line))].sort((a, b) => a - b);
  const aside = (line) => (present.length < 2 ? 0 : (present.indexOf(line) / (present.length - 1) - 0.5) * 0.2);
  const at = (arm) => arm.size + aside(arm.line);
  const traces = [];
  for (const line of present) {
    const own = places.filter(({ arm }) => data.arms[arm].line === line);
    const arms = own.map(({ arm }) => data.arms[arm]);
    const runs = data.runs.filter((run) => run.compared !== null && own.some(({ arm }) => arm === run.arm));
    traces.push({
      x: runs.map((run) => at(data.arms[run.arm])), y: runs.map((run) => run.compared), mode: "markers", opacity: 0.4,
      marker: { color: data.colours[line], size: 5, symbol: SYMBOLS[line % SYMBOLS.length] },
      customdata: runs.map((run) => run.id), hoverinfo: "text",
      hovertext: runs.map((run) => `${about(run)}<br>accuracy ${run.compared.toFixed(4)} with ${compare_at} labels`),
    });
    traces.push({
      x: arms.map(at), y: own.map((p) => p.mean), mode: "lines+markers", hoverinfo: "text",
      line: { color: data.colours[line], width: 2.5 },
      marker: {
        color: data.colours[line], symbol: SYMBOLS[line % SYMBOLS.length], size: own.map((p) => (p.best ? 11 : 8)),
        line: { color: "#808080", width: own.map((p) => (p.best ? 2 : 0)) },
      },
      error_y: {
        type: "data", symmetric: false, color: data.colours[line], thickness: 1.2, width: 3,
        array: own.map((p) => (p.high ?? p.mean) - p.mean), arrayminus: own.map((p) => p.mean - (p.low ?? p.mean)),
      },
      hovertext: own.map((p, i) => `<b>${escape(arms[i].name)}</b>${p.best ? "<br>highest mean of this size" : ""}<br>mean over ${p.seeds} seeds<br>accuracy ${p.mean.toFixed(4)}${interval(p.low, p.high)}`),
    });
  }
  const made = layout("initial.size", `Accuracy with ${compare_at} labels`);
  Object.assign(made.xaxis, { tickvals: data.sizes.map((_, i) => i), ticktext: data.sizes.map(escape), range: [-0.5, data.sizes.length - 0.5] });
  Plotly.react("flip", traces, made, config);
  $("flip-caption").textContent = `Mean over seeds with its 95 % t-interval, and each run as a dot. A large marker: the highest mean of its size.`;
}

// Tables follow the filter: a row about an arm or a comparison that is not shown is hidden.
const names = new Set(data.arms.map((arm) => arm.name));
const tables = [...document.querySelectorAll("details.table")].map((part) => {
  const titles = [...part.querySelectorAll("thead th")].map((th) => th.textContent.trim());
  const columns = titles.flatMap((title, i) => (["arm", "first", "winner"].includes(title) ? [i] : []));
  return { rows: [...part.querySelectorAll("tbody tr")], columns, facet: titles.indexOf("facet") };
});
function rows() {
  const kept = new Set(data.arms.filter(shown).map((arm) => arm.name));
  const name = data.facets[facet()].name;
  for (const { rows, columns, facet } of tables) {
    for (const row of rows) {
      const text = (i) => row.cells[i].textContent;
      row.hidden = (facet >= 0 && text(facet) !== name) || columns.some((i) => names.has(text(i)) && !kept.has(text(i)));
    }
  }
}

// The run behind a point

function show(id) {
  const run = data.runs.find((run) => run.id === id);
  const folder = `${data.base}runs/${run.id}/`;
  const facts = element("dl", { className: "facts" });
  const fact = (term, text) => facts.append(element("div", {}, element("dt", {}, term), element("dd", {}, text)));
  fact("Arm", data.arms[run.arm].name);
  if (run.seed) fact("Seed", run.seed);
  if (run.labels !== null) fact("Labels spent", String(run.labels));
  if (run.accuracy !== null) fact("Accuracy at the end", run.accuracy.toFixed(4));
  if (run.state !== "missing") fact("Folder", element("a", { href: folder }, `runs/${run.id}/`));
  if (run.page) fact("Page", element("a", { href: `${folder}report.html` }, "report.html"));
  const settings = element("dl", { className: "facts" });
  for (const [key, most] of run.state === "missing" ? [] : Object.entries(data.common)) {
    const own = key in run.differs ? run.differs[key] : most;
    settings.append(element("div", {}, element("dt", {}, key), element("dd", {}, own ?? "not set")));
  }
  const title = element("h3", {}, `Run ${run.id}`, element("span", { className: `badge ${run.state}` }, run.state));
  const problem = run.problem ? [element("p", { className: "problem" }, run.problem)] : [];
  const parts = [element("div", {}, title, ...problem, facts)];
  if (settings.children.length) parts.push(element("div", {}, element("h3", {}, "Where runs differ"), settings));
  if (run.picks) {
    const source = run.picture === null ? `${folder}rounds/000/picks.png` : `data:image/png;base64,${data.pictures[run.picture]}`;
    const image = element("img", { src: source, alt: "The images that round 0 chose" });
    parts.push(element("figure", {}, element("figcaption", {}, "Its initial set, in the order chosen"), image));
  }
  $("run").replaceChildren(...parts);
  $("run").hidden = false;
  for (const row of document.querySelectorAll("#table-runs tbody tr")) row.classList.toggle("chosen", row.dataset.run === id);
}

for (const row of document.querySelectorAll("#table-runs tbody tr")) {
  const cell = [...row.cells].find((cell) => data.runs.some((run) => run.id === cell.textContent));
  if (!cell) continue;
  row.dataset.run = cell.textContent;
  cell.replaceChildren(element("button", { type: "button", className: "id" }, cell.textContent));
  row.addEventListener("click", () => {
    show(row.dataset.run);
    $("run").scrollIntoView({ block: "nearest" });
  });
}

// Everything together

function draw() {
  const wanted = $("find").value.trim().toLowerCase();
  const ofLine = (line) => data.arms.filter((arm) => arm.line === line).map((arm) => arm.name);
  lines.forEach((box, line) => {
    const matches = [data.lines[line], ...ofLine(line)].some((name) => name.toLowerCase().includes(wanted));
    box.parentElement.hidden = !matches || !data.arms.some((arm) => arm.line === line && arm.facet === facet());
  });
  const visible = lines.filter((box) => !box.parentElement.hidden);
  $("all").textContent = visible.some((box) => box.checked) ? "None" : "All";
  curves();
  flip();
  rows();
}
for (const control of [$("facet"), $("measure"), ...lines, ...sizes]) control.addEventListener("change", draw);
$("find").addEventListener("input", draw);
$("all").addEventListener("click", () => {
  const visible = lines.filter((box) => !box.parentElement.hidden);
  const check = !visible.some((box) => box.checked);
  for (const box of visible) box.checked = check;
  draw();
});
draw();
for (const id of ["flip", "curves"]) {
  $(id)?.on("plotly_click", (event) => {
    const point = event.points.find((point) => point.customdata);
    if (point) show(point.customdata);
  });
}
