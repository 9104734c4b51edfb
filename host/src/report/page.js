"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
const measure = document.getElementById("measure");
const arms = [...document.querySelectorAll(".chip input")];
const allArms = document.getElementById("all-arms");

function draw() {
  const hidden = new Set(arms.filter((arm) => !arm.checked).map((arm) => arm.value));
  const { data, layout, config } = charts[measure.value];
  const traces = data.map((trace) => ({ ...trace, visible: !hidden.has(trace.legendgroup) }));
  Plotly.react("curves", traces, layout, config);
  for (const part of document.querySelectorAll("[data-arm]")) part.hidden = hidden.has(part.dataset.arm);
  if (allArms) allArms.textContent = hidden.size === arms.length ? "All" : "None";
}

for (const control of [measure, ...arms]) control.addEventListener("change", draw);
draw();

allArms?.addEventListener("click", () => {
  const show = arms.every((arm) => !arm.checked);
  for (const arm of arms) arm.checked = show;
  draw();
});

const toggle = document.getElementById("toggle");
toggle?.addEventListener("click", () => {
  const runs = [...document.querySelectorAll("details.run")];
  const open = runs.some((run) => !run.open);
  for (const run of runs) run.open = open;
  toggle.textContent = open ? "Close all" : "Open all";
});
